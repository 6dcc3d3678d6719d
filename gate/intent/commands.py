"""The commands of Convex 1.48.0 that the gate takes: their options, effects, resources and default target. One table.

Options are copied from the CLI's own tree, hidden ones too; a test compares them. Reads no command line.
Source of the effects: docs/contract.md, Effects of commands.
"""

from dataclasses import dataclass

from gate.intent.commander import Node, Option

# Where a command goes when nothing selects a deployment (Intent.default).
OWN = "own"
PROD = "prod"
NONE = "none"

VIEW = "deployment:data:view"
WRITE = "deployment:data:write"
ENV_VIEW = "deployment:env:view"
ENV_WRITE = "deployment:env:write"
PUSH = ("deployment:deploy", ENV_VIEW, "local:run")

# What a push can touch: deployed code reads and calls anything.
EVERYTHING = ("functions", "tables", "variables", "components")

# The options that the door takes out of the child's arguments once the target is resolved.
SELECTING = frozenset({"url", "admin-key", "prod", "preview-name", "deployment-name", "deployment", "env-file"})


@dataclass(frozen=True, slots=True)
class Command:
    """One row. `usage` is the path and the arguments as commander prints them (`env get <name>`).

    `effects`: stated effects without those that options add. `resources`: dimensions that apply to the command, all
    unknown until its words name them. `stays`: runs until it is stopped.
    """

    usage: str
    options: tuple[Option, ...] = ()
    effects: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    default: str = OWN
    aliases: tuple[str, ...] = ()
    stays: bool = False

    @property
    def path(self) -> tuple[str, ...]:
        """The words before the arguments."""
        return tuple(word for word in self.usage.split() if word[0] not in "<[")

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments, `<required>` and `[optional]`."""
        return tuple(word for word in self.usage.split() if word[0] in "<[")


def _takes(*flags: str) -> tuple[Option, ...]:
    return tuple(Option(flag) for flag in flags)


def _refuses(why: str, *flags: str) -> tuple[Option, ...]:
    return tuple(Option(flag, refused=why) for flag in flags)


_TYPECHECK = Option("--typecheck <mode>", ("enable", "try", "disable"))
_CODEGEN = Option("--codegen <mode>", ("enable", "disable"))
_SELECT = _takes(
    "--url <url>",
    "--admin-key <adminKey>",
    "--prod",
    "--preview-name <previewName>",
    "--deployment-name <deploymentName>",
    "--deployment <deployment>",
    "--env-file <envFile>",
)

_WRITES_BUNDLE = "it writes what is pushed to a folder of its choice"
_WRITES_KEY = "it writes an admin key to disk"
_PREVIEWS = "the gate makes no preview deployments"
_CONFIGURES = "projects are made and chosen by people"
_LOGS_IN = "the gate uses no login"
_LOCAL = "the gate leaves the local backend as Convex sets it up"
_ELSEWHERE = "Convex itself does not take it here; select with CONVEX_DEPLOYMENT"

COMMANDS = (
    Command(
        "run [functionName] [args]",
        (
            *_takes("-w, --watch", "--inline-query <query>", "--push", "--identity <identity>", "--no-push"),
            _TYPECHECK,
            *_takes("--typecheck-components"),
            _CODEGEN,
            *_takes("--component <path>", "--live-component-sources"),
            *_SELECT,
        ),
        resources=("functions", "tables"),
    ),
    Command(
        "data [table]",
        (
            *_takes("--limit <n>"),
            Option("--order <choice>", ("asc", "desc")),
            *_takes("--component <path>"),
            Option("--format <format>", ("jsonArray", "json", "jsonLines", "jsonl", "pretty")),
            *_SELECT,
        ),
        effects=(VIEW,),
        resources=("tables",),
    ),
    Command(
        "logs",
        (*_takes("--history [n]", "--success", "--jsonl", "--tail [n]"), *_SELECT),
        effects=("deployment:logs:view",),
        stays=True,
    ),
    Command("function-spec", (*_takes("--file"), *_SELECT), effects=(VIEW,)),
    Command("insights", (*_takes("--details", "--json"), *_SELECT), effects=("deployment:insights:view",)),
    Command(
        "export",
        (*_takes("--path <zipFilePath>", "--include-file-storage"), *_SELECT),
        effects=("deployment:backups:create", "deployment:backups:download"),
        resources=("tables",),
    ),
    Command(
        "import <path>",
        (
            *_takes("--table <table>", "--replace", "--append", "--replace-all", "-y, --yes"),
            Option("--format <format>", ("csv", "jsonLines", "jsonArray", "zip")),
            *_takes("--component <path>"),
            *_SELECT,
        ),
        effects=("deployment:backups:import", WRITE),
        resources=("tables",),
    ),
    Command("env", _SELECT),
    Command("env list", _takes("--names-only", "--include-values"), effects=(ENV_VIEW,), resources=("variables",)),
    Command("env get <name>", effects=(ENV_VIEW,), resources=("variables",)),
    Command(
        "env set [name] [value]",
        _takes("--from-file <file>", "--force"),
        effects=(ENV_WRITE,),
        resources=("variables",),
    ),
    Command("env remove <name>", effects=(ENV_WRITE,), resources=("variables",), aliases=("rm", "unset")),
    Command(
        "deploy",
        (
            *_takes("-v, --verbose", "--dry-run", "-y, --yes"),
            _TYPECHECK,
            *_takes("--typecheck-components"),
            _CODEGEN,
            *_takes("--cmd <command>", "--cmd-url-env-var-name <name>"),
            *_refuses(_WRITES_BUNDLE, "--debug-bundle-path <path>"),
            *_takes("--debug"),
            *_refuses(_WRITES_KEY, "--write-push-request <writePushRequest>"),
            *_takes("--live-component-sources", "--push-all-modules"),
            *_refuses(_PREVIEWS, "--preview-run <functionName>"),
            *_takes("--preview-name <name>"),
            *_refuses(_PREVIEWS, "--preview-create <name>"),
            Option("--check-build-environment <mode>", ("enable", "disable")),
            *_takes("--admin-key <adminKey>", "--url <url>", "--env-file <envFile>", "--message <message>"),
            *_takes("--skip-workos-check", "--skip-large-indexes-check", "--allow-deleting-large-indexes"),
            *_takes("--allow-unstaging-schema"),
        ),
        effects=PUSH,
        resources=EVERYTHING,
        default=PROD,
    ),
    Command(
        "dev",
        (
            *_takes("-v, --verbose"),
            _TYPECHECK,
            *_takes("--typecheck-components"),
            _CODEGEN,
            *_takes("--push-all-modules", "--once", "--until-success", "--start <command>", "--run-sh <command>"),
            *_takes("--run <functionName>", "--run-component <functionName>"),
            Option("--tail-logs [mode]", ("always", "pause-on-deploy", "disable")),
            *_takes("--trace-events"),
            *_refuses(_WRITES_BUNDLE, "--debug-bundle-path <path>"),
            *_takes("--debug-node-apis", "--live-component-sources"),
            Option("--configure [choice]", ("new", "existing"), _CONFIGURES),
            *_refuses(_CONFIGURES, "--team <team_slug>", "--project <project_slug>"),
            Option("--dev-deployment <mode>", ("cloud", "local"), _CONFIGURES),
            *_refuses("production is deployed to with `gate convex deploy`", "--prod"),
            *_takes("--allow-unstaging-schema", "--env-file <envFile>", "--skip-push"),
            *_takes("--admin-key <adminKey>", "--url <url>"),
            *_refuses(_LOGS_IN, "--override-auth-url <url>", "--override-auth-client <id>"),
            *_refuses(_LOGS_IN, "--override-auth-username <username>", "--override-auth-password <password>"),
            *_refuses(_LOCAL, "--local-cloud-port <port>", "--local-site-port <port>"),
            *_refuses(_LOCAL, "--local-backend-version <version>", "--local-force-upgrade"),
            *_refuses(_ELSEWHERE, "--deployment <deployment>", "--local", "--cloud"),
        ),
        effects=PUSH,
        resources=EVERYTHING,
        stays=True,
    ),
    Command(
        "codegen",
        (
            *_takes("--dry-run", "--debug"),
            _TYPECHECK,
            *_takes("--init", "--admin-key <adminKey>", "--url <url>", "--live-component-sources", "--commonjs"),
            *_refuses("it is for Convex's own functions", "--system-udfs"),
            *_takes("--component-dir <path>"),
        ),
        effects=PUSH,
        resources=EVERYTHING,
    ),
    Command("init", effects=("local:write",)),
    Command("dashboard", (*_takes("--no-open"), *_SELECT), aliases=("dash",)),
    Command("docs", _takes("--no-open"), default=NONE),
    Command("update", default=NONE),
    Command("deployment"),
    Command("deployment token"),
    Command(
        "deployment token create <name>",
        (*_takes("--save-env [path]"), *_SELECT),
        effects=("deployment:token:create",),
    ),
    Command("deployment token delete <nameOrToken>", _SELECT, effects=("deployment:token:delete",)),
)

BY_PATH = {command.path: command for command in COMMANDS}

# `env help` is the one group that commander does not answer to (`.helpCommand(false)`).
_WITHOUT_HELP = ("env",)


def _node(command: Command) -> Node:
    deeper = len(command.path) + 1
    below = [other for other in COMMANDS if len(other.path) == deeper and other.path[:-1] == command.path]
    return Node(
        command.path[-1],
        command.aliases,
        command.arguments,
        command.options,
        tuple(map(_node, below)),
        helps=command.path != _WITHOUT_HELP,
    )


# The tree that commander.parse walks.
ROOT = Node("convex", (), (), _takes("-V, --version"), tuple(_node(row) for row in COMMANDS if len(row.path) == 1))
