"""``update`` and ``compare_and_set`` (V19)."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_no_checkpoints

from trio_event import MemoryValue, UnsetError

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_update_sets_what_the_function_makes() -> None:
    """V19: update returns the version, as set does, and is no checkpoint."""
    value = MemoryValue(1)
    with assert_no_checkpoints():
        assert value.update(lambda number: number + 1) == 2
    assert (value.peek(), value.version) == (2, 2)


def test_update_needs_data() -> None:
    """V2, V19: without data update raises, says what to do, and changes nothing."""
    value: MemoryValue[int] = MemoryValue()
    with pytest.raises(UnsetError, match=r"update\(\) was called .* has no data: set\(\) it"):
        value.update(abs)
    assert value.version == 0


def test_function_of_an_update_that_fails_changes_nothing() -> None:
    """V19: update raises its exception."""
    value = MemoryValue(0)
    with pytest.raises(ZeroDivisionError):
        value.update(lambda number: 1 // number)
    assert (value.peek(), value.version) == (0, 1)


def test_update_to_an_equal_value_is_none_with_eq() -> None:
    """V1, V19: update asks eq, as set does."""
    value = MemoryValue(1, eq=operator.eq)
    assert value.update(abs) == 1


def test_compare_and_set_sets_only_at_the_version() -> None:
    """V19: of several callers that start from one version, one succeeds."""
    value: MemoryValue[int] = MemoryValue()
    assert value.compare_and_set(0, 1)
    assert not value.compare_and_set(0, 2)
    assert value.compare_and_set(1, 3)
    assert (value.peek(), value.version) == (3, 2)


def test_compare_and_set_is_true_only_if_it_has_set() -> None:
    """V19: it raises the version also if eq finds the values equal."""
    value = MemoryValue(1, eq=operator.eq)
    assert [value.compare_and_set(1, 1) for _ in range(2)] == [True, False]
    assert value.version == 2


@pytest.mark.parametrize("change", ["update", "compare_and_set"])
async def test_change_is_refused_where_set_is(change: str) -> None:
    """V9, V11, V19: in another thread and after the end it raises, and calls no function."""
    value = MemoryValue(1)
    called: list[int] = []
    calls: dict[str, Callable[[], object]] = {
        "update": partial(value.update, called.append),  # type: ignore[arg-type]
        "compare_and_set": partial(value.compare_and_set, 7, 2),
    }
    call = calls[change]
    with pytest.raises(RuntimeError, match=rf"{change}\(\) was called in another thread"):
        await trio.to_thread.run_sync(call)
    value.close()
    with pytest.raises(trio.ClosedResourceError, match=rf"{change}\(\) was called .* has ended"):
        call()
    assert (value.peek(), called) == (1, [])
