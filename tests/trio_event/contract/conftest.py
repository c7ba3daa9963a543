"""The values that the contract is tested with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..etcd.helpers.servers import BINARY, running
from .etcd_subjects import ETCD_SUBJECTS
from .subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .subjects import Subject


@pytest.fixture(scope="session")
def etcd_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real etcd, which runs for those that need it."""
    with running(BINARY, tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster.endpoints[0]


@pytest.fixture(params=[*SUBJECTS, *ETCD_SUBJECTS], ids=lambda kind: kind.__name__)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A new, unset value of each storage in turn."""
    made: Subject
    if request.param in ETCD_SUBJECTS:
        made = request.param(request.getfixturevalue("etcd_endpoint"))
    else:
        made = request.param()
    yield made
    made.clear()
