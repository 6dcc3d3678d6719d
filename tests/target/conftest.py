"""JavaScript's dotenv, the one that the Convex CLI bundles."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from node_peer import Ask, peer

_SCRIPT = 'const { parse } = require("dotenv"); const answer = (bytes) => parse(Buffer.from(bytes, "latin1"));'


@pytest.fixture(scope="session")
def js_dotenv(node_modules: Path) -> Iterator[Ask]:
    """Asked with the bytes of a file as latin-1 text: what dotenv parses out of them."""
    with peer(_SCRIPT, cwd=node_modules.parent) as ask:
        yield ask
