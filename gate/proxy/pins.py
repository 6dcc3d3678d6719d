"""The child's selection variables: all of them, pinned to one deployment, so that no file can choose another.

Sets nothing by itself. The rule is the CLI's own: a variable that is set, even to nothing, is not looked for in an
env file.
"""

from gate.proxy.lease import Upstream

# Everything that selects a deployment, carries a credential, moves a request or runs code when the CLI starts.
# CONVEX_VERSION_API_ORIGIN is not here: set to nothing it is an address, and it cannot come from a file.
BLANK = (
    "CONVEX_DEPLOY_KEY",
    "CONVEX_DEPLOYMENT",
    "CONVEX_DEPLOYMENT_TOKEN",
    "CONVEX_SELF_HOSTED_URL",
    "CONVEX_SELF_HOSTED_ADMIN_KEY",
    "CONVEX_OVERRIDE_ACCESS_TOKEN",
    "CONVEX_PROVISION_HOST",
    "CONVEX_VERSION_OVERRIDE",
    "DOTENV_KEY",
    "NODE_OPTIONS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
)


def credential(upstream: Upstream, token: str) -> str:
    """What the child presents as its key: in the form of a cloud deploy key where the deployment has a name."""
    if upstream.name is None:
        return token
    # The prefix is a label only: the CLI says it in its messages, and refuses to push with one of production's.
    return f"{'prod' if upstream.cls == 'prod' else 'dev'}:{upstream.name}|{token}"


def pins(lease_credential: str, proxy_url: str, upstream: Upstream) -> dict[str, str]:
    """Variables that send every request of the CLI to `proxy_url` with `lease_credential`, and nothing elsewhere.

    A deployment with a name goes through the stand-in of the control plane (`control_plane.py`), one without is
    reached as self-hosted. Anything else that selects is blank.
    """
    blank = dict.fromkeys(BLANK, "") | {"CONVEX_VERSION_API_ORIGIN": proxy_url}
    if upstream.name is None:
        return blank | {"CONVEX_SELF_HOSTED_URL": proxy_url, "CONVEX_SELF_HOSTED_ADMIN_KEY": lease_credential}
    return blank | {"CONVEX_DEPLOY_KEY": lease_credential, "CONVEX_PROVISION_HOST": proxy_url}


def pins_anonymous(name: str | None) -> dict[str, str]:
    """Variables for Convex's anonymous mode, on the deployment `name` where its state exists already."""
    chosen = {"CONVEX_DEPLOYMENT": f"anonymous:{name}"} if name is not None else {}
    return dict.fromkeys(BLANK, "") | {"CONVEX_AGENT_MODE": "anonymous"} | chosen


def pins_local(name: str, proxy_url: str) -> dict[str, str]:
    """Variables for the deployment `name` on this machine; the control plane is the stand-in at `proxy_url`."""
    local = {"CONVEX_DEPLOYMENT": f"local:{name}", "CONVEX_PROVISION_HOST": proxy_url}
    return dict.fromkeys(BLANK, "") | local | {"CONVEX_VERSION_API_ORIGIN": proxy_url}
