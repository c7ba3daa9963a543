"""Other packages that tell many consumers of a newest state, where they are installed.

Each is used as its documentation says for this: consumers get the newest state, and may skip
others. anyio has no values; what one takes there is a stream for each consumer, with room for one
item that the producer replaces. A ``BehaviorSubject`` of reactivex has no consumers that wait: it
calls each of them in the middle of a set.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


class Broadcast(Protocol):
    """A newest state, and those who follow it."""

    def set(self, value: int, /) -> object:
        """Replace the state. It is a different one each time."""

    async def open_idle(self, watchers: int) -> object:
        """Make watchers that don't wait, and live as long as what is returned."""

    async def watch(self, seen: Callable[[], object]) -> None:
        """Call ``seen`` after each set that is noticed, for ever."""


class TrioUtil:
    """``AsyncValue.eventual_values()`` of trio-util."""

    def __init__(self) -> None:
        from trio_util import AsyncValue

        self._value = AsyncValue(-1)

    def set(self, value: int) -> None:
        self._value.value = value

    async def open_idle(self, watchers: int) -> object:
        idle: list[Any] = [self._value.eventual_values() for _ in range(watchers)]
        for values in idle:
            await anext(values)
        return idle

    async def watch(self, seen: Callable[[], object]) -> None:
        async for _ in self._value.eventual_values():
            seen()


class AnyioStreams:
    """A memory object stream of anyio for each watcher."""

    def __init__(self) -> None:
        self._streams: list[Any] = []

    def set(self, value: int) -> None:
        from anyio import WouldBlock

        for send, receive in self._streams:
            try:
                send.send_nowait(value)
            except WouldBlock:
                receive.receive_nowait()
                send.send_nowait(value)

    async def open_idle(self, watchers: int) -> object:
        for _ in range(watchers):
            self._open()
        await trio.lowlevel.checkpoint()
        return self._streams

    async def watch(self, seen: Callable[[], object]) -> None:
        async for _ in self._open():
            seen()

    def _open(self) -> Any:
        from anyio import create_memory_object_stream

        stream: Any = create_memory_object_stream(1)
        self._streams.append(stream)
        return stream[1]


class ReactiveX:
    """A ``BehaviorSubject`` of reactivex: its observers are called, and never wait."""

    def __init__(self) -> None:
        from reactivex.subject import BehaviorSubject

        self._subject = BehaviorSubject(-1)
        self.set = self._subject.on_next

    async def open_idle(self, watchers: int) -> object:
        await trio.lowlevel.checkpoint()
        return [self.subscribe() for _ in range(watchers)]

    def subscribe(self) -> Any:
        return self._subject.subscribe(ignore)

    async def watch(self, seen: Callable[[], object]) -> None:
        raise NotImplementedError


def ignore(_: object) -> None:
    """Observe, and do nothing."""


PEERS: dict[str, tuple[str, Callable[[], Broadcast]]] = {
    "trio-util": ("trio_util", TrioUtil),
    "anyio": ("anyio", AnyioStreams),
    "reactivex": ("reactivex", ReactiveX),
}


def installed() -> dict[str, Callable[[], Broadcast]]:
    """Return those that can be measured here."""
    return {
        name: make
        for name, (module, make) in PEERS.items()
        if importlib.util.find_spec(module) is not None
    }


def awaited() -> dict[str, Callable[[], Broadcast]]:
    """Return those whose watchers are tasks that wait."""
    return {name: make for name, make in installed().items() if make is not ReactiveX}
