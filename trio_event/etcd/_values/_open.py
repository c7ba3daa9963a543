"""Which values of a client are open: what is opened twice is one value, with one watch (E11)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, final

from .._calling._requests import encode_key
from .._watching._watching import Watch
from ._value import EtcdValue, Kept

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from .._calling._requests import Request
    from .._watching._watching import Watching
    from ._codecs import Codec

T = TypeVar("T")


@final
class _Opened:
    """A value, and how many have it open."""

    def __init__(
        self, kind: tuple[object, ...], value: EtcdValue[Any], watch: Watch, kept: Kept[Any]
    ) -> None:
        self.kind = kind
        self.value = value
        self.watch = watch
        self.kept = kept
        self.users = 0


@final
class OpenValues:
    """The open values of one client."""

    def __init__(self, watching: Watching, call: Callable[[str, Request], Awaitable[Any]]) -> None:
        """Make an empty one."""
        self._watching = watching
        self._call = call
        # By key: codecs need not be hashable.
        self._opened: dict[str, list[_Opened]] = {}

    @asynccontextmanager
    async def value(
        self, key: str, codec: Codec[T], on_decode_error: str
    ) -> AsyncGenerator[EtcdValue[T], None]:
        """Open the value of a key, and leave it."""
        check_codec(codec)
        if on_decode_error not in {"raise", "skip"}:
            msg = f"value(): on_decode_error={on_decode_error!r} is neither 'raise' nor 'skip'"
            raise ValueError(msg)
        kind = (type(codec), codec, on_decode_error)
        opened = self._find(key, kind) or self._open(key, kind, codec)
        opened.users += 1
        try:
            await opened.watch.wait_known()
            yield opened.value
        finally:
            opened.users -= 1
            if not opened.users:
                self._leave(key, opened)

    def close(self) -> None:
        """End all of them, because the client is left."""
        for several in self._opened.values():
            for opened in several:
                opened.kept.finish(None)

    def _find(self, key: str, kind: tuple[object, ...]) -> _Opened | None:
        for opened in self._opened.get(key, ()):
            if opened.kind == kind and opened.kept.is_open:
                return opened
        return None

    def _open(self, key: str, kind: tuple[object, ...], codec: Codec[Any]) -> _Opened:
        kept: Kept[Any] = Kept(codec, is_skipping=kind[-1] == "skip")
        watch = Watch(encode_key("value", key), b"", key, kept)
        value = EtcdValue(kept, watch, self._watching, codec, self._call)
        opened = _Opened(kind, value, watch, kept)
        self._opened.setdefault(key, []).append(opened)
        self._watching.add(watch)
        return opened

    def _leave(self, key: str, opened: _Opened) -> None:
        self._opened[key].remove(opened)
        if not self._opened[key]:
            del self._opened[key]
        self._watching.remove(opened.watch)
        opened.kept.finish(None)


def check_codec(codec: object) -> None:
    """Raise unless an argument can encode and decode."""
    for name in ("encode", "decode"):
        if not callable(getattr(codec, name, None)) or isinstance(codec, type):
            msg = f"{codec!r} is no codec: pass an object with encode() and decode(), as Text()"
            raise TypeError(msg)
