"""Which registered deployment an invocation would act on, found offline by Convex 1.48.0's own precedence.

Reads nothing but what the door sent: no file, no variable, no network. Whether it may is for the policy to say.
Source: the CLI's deploymentSelection.ts and api.ts; docs/contract.md, gate.yaml.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gate.config.document import DeploymentEntry
from gate.config.values import origin
from gate.errors import GateError
from gate.intent.commands import NONE, PROD
from gate.intent.intent import Intent, Selection
from gate.invocation import Invocation
from gate.target.dotenv import bad_env_file
from gate.target.settings import Setting, read_settings
from gate.target.target import Target

_DEPLOYMENT = "CONVEX_DEPLOYMENT"
_URL = "CONVEX_SELF_HOSTED_URL"
_ADMIN_KEY = "CONVEX_SELF_HOSTED_ADMIN_KEY"
_DEPLOY_KEYS = ("CONVEX_DEPLOY_KEY", "CONVEX_DEPLOYMENT_TOKEN")
_ALLOW_ANONYMOUS = "CONVEX_ALLOW_ANONYMOUS"
_BUILDS = ("VERCEL", "NETLIFY", "CF_PAGES", "WORKERS_CI")

_FULL_NAME = re.compile(r"[a-z]+-[a-z]+-[0-9]+")
_PLAIN_HTTP = re.compile(r"\s*http:[/\\]*([^/?#\\]*)", re.IGNORECASE)
# Names of deployments on this machine become folders there: nothing that could be another path.
_OWN_NAME = re.compile(r"(?:anonymous|local)-[A-Za-z0-9_-]{1,100}")
_SELECTOR_PARTS = 3
_PREVIEW_KEY_PARTS = 3

_NAME_IT = "Name a registered deployment: CONVEX_DEPLOYMENT=dev:NAME, or `--deployment NAME`."
_REGISTER = "`gate whoami` lists the registered deployments; an owner adds one to gate.yaml and activates it."


def choose_target(intent: Intent, invocation: Invocation, deployments: Mapping[str, DeploymentEntry]) -> Target | None:
    """The one deployment that `intent` would reach, None where it touches none. `deployments`: the registry by id.

    Raises GateError: `key_in_argv`, `bad_env_file` (missing, unreadable, encrypted, or not exactly readable),
    `ambiguous_target` (half a pair, two things that select, several that fit), `insecure_url`, `unknown_deployment`
    (nothing registered fits), `unknown_command` (dev and init on a local deployment want a login).
    """
    selection = intent.selection
    if selection.admin_key is not None:
        raise GateError(
            "key_in_argv",
            "--admin-key puts a key where every process of this machine can read it",
            remedy="Take the key out of the command; the gate uses the one in its own custody.",
        )
    if intent.default == NONE:
        return None
    settings = read_settings(selection, invocation)
    return _Choice(intent, invocation, deployments, settings).target()


def origin_of(url: str) -> str:
    """The origin of `url` as the registry spells it; empty when it is no URL, not an origin, or not safe to use."""
    try:
        return origin(url)
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class _Choice:
    """One choice under way. The order of `target`'s steps is the CLI's own."""

    intent: Intent
    invocation: Invocation
    deployments: Mapping[str, DeploymentEntry]
    settings: Mapping[str, Setting]

    def target(self) -> Target:
        """The steps in order; the first that applies decides."""
        steps: tuple[Callable[[], Target | None], ...] = (
            self._by_key,
            self._by_pair,
            self._by_full_selector,
            self._by_deployment_name,
            self._insist_configured,
            self._by_local_selector,
            self._by_anonymous,
            self._by_flag,
            self._by_variable,
            self._by_default,
        )
        found = next(target for step in steps if (target := step()) is not None)
        return self._insist_reachable(found)

    def _setting(self, name: str) -> Setting | None:
        """A variable that is set and not empty."""
        setting = self.settings.get(name)
        return setting if setting is not None and setting.value else None

    # Credentials select what they belong to.

    def _by_key(self) -> Target | None:
        name = next((name for name in _DEPLOY_KEYS if self._setting(name)), None)
        setting = None if name is None else self._setting(name)
        if name is None or setting is None or setting.value == "<ignore_deploy_key>":
            return None
        chosen_by = f"{name} in {setting.place}"
        if self.intent.selection.deployment is not None or self.intent.selection.prod:
            raise _ambiguous(f"{chosen_by} selects a deployment, and so does a flag", "Use one of the two.")
        head, bar, _ = setting.value.partition("|")
        prefix = head.split(":")
        if bar and (prefix[0] == "project" or (prefix[0] == "preview" and len(prefix) == _PREVIEW_KEY_PARTS)):
            raise _ambiguous(f"{chosen_by} is the key of a whole project, not of a deployment", _NAME_IT)
        if not bar:
            raise _unknown(f"{chosen_by} is not the key of a deployment", _NAME_IT)
        return self._named(prefix[-1], chosen_by)

    def _by_pair(self) -> Target | None:
        url, key = self._setting(_URL), self._setting(_ADMIN_KEY)
        if url is None and key is None:
            return None
        if url is None or key is None:
            missing = _URL if url is None else _ADMIN_KEY
            raise _ambiguous(f"half a self-hosted pair: {missing} is not set", f"Set {missing} too, or neither.")
        if self._setting(_DEPLOYMENT) is not None:
            raise _ambiguous(f"{_DEPLOYMENT} and the self-hosted pair are both set", "Unset one of the two.")
        if _any_flag(self.intent.selection):
            raise _ambiguous("the self-hosted pair selects a deployment, and so does a flag", "Use one of the two.")
        return self._at(url.value, f"{_URL} in {url.place}")

    def _at(self, url: str, chosen_by: str) -> Target:
        here = origin_of(url)
        if not here and _is_plain_http(url):
            raise GateError(
                "insecure_url",
                f"{chosen_by} is plain http to another machine: a key would travel readable",
                remedy="Use https; plain http is for loopback only.",
            )
        return self._only([(id_, entry) for id_, entry in self.deployments.items() if entry.url == here], chosen_by)

    # Flags that need no project.

    def _by_full_selector(self) -> Target | None:
        selector = self.intent.selection.deployment
        if selector is None:
            return None
        if _FULL_NAME.fullmatch(selector):
            return self._named(selector, "--deployment")
        parts = selector.split(":")
        if len(parts) != _SELECTOR_PARTS or parts[-1] == "local":
            return None
        return self._referred(parts[-1], "--deployment", team=parts[0], slug=parts[1])

    def _by_deployment_name(self) -> Target | None:
        """`--deployment-name` may name another project's deployment; a preview or a selector goes before it."""
        selection = self.intent.selection
        name = selection.deployment_name
        if name is None or selection.deployment is not None or selection.preview_name is not None:
            return None
        return self._named(name, "--deployment-name")

    def _insist_configured(self) -> None:
        """An --env-file that selects nothing ends the CLI, whatever flags say about the project."""
        file = self.intent.selection.env_file
        if file is not None and self._configured() is None:
            raise bad_env_file(file, "selects no deployment")

    # Deployments on this machine.

    def _by_local_selector(self) -> Target | None:
        selector = self.intent.selection.deployment
        if selector is None or selector.split(":")[-1] != "local" or selector.count(":") >= _SELECTOR_PARTS:
            return None
        name = _local_name(self.invocation.local_config)
        if name is None or not name.startswith("local-"):
            raise _unknown("there is no local deployment in this folder", "Select an anonymous or a registered one.")
        return _built_in("local", name, "--deployment")

    def _by_anonymous(self) -> Target | None:
        """An anonymous deployment swallows --prod and the like: the CLI looks at no flag once it is selected."""
        setting = self._configured()
        if setting is None or not _deployment_name(setting).startswith("anonymous-"):
            return None
        return _built_in("anonymous", _own_name(_deployment_name(setting)), f"{_DEPLOYMENT} in {setting.place}")

    # Flags within the project at hand.

    def _by_flag(self) -> Target | None:
        selection = self.intent.selection
        if selection.deployment is not None:
            return self._selected(selection.deployment.split(":"))
        if selection.preview_name is not None:
            return self._preview(selection.preview_name)
        if selection.prod:
            return self._referred("prod", "--prod")
        return None

    def _selected(self, parts: list[str]) -> Target:
        if len(parts) == 2:  # noqa: PLR2004 - project:reference
            return self._referred(parts[1], "--deployment", slug=parts[0])
        return self._referred(":".join(parts), "--deployment")

    def _referred(self, reference: str, chosen_by: str, *, team: str | None = None, slug: str | None = None) -> Target:
        """`dev`, `prod` or a reference, in the project given where one is given."""
        fits = [
            (id_, entry)
            for id_, entry in self.deployments.items()
            if entry.name is not None and team in (None, entry.team) and slug in (None, entry.slug)
        ]
        if reference in ("dev", "prod"):
            return self._only([(id_, entry) for id_, entry in fits if entry.cls == reference], chosen_by)
        return self._only([(id_, entry) for id_, entry in fits if entry.reference == reference], chosen_by)

    def _preview(self, name: str) -> Target:
        fits = [(id_, e) for id_, e in self.deployments.items() if e.cls == "preview" and e.reference == name]
        return self._only(fits, "--preview-name")

    # What is configured, or nothing.

    def _by_variable(self) -> Target | None:
        setting = self._configured()
        if setting is None:
            return None
        chosen_by = f"{_DEPLOYMENT} in {setting.place}"
        if self.intent.default == PROD:
            return self._referred("prod", f"deploy, and {chosen_by}")
        name = _deployment_name(setting)
        if setting.value.startswith("local:") or name.startswith("local-"):
            return _built_in("local", _own_name(name), chosen_by)
        return self._named(name, chosen_by)

    def _by_default(self) -> Target:
        if self.intent.default == PROD:
            return self._referred("prod", "deploy")
        if not self._allows_anonymous() or any(self._setting(name) for name in _BUILDS):
            raise _unknown("nothing selects a deployment", _NAME_IT)
        name = _local_name(self.invocation.local_config)
        own = name if name is not None and name.startswith("anonymous-") else None
        return _built_in("anonymous", own, "nothing is selected")

    def _configured(self) -> Setting | None:
        """CONVEX_DEPLOYMENT, unless it is an anonymous one where those are switched off."""
        setting = self._setting(_DEPLOYMENT)
        if setting is None or (_deployment_name(setting).startswith("anonymous-") and not self._allows_anonymous()):
            return None
        return setting

    def _allows_anonymous(self) -> bool:
        setting = self.settings.get(_ALLOW_ANONYMOUS)
        return self.invocation.variables.get(_ALLOW_ANONYMOUS, setting.value if setting else None) != "false"

    # From what was found to a target.

    def _named(self, name: str, chosen_by: str) -> Target:
        return self._only([(id_, e) for id_, e in self.deployments.items() if e.name == name], chosen_by)

    @staticmethod
    def _only(fits: list[tuple[str, DeploymentEntry]], chosen_by: str) -> Target:
        if not fits:
            raise _unknown(f"{chosen_by} selects no registered deployment", _REGISTER)
        if len(fits) > 1:
            raise _ambiguous(f"{chosen_by} fits {', '.join(id_ for id_, _ in fits)}", _NAME_IT)
        id_, entry = fits[0]
        return Target(id_, entry.cls, entry.name, entry.url, entry.custody, chosen_by)

    def _insist_reachable(self, target: Target) -> Target:
        if target.cls == "local" and self.intent.command in ("dev", "init"):
            raise GateError(
                "unknown_command",
                f"{self.intent.command} on a local deployment wants a Convex login, which the gate does not use",
                remedy="Work on an anonymous deployment: run it with CONVEX_DEPLOYMENT set to nothing.",
            )
        if target.cls == "anonymous" and self.intent.default == PROD:
            raise _unknown(
                f"{target.chosen_by} is an anonymous deployment: Convex deploys to none of that kind",
                "To deploy to production run it with CONVEX_DEPLOYMENT set to nothing.",
            )
        return target


