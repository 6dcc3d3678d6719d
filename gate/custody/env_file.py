"""The self-hosted pair of a dev deployment, as it stands in the project's own env file. Knows no policy."""

from collections.abc import Mapping

from gate.custody import file
from gate.errors import GateError
from gate.target.dotenv import parse
from gate.target.select import origin_of


def read(name: str, files: Mapping[str, bytes], url: str, custody: str) -> str:
    """The admin key out of the env file `name` among the `files` that the door sent.

    Only for class dev, where the key sits in the caller's tree anyway (docs/contract.md, Custody). Raises GateError
    `custody_failed` when the file is not there or its URL is not the registered `url`: the key goes nowhere else.
    """
    if name not in files:
        raise GateError(
            "custody_failed",
            f"custody {custody} names the env file {name}, which is not in this folder",
            remedy=f"Run from the folder that holds {name}.",
        )
    pair = parse(files[name], name)
    if origin_of(pair.get("CONVEX_SELF_HOSTED_URL", "")) != url:
        raise GateError(
            "custody_failed",
            f"{name} holds no pair for {url}",
            remedy=f"Set CONVEX_SELF_HOSTED_URL={url} and its admin key in {name}.",
        )
    return file.clean(pair.get("CONVEX_SELF_HOSTED_ADMIN_KEY", "").encode(), custody)
