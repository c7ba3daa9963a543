"""The values that the contract is tested with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .subjects import Subject


@pytest.fixture(params=SUBJECTS, ids=lambda kind: kind.__name__)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A new, unset value of each storage in turn."""
    made: Subject = request.param()
    yield made
    made.clear()
