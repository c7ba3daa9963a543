"""The read side of another value (V24). What holds for every value is in ``contract``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import UNSET, MemoryValue, ValueMap, View, compose, follow, pipe

from .helpers.calls import Call
from .helpers.functions import same
from .helpers.maps import flat
from .helpers.own_storage import OwnValue
from .helpers.piping import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_event import ValueWatch

    from .helpers.maps import Batch, Flat

# What shows a map, and does not define how its batches are watched.
SHOWS: Final[dict[str, Callable[[ValueWatch[Batch]], ValueWatch[Batch]]]] = {
    "view": View,
    "own_value": OwnValue,
    "view_of_own_value": lambda peers: View(OwnValue(peers)),
    "own_value_of_view": lambda peers: OwnValue(View(peers)),
    "mapped_view": lambda peers: View(peers).map(same),
    "view_of_mapped": lambda peers: View(OwnValue(peers.map(same)).throttle(0)),
}


def test_view_passes_on_what_the_value_says() -> None:
    """V15, V24: data, version and name are the value's, and it can't be set."""
    value = MemoryValue(1)
    view = View(value)
    value.set(2)
    assert (view.peek(), view.version) == (2, 2)
    assert repr(view) == "<View of <MemoryValue 2 version 2>>"
    assert not hasattr(view, "set")
    with pytest.raises(TypeError, match=r"View\(\): value=3 is not a value: pass a MemoryValue"):
        View(3)  # type: ignore[arg-type]


async def test_view_is_composed_at_the_same_instant(nursery: trio.Nursery) -> None:
    """V18, V24: a value and views of it, timed ones included, are never at two states."""
    value = MemoryValue(0)
    slow = value.throttle(0)
    together = compose(value, View(value), View(View(value).map(same)), View(slow), slow)
    asked: list[tuple[int, ...]] = []
    Call(nursery, partial(compose(value, View(value)).wait_for, asked.append))
    watcher = together.watch()
    await wait_all_tasks_blocked()
    for number in (1, 2):
        value.set(number)
        assert set(await watcher.get()) == {number}
    assert asked == [(0, 0), (1, 1), (2, 2)]
    nursery.cancel_scope.cancel()


def test_view_is_computed_of_what_was_read_with_it() -> None:
    """V18, V24: a function that sets the value changes nothing in the snapshot."""
    value = MemoryValue(1)

    def set_more(number: int) -> int:
        value.set(number + 1)
        return number

    assert compose(value.map(set_more), View(value)).peek() == (1, 1)


async def test_view_of_a_map_waits_for_a_version_as_the_map(nursery: trio.Nursery) -> None:
    """V15, V20, V24: also for one that leaves no change."""
    peers = ValueMap({"a": 1})
    waiting: Call[Batch] = Call(nursery, partial(View(peers).wait_version, 3))
    await wait_all_tasks_blocked()
    peers.set("b", 1)
    peers.delete("b")
    assert flat(await waiting.result()) == [("a", UNSET, 1)]


@pytest.mark.parametrize("show", SHOWS)
async def test_follow_with_latest_of_what_shows_a_map_is_refused(show: str) -> None:
    """V22, V24: it would lose changes, as of the map itself."""
    with pytest.raises(ValueError, match="would lose changes"):
        await follow(SHOWS[show](ValueMap({"a": 1})), trio.sleep_forever, latest=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("show", SHOWS)
async def test_pipe_of_what_shows_a_map_loses_no_change(show: str) -> None:
    """V13, V24: the next batch does not replace one that the consumer has not received."""
    peers = ValueMap({"a": 1})
    send, receive = trio.open_memory_channel["Flat"](0)
    known: Flat = []
    async with running({"pipe": pipe(SHOWS[show](peers).map(flat), send)}):
        await wait_all_tasks_blocked()
        peers.set("b", 2)
        for _ in range(2):
            await wait_all_tasks_blocked()
            known += await receive.receive()
    assert known == [("a", UNSET, 1), ("b", UNSET, 2)]


@pytest.mark.parametrize("show", SHOWS)
def test_what_shows_a_map_is_composed_as_a_whole(show: str) -> None:
    """V18, V20, V24: a snapshot has all keys."""
    peers = ValueMap({"a": 1})
    both = compose(SHOWS[show](peers), MemoryValue(0))
    peers.set("b", 2)
    assert flat(both.peek()[0]) == [("a", UNSET, 1), ("b", UNSET, 2)]
