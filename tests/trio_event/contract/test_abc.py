"""What is particular to a storage that is written outside of the package (V6, V18, V21)."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_event.abc
from trio_event import MemoryValue, atomic, compose
from trio_event.abc import StoredValue, WaitQueue

from ..helpers.calls import Call


@final
class Decoded(StoredValue[int]):
    """Numbers that are decoded when they are read."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.queue = WaitQueue()

    def add(self, text: str) -> None:
        self.texts.append(text)
        self.queue.notify()

    @property
    def version(self) -> int:
        return len(self.texts)

    @property
    def wait_queue(self) -> WaitQueue:
        return self.queue

    def read(self) -> int:
        if self.texts[-1] == "gone":
            raise trio.EndOfChannel
        return int(self.texts[-1])

    def end(self) -> Exception | None:
        return None


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The storage in the module's docstring is a value like any other."""
    _, _, example = (trio_event.abc.__doc__ or "").partition("Example::\n")
    exec(textwrap.dedent(example), {"__name__": "example"})  # noqa: S102  it is our own
    assert capsys.readouterr().out == "22\n"


async def test_data_that_can_not_be_read_raise_in_the_get_until_they_are_replaced() -> None:
    """V6: nothing is seen then, however the value is watched."""
    value = Decoded()
    value.add("x")
    for watcher in (value.watch(), value.map(abs).watch(), compose(value).watch()):
        for _ in range(2):
            with pytest.raises(ValueError, match="invalid literal"):
                await watcher.get()
    watcher = value.map(abs).watch()
    value.add("-3")
    assert await watcher.get() == 3


async def test_end_that_a_read_raises_is_not_the_end_of_the_value() -> None:
    """V6: a read looks at something else, which has ended; the value has not."""
    value = Decoded()
    value.add("gone")
    for watcher in (value.watch(), value.map(abs).watch(), compose(value).watch()):
        with pytest.raises(RuntimeError, match=r"^read\(\) of Decoded raised") as caught:
            await watcher.get()
        assert isinstance(caught.value.__cause__, trio.EndOfChannel)


async def test_queue_counts_what_waits(nursery: trio.Nursery) -> None:
    """V21: its length is that of the waits, of tasks and of predicates."""
    value = Decoded()
    calls: list[Call[int]] = [
        Call(nursery, value.watch().get),
        Call(nursery, value.map(abs).watch().get),
        Call(nursery, partial(value.wait_for, lambda number: number > 1)),
    ]
    await wait_all_tasks_blocked()
    assert len(value.wait_queue) == 3
    value.add("2")
    assert [await call.result() for call in calls] == [2, 2, 2]
    assert len(value.wait_queue) == 0


async def test_atomic_block_holds_its_notify(nursery: trio.Nursery) -> None:
    """V18: a set of it and one of a value in memory are one step."""
    value, other = Decoded(), MemoryValue(0)
    value.add("1")
    asked: list[tuple[int, int]] = []

    def remember(parts: tuple[int, int]) -> bool:
        asked.append(parts)
        return False

    waiting: Call[object] = Call(nursery, partial(compose(value, other).wait_for, remember))
    await wait_all_tasks_blocked()
    with atomic():
        value.add("2")
        other.set(2)
    assert asked == [(1, 0), (2, 2)]
    await waiting.cancel()