def _any_flag(selection: Selection) -> bool:
    return selection.prod or {selection.deployment, selection.preview_name, selection.deployment_name} != {None}


def _deployment_name(setting: Setting) -> str:
    """The part of CONVEX_DEPLOYMENT that counts; `dev:` and `prod:` before it are labels."""
    return setting.value.split(":")[-1]


def _built_in(cls: str, name: str | None, chosen_by: str) -> Target:
    return Target(cls, cls, name, None, None, chosen_by)


def _own_name(name: str) -> str:
    if _OWN_NAME.fullmatch(name) is None:
        raise _unknown(f"{_DEPLOYMENT} is not how a deployment of this machine is named", _NAME_IT)
    return name


def _local_name(config: bytes | None) -> str | None:
    """`deploymentName` of the state in this folder (filePaths.ts); None where the CLI makes nothing of it either."""
    try:
        name = json.loads(config or b"null").get("deploymentName")
    except (ValueError, AttributeError, RecursionError):
        return None
    return name if isinstance(name, str) and _OWN_NAME.fullmatch(name) else None


def _is_plain_http(url: str) -> bool:
    """Whether `url` is http to anywhere but this machine."""
    match = _PLAIN_HTTP.match(url)
    return match is not None and not origin_of(f"http://{match[1]}")


def _unknown(message: str, remedy: str) -> GateError:
    return GateError("unknown_deployment", message, remedy=remedy)


def _ambiguous(message: str, remedy: str) -> GateError:
    return GateError("ambiguous_target", message, remedy=remedy)
