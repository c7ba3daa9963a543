"""Values that are set all the time, and watchers that know what they may be given.

What is set goes up and never comes twice, so a watcher can tell whether it goes back in time.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, final

import trio

from trio_event import UNSET, MemoryValue, ValueMap, atomic, compose, select

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_event import ValueWatch

    from .ledger import Ledger

KEYS = 50


@final
class Progress:
    """What one who watches has been given last."""

    def __init__(self, ledger: Ledger, who: str) -> None:
        self._ledger = ledger
        self.who = who
        self.last = -1
        self._is_new = False

    def restart(self) -> None:
        """Take note that it watches with a new watcher, which may be given the last once more."""
        self._is_new = True

    def take(self, number: int) -> None:
        """Hold that what is given is newer than what was given before."""
        self._ledger.counts["seen"] += 1
        if number < self.last or (number == self.last and not self._is_new):
            self._ledger.violate(f"V3: {self.who} was given {number} after {self.last}")
        self.last = number
        self._is_new = False


@final
class Stream:
    """A value, and one that is set together with it to the opposite number."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.ledger = ledger
        self.name = name
        self.value: MemoryValue[int] = MemoryValue(0)
        self.opposite: MemoryValue[int] = MemoryValue(0)
        self.both: ValueWatch[tuple[int, int]] = compose(self.value, self.opposite)
        self.newest = 0
        # Of watchers that are never restarted and never busy.
        self.followers: list[Progress] = []

    def follower(self, who: str) -> Progress:
        """Return the progress of one who always watches."""
        progress = Progress(self.ledger, f"{who} of {self.name}")
        self.followers.append(progress)
        return progress

    def check_followers(self) -> None:
        """Hold that all who always watch have been given the newest: it is some time old."""
        for progress in self.followers:
            if progress.last != self.newest:
                self.ledger.violate(
                    f"V3: {progress.who} waits with {progress.last}, though it is {self.newest}"
                )

    def set(self) -> None:
        """Set both to what comes next."""
        self.ledger.counts["sets"] += 1
        self.newest += 1
        with atomic():
            self.value.set(self.newest)
            self.opposite.set(-self.newest)

    async def watch(self, progress: Progress) -> None:
        """Watch, and hold that each value is newest when it comes."""
        with self.value.watch() as watcher:
            while True:
                number = await watcher.get()
                progress.take(number)
                if number != self.newest:
                    self.ledger.violate(
                        f"V4: a watcher of {self.name} was given {number} when it was {self.newest}"
                    )

    async def watch_both(self, progress: Progress) -> None:
        """Watch both as one, and hold that they are opposites."""
        with self.both.watch() as watcher:
            while True:
                number, opposite = await watcher.get()
                progress.take(number)
                if number != -opposite:
                    self.ledger.violate(f"V18: {self.name} was {number} and {opposite} at once")

    async def receive(self, progress: Progress, channel: trio.MemoryReceiveChannel[int]) -> None:
        """Take from a channel that a pipe fills."""
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

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.name = name
        self.values: ValueMap[int, int] = ValueMap()
        self._ledger = ledger
        self._numbers = 0

    def change(self) -> None:
        """Change something."""
        self._ledger.counts["sets"] += 1
        self._numbers += 1
        key = random.randrange(KEYS)
        what = random.random()
        if what < 0.05:
            keys = random.sample(range(KEYS), KEYS // 2)
            self.values.replace_all(dict.fromkeys(keys, self._numbers))
        elif what < 0.4 and key in self.values.mapping():
            self.values.delete(key)
        else:
            self.values.set(key, self._numbers)

    async def watch(self, copy: dict[int, int], pause: Callable[[], float]) -> None:
        """Apply all batches to a copy, now and then late."""
        copy.clear()
        with self.values.watch() as watcher:
            while True:
                for change in await watcher.get():
                    self._ledger.counts["seen"] += 1
                    if change.old != copy.get(change.key, UNSET) or change.old == change.new:
                        self._ledger.violate(
                            f"V20: a watcher of {self.name} was given {change}, "
                            f"and had {copy.get(change.key, UNSET)}"
                        )
                    if change.new is UNSET:
                        copy.pop(change.key, None)
                    else:
                        assert isinstance(change.new, int)
                        copy[change.key] = change.new
                await trio.sleep(pause())
