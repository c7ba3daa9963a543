"""Values that are set all the time, and watchers that check what they are given.

The numbers that are set always grow, so a watcher notices a value that is older than its last one.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, final

import trio

from trio_event import UNSET, MemoryValue, ValueMap, atomic, compose, select

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_event import ValueWatch

    from .violations import Findings

KEYS = 50


@final
class Progress:
    """What a watcher was given last."""

    def __init__(self, findings: Findings, watcher: str) -> None:
        self._findings = findings
        self.watcher = watcher
        self.last = -1
        self._is_new = False

    def restart(self) -> None:
        """Record that a new watcher is used, which may be given the last value again."""
        self._is_new = True

    def take(self, number: int) -> None:
        """Check that a value is newer than the last one."""
        self._findings.counts["seen"] += 1
        if number < self.last or (number == self.last and not self._is_new):
            self._findings.add_violation(f"V3: {self.watcher} was given {number} after {self.last}")
        self.last = number
        self._is_new = False


@final
class Stream:
    """A value, and one that is set together with it to the opposite number."""

    def __init__(self, findings: Findings, name: str) -> None:
        self.findings = findings
        self.name = name
        self.value: MemoryValue[int] = MemoryValue(0)
        self.opposite: MemoryValue[int] = MemoryValue(0)
        self.both: ValueWatch[tuple[int, int]] = compose(self.value, self.opposite)
        self.newest = 0
        # The progress of watchers that are never restarted and never busy.
        self.followers: list[Progress] = []

    def follower(self, watcher: str) -> Progress:
        """Return the progress of a watcher that is never restarted."""
        progress = Progress(self.findings, f"{watcher} of {self.name}")
        self.followers.append(progress)
        return progress

    def check_followers(self) -> None:
        """Check that all followers were given the newest value, which was set some time ago."""
        for progress in self.followers:
            if progress.last != self.newest:
                self.findings.add_violation(
                    f"V3: {progress.watcher} waits with {progress.last}, though it is {self.newest}"
                )

    def set(self) -> None:
        """Set both to their next values."""
        self.findings.counts["sets"] += 1
        self.newest += 1
        with atomic():
            self.value.set(self.newest)
            self.opposite.set(-self.newest)

    async def watch(self, progress: Progress) -> None:
        """Watch, and check that each value is the newest when it comes."""
        with self.value.watch() as watcher:
            while True:
                number = await watcher.get()
                progress.take(number)
                if number != self.newest:
                    self.findings.add_violation(
                        f"V4: a watcher of {self.name} was given {number} when it was {self.newest}"
                    )

    async def watch_both(self, progress: Progress) -> None:
        """Watch both as one, and check that they are opposites."""
        with self.both.watch() as watcher:
            while True:
                number, opposite = await watcher.get()
                progress.take(number)
                if number != -opposite:
                    self.findings.add_violation(
                        f"V18: {self.name} was {number} and {opposite} at once"
                    )

    async def receive(self, progress: Progress, channel: trio.MemoryReceiveChannel[int]) -> None:
        """Receive from the channel of a pipe."""
        async for number in channel:
            progress.take(number)


async def watch_any(streams: list[Stream], progresses: list[Progress]) -> None:
    """Select from several streams."""
    watchers = [stream.value.watch() for stream in streams]
    while True:
        index, number = await select(*watchers)
        progresses[index].take(number)


@final
class Table:
    """Values under keys, and watchers that keep a copy."""

    def __init__(self, findings: Findings, name: str) -> None:
        self.name = name
        self.values: ValueMap[int, int] = ValueMap()
        self._findings = findings
        self._numbers = 0

    def change(self) -> None:
        """Set, delete or replace some keys."""
        self._findings.counts["sets"] += 1
        self._numbers += 1
        key = random.randrange(KEYS)
        draw = random.random()
        if draw < 0.05:
            keys = random.sample(range(KEYS), KEYS // 2)
            self.values.replace_all(dict.fromkeys(keys, self._numbers))
        elif draw < 0.4 and key in self.values.mapping():
            self.values.delete(key)
        else:
            self.values.set(key, self._numbers)

    async def watch(self, copy: dict[int, int], pause: Callable[[], float]) -> None:
        """Apply all batches to a copy, with a pause after each."""
        copy.clear()
        with self.values.watch() as watcher:
            while True:
                for change in await watcher.get():
                    self._findings.counts["seen"] += 1
                    if change.old != copy.get(change.key, UNSET) or change.old == change.new:
                        self._findings.add_violation(
                            f"V20: a watcher of {self.name} was given {change}, "
                            f"and had {copy.get(change.key, UNSET)}"
                        )
                    if change.new is UNSET:
                        copy.pop(change.key, None)
                    else:
                        assert isinstance(change.new, int)
                        copy[change.key] = change.new
                await trio.sleep(pause())
