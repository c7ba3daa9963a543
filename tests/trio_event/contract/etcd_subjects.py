"""Values of a real etcd, for the contract: what is set is put there, and comes by a watch stream.

A set blocks the thread until it has come, so that no other task runs, and applies it there and
then, as Trio's queue would in its next turn.
"""

from __future__ import annotations

import itertools
import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final, final

import grpc

from trio_event import UNSET, Absent, Change, compose
from trio_event.etcd import EtcdMap, EtcdValue, Json
from trio_event.etcd._calling._requests import end_of_prefix, put_request
from trio_event.etcd._values._following import Following
from trio_event.etcd._values._kept import KeptMap, KeptValue
from trio_event.etcd._watching._watching import Watch
from trio_event.etcd._wire._grpc import GrpcStream, connect
from trio_event.etcd._wire._messages import MESSAGES

from ..helpers.functions import first
from ..helpers.internals import waits_for
from .subjects import Numbers, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_event.etcd._values._kept import Kept

SECONDS: Final = 30
CODEC: Final[Json[Any]] = Json(object)

_numbers: Final = itertools.count()


class EtcdSubject(Subject):
    """A key of a cluster, and what is made of its value."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._prefix = f"contract/{next(_numbers)}/"
        self._connection: Any = None
        self._stream: GrpcStream | None = None
        self._channel: grpc.Channel | None = None
        self._has_come = threading.Semaphore(0)
        self._kept, self._watch, self._value = self.make()

    @abstractmethod
    def make(self) -> tuple[Kept[Any], Watch, Numbers]:
        """Make the value."""

    @property
    def value(self) -> Numbers:
        return self._value

    @property
    def tasks_waiting(self) -> int:
        return waits_for(self._value)

    def set(self, *values: int | None) -> None:
        if self._stream is None:
            self._open()
        for value in values:
            request = put_request(f"{self._prefix}key", CODEC.encode(value))
            assert self._channel is not None
            self._channel.unary_unary(request.path)(
                request.message.SerializeToString(), timeout=SECONDS
            )
            self._take()

    def close(self) -> None:
        self._kept.finish(None)

    def fail(self, error: Exception) -> None:
        self._kept.finish(error)

    def clear(self) -> None:
        if self._stream is not None:
            assert self._channel is not None
            self._stream._call.cancel()
            self._stream._requests.put(None)
            self._stream._thread.join(SECONDS)
            self._connection.close()
            self._channel.close()

    def _open(self) -> None:
        self._channel = grpc.insecure_channel(self._endpoint)
        self._connection = connect(self._endpoint, None)
        stream = self._connection.open_stream("/etcdserverpb.Watch/Watch", self._receive)
        assert isinstance(stream, GrpcStream)
        self._stream = stream
        put = stream._put

        def put_and_tell(item: Any) -> None:  # noqa: ANN401  a message, or the end
            put(item)
            self._has_come.release()

        stream._put = put_and_tell  # type: ignore[method-assign]  # to be told in a blocked thread
        create = {"key": self._watch.key, "range_end": self._watch.end, "fragment": True}
        stream.send(MESSAGES["WatchRequest"](create_request=create).SerializeToString())
        self._take()

    def _take(self) -> None:
        """Wait for a message, with all of Trio, and apply it."""
        assert self._stream is not None
        assert self._has_come.acquire(timeout=SECONDS)
        self._stream._apply()

    def _receive(self, data: bytes) -> None:
        response = MESSAGES["WatchResponse"].FromString(data)
        self._watch.reflection.take_events(response.events, is_fragment=response.fragment)


class EtcdKey(EtcdSubject):
    """The value of a key."""

    def make(self) -> tuple[Kept[Any], Watch, Numbers]:
        kept: KeptValue[Any] = KeptValue(CODEC, is_skipping=False)
        watch = Watch(f"{self._prefix}key".encode(), b"", f"{self._prefix}key", kept)
        return kept, watch, self.derive(EtcdValue(kept, following(kept, watch)))

    @staticmethod
    def derive(value: EtcdValue[Any]) -> Numbers:
        numbers: Any = value  # whose data are never ABSENT here
        return numbers  # type: ignore[no-any-return]  # as above


@final
class EtcdKeyPresent(EtcdKey):
    """The value of a key while it is there."""

    @staticmethod
    def derive(value: EtcdValue[Any]) -> Numbers:
        present: Numbers = value.present()
        return present


class EtcdPrefix(EtcdSubject):
    """What the watchers of a map find in the batches."""

    incremental = True

    def make(self) -> tuple[Kept[Any], Watch, Numbers]:
        prefix = self._prefix.encode()
        kept: KeptMap[Any] = KeptMap(CODEC, prefix=prefix, is_skipping=False)
        watch = Watch(prefix, end_of_prefix(prefix), self._prefix, kept)
        return kept, watch, self.derive(EtcdMap(kept, following(kept, watch)))

    @staticmethod
    def derive(opened: EtcdMap[Any]) -> Numbers:
        return opened.map(new_of)


@final
class EtcdItem(EtcdPrefix):
    """One key of a map."""

    incremental = False

    @staticmethod
    def derive(opened: EtcdMap[Any]) -> Numbers:
        present: Numbers = opened.item("key").present()
        return present


@final
class EtcdComposed(EtcdPrefix):
    """One key of a map, composed with another one that is never there."""

    incremental = False

    @staticmethod
    def derive(opened: EtcdMap[Any]) -> Numbers:
        return compose(opened.item("key"), opened.item("never")).map(first).map(there)


def following(kept: Kept[Any], watch: Watch) -> Following[Any]:
    nothing: Any = None  # no test of the contract asks for health, or writes by the value
    return Following(kept, watch, nothing, CODEC, nothing)


def new_of(batch: Sequence[Change[str, Any]]) -> int | None:
    (change,) = batch
    assert change.key == "key"
    assert change.new is not UNSET
    new: int | None = change.new
    return new


def there(state: Any) -> int | None:  # noqa: ANN401  data, or that there are none
    assert not isinstance(state, Absent)
    number: int | None = state
    return number


ETCD_SUBJECTS: Final[tuple[type[EtcdSubject], ...]] = (
    EtcdKey,
    EtcdKeyPresent,
    EtcdPrefix,
    EtcdItem,
    EtcdComposed,
)
