"""The files of the project's draft, for the verbs that show, check or activate it. Interprets none of them."""

from pathlib import Path

from gate.cli import sight
from gate.errors import GateError
from gate.keeper import client


def config_folder() -> Path:
    """Folder of gate.yaml. Raises GateError `config_invalid` when there is none."""
    path = sight.config_path()
    if path is None:
        raise GateError(
            "config_invalid",
            "no gate.yaml in this folder or above it",
            remedy="Make one: `gate init`.",
            argv=["gate", "init"],
        )
    return Path(path).parent


def draft_files() -> dict[str, str]:
    """gate.yaml and the files that it names, as they travel; the keeper says which those are.

    Raises GateError `config_invalid` when one cannot be read, and what the keeper refuses.
    """
    text = sight.gate_yaml()
    if text is None:
        return {}
    folder, files = config_folder(), {sight.CONFIG: text}
    paths = client.request("bundle.paths", gate_yaml=text)["paths"]
    for path in paths if isinstance(paths, list) else []:
        data, problem = sight.read_file(str(folder / path))
        if data is None:
            raise GateError(
                "config_invalid",
                f"{path}:1:1: {problem or 'gate.yaml names it, but it is not there'}",
                remedy="Add it.",
            )
        files[path] = data.decode("latin-1")
    return files


def known_files() -> dict[str, str]:
    """The draft's files, none where they cannot all be had: for reports, which go on without them."""
    try:
        return draft_files()
    except GateError as error:
        if error.code != "config_invalid":
            raise
        return {}
