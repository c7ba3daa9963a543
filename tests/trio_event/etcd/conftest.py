"""A real etcd for the tests, and one of each version that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .helpers.servers import BINARIES, BINARY, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .helpers.servers import Cluster


@pytest.fixture(scope="module")
def binary() -> Path:
    """The program of the server."""
    return BINARY


@pytest.fixture(scope="module", params=list(BINARIES.values()), ids=list(BINARIES))
def each_binary(request: pytest.FixtureRequest) -> Path:
    """The program of a server of each version in turn, for what versions do differently."""
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def node(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one member, for the tests of a module that only need one that works."""
    with running(binary, tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Keys of the test's own."""
    name: str = request.node.name
    return f"{name}/"
