"""The values of all keys with a prefix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

from ..._arguments import check_mapping, shown
from ..._memory._contents import Change
from ..._view import View
from .._calling._ranges import read_range
from .._calling._requests import Delete, Put, encode_key, transaction_request
from ._codecs import Undecodable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..._absent import Absent
    from ..._value import ValueWatch
    from .._calling._lease import Lease
    from .._calling._requests import Operation, Request
    from .._watching._health import Health
    from ._following import Following
    from ._kept import KeptMap

T = TypeVar("T")

# Keys in a transaction of replace_all(); a server takes 128.
_MOST_KEYS: Final = 100


@final
class EtcdMap(View[Sequence[Change[str, T]]], Mapping[str, T], Generic[T]):
    """What is stored under all keys with a prefix, as a map that is watched (E1 to E7, E11).

    It is open, and known, inside of ``async with client.map(prefix, codec)``. Its keys are what
    follows the prefix. Its watchers get batches of changes, as those of a :class:`ValueMap`, and it
    is a :class:`collections.abc.Mapping` of what is there now. What one transaction of the cluster
    has done is one batch, and items of one map are never composed of two revisions.

    With ``on_decode_error="raise"``, a batch with a key that can't be decoded raises
    :exc:`DecodeError` in each ``get`` that would return it, until that key has good data; and so do
    reads of this key.

    Example::

        async with client.map("app/peers/", Text()) as peers:
            await peers.put("alice", "10.0.0.4")
            async for changes in peers.watch():
                print([change.key for change in changes])
    """

    __slots__ = ("_following", "_kept")

    def __init__(self, kept: KeptMap[T], following: Following[T]) -> None:
        """Clients make maps; see :meth:`EtcdClient.map`."""
        super().__init__(kept.map.map(_good_batch))
        self._kept = kept
        self._following = following

    def __repr__(self) -> str:
        """Show the prefix and count the keys."""
        state = "" if self._kept.is_open else " closed"
        return f"<EtcdMap{state} {self.prefix!r} of {len(self)} keys revision {self.revision}>"

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._kept.map)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that there are."""
        return iter(self._kept.map)

    def __contains__(self, key: object) -> bool:
        """Return whether a key is there now."""
        return key in self._kept.map

    def __getitem__(self, key: str) -> T:
        """Return the newest data of one key."""
        return _good(self._kept.map[key])

    def __eq__(self, other: object) -> bool:
        """Compare by identity, as all values."""
        return self is other

    __hash__ = object.__hash__

    @property
    def prefix(self) -> str:
        """What the keys in the cluster begin with."""
        return self._following.watch.name

    def item(self, key: str) -> ValueWatch[T | Absent]:
        """Return the value of one key; see :meth:`ValueMap.item`.

        Raises:
            TypeError: if ``key`` is no string.

        Checkpoints:
            Never.
        """
        self._full("item", key)
        return self._kept.map.item(key).map(_good_item)

    @property
    def revision(self) -> int:
        """The cluster's revision up to which this map has everything."""
        return self._following.revision

    @property
    def health(self) -> ValueWatch[Health]:
        """How fresh it is: as the client's, and ``failed`` after an error that is permanent."""
        return self._following.health

    async def wait_revision(self, revision: int) -> None:
        """Wait until the map has what a revision of the cluster has done (E1).

        Args:
            revision: As a ``put``, ``delete`` or ``transaction`` has returned it, perhaps in
                another process.

        Raises:
            EndOfChannel: if the map was left before.
            BrokenResourceError: if it has failed before.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        await self._following.wait_revision(revision)

    async def put(self, key: str, value: T, *, lease: Lease | None = None) -> int:
        """Store data under a key, which is put behind the prefix.

        Args:
            key: What follows the prefix.
            value: The data, which the codec encodes.
            lease: With which the key is to end; by default with none.

        Returns:
            The cluster's revision that has done it; see :meth:`wait_revision`.

        Raises:
            ClosedResourceError: if the map was left.
            TypeError: if ``value`` is not what the codec stores.
            Exception: as :meth:`EtcdClient.put` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        return await self._following.put(self._full("put", key), value, lease)

    async def delete(self, key: str) -> int:
        """Delete a key, if it is there.

        Args:
            key: What follows the prefix.

        Returns:
            The cluster's revision that has done it; the present one if the key was not there.

        Raises:
            Exception: as :meth:`EtcdClient.delete` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        return await self._following.delete(self._full("delete", key))

    async def replace_all(self, mapping: Mapping[str, T]) -> int:
        """Make the keys with the prefix equal to a mapping; write only the difference.

        Up to 100 keys that differ are one step. More are not: they are written by one transaction
        after the other, and others may see the state between two of them. What others write
        meanwhile may be missed.

        Args:
            mapping: The data, by what follows the prefix.

        Returns:
            The cluster's revision that has done the last of it; that of the comparison if there is
            no difference.

        Raises:
            TypeError: if it is no mapping; nothing is written then.
            Exception: as :meth:`EtcdClient.transaction` does; a part may have been done.

        Checkpoints:
            Always.

        Cancellation:
            A part may have been done, or may yet be.
        """
        check_mapping("replace_all", "mapping", mapping)
        following = self._following
        following.check_open("replace_all")
        wanted = {
            encode_key("replace_all", self._full("replace_all", key)): following.encode(key, value)
            for key, value in mapping.items()
        }

        async def call(request: Request) -> Any:  # noqa: ANN401  see MESSAGES
            return await following.call("replace_all", request)

        found = await read_range(call, self.prefix, following.watch.key, following.watch.end)
        stored = {item.key: item.value for item in found.items}
        operations: list[Operation] = [Delete(key) for key in stored if key not in wanted]
        operations += [Put(key, data) for key, data in wanted.items() if stored.get(key) != data]
        revision = found.revision
        for start in range(0, len(operations), _MOST_KEYS):
            part = operations[start : start + _MOST_KEYS]
            answer = await call(transaction_request([], part, []))
            revision = answer.header.revision
        return revision

    def _full(self, call: str, key: object) -> str:
        """Return a key as the cluster has it."""
        if not isinstance(key, str):
            msg = f"{call}(): {shown(key)} is no key of the map {self.prefix!r}: pass a string"
            raise TypeError(msg)
        return self.prefix + key


def _good(data: T | Undecodable) -> T:
    """Return data that could be decoded."""
    if isinstance(data, Undecodable):
        data.raise_error()
    return data


def _good_item(data: T | Absent | Undecodable) -> T | Absent:
    """Return data that could be decoded, or that there are none."""
    if isinstance(data, Undecodable):
        data.raise_error()
    return data


def _good_batch(batch: Sequence[Change[str, T | Undecodable]]) -> Sequence[Change[str, T]]:
    """Return a batch of data that could be decoded."""
    for change in batch:
        if isinstance(change.new, Undecodable):
            change.new.raise_error()
    return batch  # type: ignore[return-value]  # that is what was found out
