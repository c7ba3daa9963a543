"""Which values of a client are open: what is opened twice is one value, with one watch (E11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, final

from ..._arguments import shown
from .._calling._requests import encode_key, end_of_prefix
from .._watching._watching import Watch
from ._following import Following
from ._kept import KeptMap, KeptValue
from ._map import EtcdMap
from ._value import EtcdValue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._calling._opening import Close
    from .._calling._requests import Request
    from .._watching._watching import Watching
    from ._codecs import Codec
    from ._kept import Kept

T = TypeVar("T")

# Of what sort, how decoded, and what if not.
Kind = tuple[type, object, str]


@final
class _Opened:
    """A value or a map, and how many have it open."""

    def __init__(self, kind: Kind, made: Any, watch: Watch, kept: Kept[Any]) -> None:  # noqa: ANN401
        self.kind = kind
        self.made = made
        self.watch = watch
        self.kept = kept
        self.users = 0


@final
class OpenValues:
    """The open values and maps of one client."""

    def __init__(self, watching: Watching, call: Callable[[str, Request], Awaitable[Any]]) -> None:
        """Make an empty one."""
        self._watching = watching
        self._call = call
        # By key or prefix: codecs need not be hashable.
        self._opened: dict[str, list[_Opened]] = {}

    async def value(
        self, key: str, codec: Codec[T], on_decode_error: str
    ) -> tuple[EtcdValue[T], Close]:
        """Open the value of a key; return what leaves it, too."""
        kind = (EtcdValue, codec, on_decode_error)
        opened = self._find(key, kind)
        if opened is None:
            kept: KeptValue[T] = KeptValue(codec, is_skipping=on_decode_error == "skip")
            watch = Watch(encode_key("value", key), b"", key, kept)
            following = Following(kept, watch, self._watching, codec, self._call)
            opened = self._add(_Opened(kind, EtcdValue(kept, following), watch, kept))
        return opened.made, await self._use(opened)

    async def map(
        self, prefix: str, codec: Codec[T], on_decode_error: str
    ) -> tuple[EtcdMap[T], Close]:
        """Open the map of a prefix; return what leaves it, too."""
        kind = (EtcdMap, codec, on_decode_error)
        opened = self._find(prefix, kind)
        if opened is None:
            first = encode_key("map", prefix)
            is_skipping = on_decode_error == "skip"
            kept: KeptMap[T] = KeptMap(codec, prefix=first, is_skipping=is_skipping)
            watch = Watch(first, end_of_prefix(first), prefix, kept)
            following = Following(kept, watch, self._watching, codec, self._call)
            opened = self._add(_Opened(kind, EtcdMap(kept, following), watch, kept))
        return opened.made, await self._use(opened)

    def close(self) -> None:
        """End all of them, because the client is left."""
        for several in self._opened.values():
            for opened in several:
                opened.kept.finish(None)

    def _find(self, name: str, kind: Kind) -> _Opened | None:
        for opened in self._opened.get(name, ()):
            is_alike = type(opened.kind[1]) is type(kind[1]) and opened.kind == kind
            if is_alike and opened.kept.is_open:
                return opened
        return None

    def _add(self, opened: _Opened) -> _Opened:
        self._opened.setdefault(opened.watch.name, []).append(opened)
        self._watching.add(opened.watch)
        return opened

    async def _use(self, opened: _Opened) -> Close:
        """Wait until it is known; return what leaves it."""
        opened.users += 1

        async def close() -> None:  # noqa: ASYNC910  nothing is to wait for
            self._leave(opened)

        try:
            await opened.watch.wait_known()
        except BaseException:  # nobody gets what would close it
            self._leave(opened)
            raise
        return close

    def _leave(self, opened: _Opened) -> None:
        """Use it no longer; the last one ends it."""
        opened.users -= 1
        if opened.users:
            return
        name = opened.watch.name
        self._opened[name].remove(opened)
        if not self._opened[name]:
            del self._opened[name]
        self._watching.remove(opened.watch)
        opened.kept.finish(None)


def check_key(call: str, key: object) -> None:
    """Raise unless an argument is the key of a value, or the prefix of a map."""
    if not isinstance(key, str):
        msg = f"{call}(): {shown(key)} is no key: pass a string"
        raise TypeError(msg)
    encode_key(call, key)


def check_opening(call: str, key: object, codec: object, on_decode_error: object) -> None:
    """Raise unless a value or a map can be opened so."""
    check_key(call, key)
    for name in ("encode", "decode"):
        if not callable(getattr(codec, name, None)) or isinstance(codec, type):
            msg = (
                f"{call}(): {codec!r} is no codec: "
                "pass an object with encode() and decode(), such as Text()"
            )
            raise TypeError(msg)
    if on_decode_error not in {"raise", "skip"}:
        msg = f"{call}(): on_decode_error={on_decode_error!r} is neither 'raise' nor 'skip'"
        raise ValueError(msg)
