"""What values and maps have in common: the cluster's revisions, health, and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import attrs
import trio

from ..._absent import ABSENT
from ..._arguments import check_whole, shown
from ..._unset import UNSET
from ..._value import compose
from .._calling._requests import delete_request, put_request
from .._wire._seam import CallError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Final

    from ..._value import ValueWatch
    from .._calling._lease import Lease
    from .._calling._requests import KeyRange, Request
    from .._errors import EtcdError
    from .._watching._health import Health
    from .._watching._watching import Watch, Watching
    from ._codecs import Codec
    from ._kept import Kept

T = TypeVar("T")

# In seconds: until it is asked whether a revision that is waited for concerns the range at all.
_PATIENCE: Final = 0.25


@final
class Following(Generic[T]):
    """A range that is followed, and how it is written."""

    def __init__(
        self,
        kept: Kept[T],
        watch: Watch,
        watching: Watching,
        codec: Codec[T],
        call: Callable[[str, Request], Awaitable[Any]],
    ) -> None:
        """Bring together what they need."""
        self.watch = watch
        self.call = call
        self._kept = kept
        self._watching = watching
        self._codec = codec

    @property
    def revision(self) -> int:
        """Up to which revision it has everything."""
        return self._kept.revision.peek()

    @property
    def health(self) -> ValueWatch[Health]:
        """How fresh it is (E5)."""
        return compose(self._watching.health, self.watch.failure).map(_health)

    async def wait_revision(self, revision: int) -> None:
        """Wait until it has what a revision has done."""
        remedy = "pass what put() or transaction() has returned"
        check_whole("wait_revision", "revision", revision, remedy)
        reached = self._kept.revision
        while True:
            with trio.move_on_after(_PATIENCE):
                await reached.wait_for(lambda at: at >= revision)
                return
            # Nothing tells of revisions that do not concern the range. If a read finds nothing
            # new, then it has everything up to there.
            try:
                found = await self._watching.read(self.watch)
            except CallError:
                continue  # the connection is lost, and another one will come
            self._take_revision(found)

    def _take_revision(self, found: KeyRange) -> None:
        """Record that it has everything up to a read that has found nothing new."""
        reached = self._kept.revision
        is_whole = self.watch.reflection.is_unchanged(found.items)
        if is_whole and self._kept.is_open and found.revision > reached.peek():
            reached.set(found.revision)

    async def put(self, key: str, value: T, lease: Lease | None) -> int:
        """Store data; return the revision."""
        self.check_open("put")
        answer = await self.call("put", put_request(key, self.encode(key, value), lease))
        revision: int = answer.header.revision
        return revision

    async def delete(self, key: str) -> int:
        """Delete a key; return the revision."""
        self.check_open("delete")
        answer = await self.call("delete", delete_request(key))
        revision: int = answer.header.revision
        return revision

    def check_open(self, call: str) -> None:
        """Raise if nobody has it open any more."""
        if self._kept.is_left:
            msg = f"{call}() of {self.watch.name!r}, which was left: call it in its 'async with'"
            raise trio.ClosedResourceError(msg)

    def encode(self, key: str, value: T) -> bytes:
        """Return the bytes to store.

        Raises:
            TypeError: if they are no data, or the codec has made no bytes.
            Exception: whatever the codec raises.
        """
        if value is ABSENT or value is UNSET:
            msg = f"{shown(value)} can't be stored under {key!r}: call delete(), or pass data"
            raise TypeError(msg)
        try:
            data: object = self._codec.encode(value)
        except Exception as error:
            error.add_note(f"It was to be stored under {key!r}.")
            raise
        if not isinstance(data, bytes):
            msg = f"the codec of {key!r} has made {data!r} of {value!r}, which is no bytes"
            raise TypeError(msg)
        return data


def _health(parts: tuple[Health, EtcdError | None]) -> Health:
    health, failure = parts
    return health if failure is None else attrs.evolve(health, state="failed", reason=str(failure))
