"""Fixtures: a project in force on a stage of its own, with a keeper that ends with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from production_kit import Production, production
from system_kit import Project, in_force, keep

from gate.demo.stage import stage


@pytest.fixture
def project(node_modules: Path) -> Iterator[Project]:
    """An activated project with its keys stored and its keeper running."""
    with stage(node_modules) as made:
        keep(made)
        yield in_force(made)


@pytest.fixture(scope="module")
def shared(node_modules: Path) -> Iterator[Project]:
    """The same for tests that leave nothing behind which the next one would see."""
    with stage(node_modules) as made:
        keep(made)
        yield in_force(made)


@pytest.fixture
def granting(node_modules: Path) -> Iterator[Production]:
    """A project whose production can be reached under a grant."""
    with production(node_modules) as made:
        yield made
