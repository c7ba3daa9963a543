"""The client of an etcd cluster."""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final

import trio

from .._arguments import check_seconds, shown
from ._calling._calls import Calls
from ._calling._endpoints import Rotation, parse_endpoints
from ._calling._leases import Leases
from ._calling._opening import Opening
from ._calling._ranges import read_range
from ._calling._requests import (
    KeyRange,
    KeyValue,
    check_ttl,
    delete_request,
    encode_key,
    end_of_prefix,
    first_of,
    get_request,
    put_request,
    transaction_request,
    transaction_result,
)
from ._calling._tokens import Tokens
from ._values._open import OpenValues, check_opening
from ._watching._background import Background
from ._watching._watching import Watching
from ._wire._grpc import connect
from ._wire._tls import TLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from .._value import ValueWatch
    from ._calling._lease import Lease
    from ._calling._opening import Close
    from ._calling._requests import Compare, Operation, Request, TransactionResult
    from ._values._codecs import Codec
    from ._values._map import EtcdMap
    from ._values._value import EtcdValue
    from ._watching._health import Health
    from ._wire._seam import Connection

T = TypeVar("T")


class _State(enum.Enum):
    NEW = enum.auto()
    OPEN = enum.auto()
    LEFT = enum.auto()


@final
class EtcdClient:
    """A client of an etcd cluster, for the tasks of one Trio run.

    It is an async context manager. Calls are made inside of it, by any number of tasks, and go to
    one of the members; to another one if that does not answer (E6). A write is never made twice
    (E7). Values of keys are opened by :meth:`value`; one stream keeps all of them current. What is
    left of it after the ``async with`` is nothing: no connection, no thread (E9).

    Args:
        endpoints: The members, each as ``host:port`` or ``http://host:port``, or with ``https``
            where there is TLS. One is enough to reach a cluster; the others are asked when
            that does not answer.
        tls: Encrypt connections, and check who is there.
        user: The user's name, where etcd has authentication switched on. A client certificate may
            do as well.
        password: The user's password.
        timeout: How many seconds a call may take, with all its attempts. An attempt at one member
            takes at most two.

    Raises:
        ValueError: if there is no endpoint, if one is none, or has a scheme that does not fit
            ``tls``; or if one of ``user`` and ``password`` is missing.

    Example::

        async with EtcdClient(["localhost:2379"]) as client:
            revision = await client.put("app/color", b"green")
            stored = await client.get("app/color")
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TLS | None = None,
        user: str | None = None,
        password: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        """Make a client, which does nothing until it is entered; see the class."""
        _check_tls(tls)
        if (user is None) != (password is None):
            missing = "password" if password is None else "user"
            msg = f"EtcdClient(): {missing}= is missing: pass both user= and password=, or neither"
            raise ValueError(msg)
        _check_user("user", user)
        _check_user("password", password)
        check_seconds("EtcdClient", "timeout", timeout)
        if not timeout:
            msg = "EtcdClient(): timeout=0 leaves no time for a call: pass seconds above 0"
            raise ValueError(msg)
        self._targets = parse_endpoints(endpoints, is_encrypted=tls is not None)
        # For calls, for the watch stream, and for leases: none is disturbed by what another meets.
        self._rotation = Rotation(self._targets)
        self._rotation_to_watch = Rotation(self._targets)
        self._rotation_of_leases = Rotation(self._targets)
        self._connect: Callable[[str], Connection] = partial(connect, tls=tls)
        self._connect_to_watch: Callable[[str], Connection] = self._connect
        self._connect_for_leases: Callable[[str], Connection] = self._connect
        self._user = user
        self._password = password
        self._timeout = float(timeout)
        self._state = _State.NEW
        self._token: trio.lowlevel.TrioToken | None = None
        self._calls: Calls | None = None
        self._values: OpenValues | None = None
        self._leases: Leases | None = None
        self._watching: Watching | None = None
        self._background: Background | None = None

    def __repr__(self) -> str:
        """Show the endpoints, and whether it can be used; never the password."""
        user = "" if self._user is None else f" user={self._user!r}"
        return f"<EtcdClient {self._state.name.lower()} {', '.join(self._targets)}{user}>"

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        """Open the client. It begins to connect; nothing waits for that."""
        await trio.lowlevel.checkpoint()
        if self._state is not _State.NEW:
            msg = f"{self!r} was entered before: make a new client"
            raise RuntimeError(msg)
        self._state = _State.OPEN
        self._token = trio.lowlevel.current_trio_token()
        tokens = Tokens(self._user, self._password)
        self._calls = Calls(self._rotation, self._connect, tokens, self._timeout)
        self._watching = Watching(self._rotation_to_watch, self._connect_to_watch, tokens)
        self._values = OpenValues(self._watching, self._call)
        self._leases = Leases(
            self._rotation_of_leases, self._connect_for_leases, tokens, self._call
        )
        self._background = Background(self._run)
        await self._background.start()
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Leave the client. Its values end, calls of other tasks with ``ClosedResourceError``."""
        assert self._calls is not None
        assert self._values is not None
        assert self._leases is not None
        assert self._background is not None
        self._state = _State.LEFT
        self._calls.close()
        self._values.close()
        self._leases.close()
        return await self._background.stop(kind, error, traceback)  # noqa: ASYNC102  it shields

    async def _run(self) -> None:
        """Follow the values, and keep the leases alive, until it is cancelled."""
        assert self._watching is not None
        assert self._leases is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watching.run)
            nursery.start_soon(self._leases.run)

    @property
    def health(self) -> ValueWatch[Health]:
        """How fresh the values of this client are (E5).

        Raises:
            RuntimeError: if the client was not entered.
        """
        if self._watching is None:
            msg = f"health of {self!r} is not known: enter it before, by 'async with'"
            raise RuntimeError(msg)
        return self._watching.health

    def value(
        self,
        key: str,
        codec: Codec[T],
        *,
        on_decode_error: Literal["raise", "skip"] = "raise",
    ) -> AbstractAsyncContextManager[EtcdValue[T]]:
        """Open the value of a key, for an ``async with`` (E1, E4, E11).

        Entering it makes the first read, so that the value is known: ``peek()`` and
        ``get(backlog_only=True)`` say what the cluster has. It is tried until it succeeds, or the
        caller's own deadline. What is opened twice is one value.

        Args:
            key: The key.
            codec: What makes data of the stored bytes: :class:`Json`, :class:`Text`,
                :class:`Bytes`, or an object of your own.
            on_decode_error: What becomes of stored bytes that the codec does not accept.
                With ``raise``, each ``get`` that would return them raises :exc:`DecodeError`
                until there is good data. With ``skip``, the value keeps its last good data, or is
                ABSENT if there was none, and an error is logged.

        Returns:
            A context manager of the value. After the ``async with`` its watchers end,
            and the server watches no longer.

        Raises:
            RefusedError: if the cluster does not allow to read the key.
            ClosedResourceError: if the client was left.
            RuntimeError: if the client was not entered, or in another Trio run.
            TypeError: if ``codec`` is none.
            ValueError: if ``key`` is empty.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.

        Example::

            async with client.value("app/color", Text()) as color:
                print(color.peek())
        """
        check_opening("value", key, codec, on_decode_error)

        async def open_() -> tuple[EtcdValue[T], Close]:
            self._check("value")
            assert self._values is not None
            return await self._values.value(key, codec, on_decode_error)

        return Opening(f"client.value({key!r}, ...)", open_)

    def map(
        self,
        prefix: str,
        codec: Codec[T],
        *,
        on_decode_error: Literal["raise", "skip"] = "raise",
    ) -> AbstractAsyncContextManager[EtcdMap[T]]:
        """Open the map of all keys with a prefix, for an ``async with`` (E1, E4, E11).

        It is known when it is open, as a value is; see :meth:`value`. Use one map where several
        keys belong together: what a transaction has done to them is one batch of it.

        Args:
            prefix: What the keys begin with. The keys of the map are what follows it.
            codec: As for :meth:`value`.
            on_decode_error: What becomes of keys that are no UTF-8, and of stored bytes that
                the codec does not accept. With ``raise``, each ``get`` that would return them
                raises :exc:`DecodeError` until there is good data. With ``skip``, the key keeps
                its last good data, if there is some, the others go on, and an error is logged.

        Returns:
            A context manager of the map. After the ``async with`` its watchers end,
            and the server watches no longer.

        Raises:
            Exception: as :meth:`value` does.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.

        Example::

            async with client.map("app/peers/", Text()) as peers:
                print(dict(peers))
        """
        check_opening("map", prefix, codec, on_decode_error)

        async def open_() -> tuple[EtcdMap[T], Close]:
            self._check("map")
            assert self._values is not None
            return await self._values.map(prefix, codec, on_decode_error)

        return Opening(f"client.map({prefix!r}, ...)", open_)

    def lease(self, ttl: int) -> AbstractAsyncContextManager[Lease]:
        """Open a lease, for an ``async with`` (E13).

        Inside, it is kept alive at a third of the time that was granted. When it is left it ends,
        with the keys that were put with it. The cluster is told so for at most a second; if it can
        not be reached, the lease ends by itself, as it does when the process dies.

        Args:
            ttl: After how many seconds without a keepalive the cluster ends it. It may grant more.

        Returns:
            A context manager of the lease.

        Raises:
            UnavailableError: if no member has answered in time.
            RefusedError: if the cluster does not allow it.
            ClosedResourceError: if the client was left.
            RuntimeError: if the client was not entered, or in another Trio run.
            TypeError: if ``ttl`` is no whole number.
            ValueError: if it is below 1, or more than etcd grants.

        Checkpoints:
            Always, when it is entered and when it is left.

        Cancellation:
            The lease ends all the same, which may take a second. One that is granted at that very
            moment ends by itself.

        Example::

            async with client.lease(10) as lease:
                await client.put("app/peers/alice", b"10.0.0.4", lease=lease)
        """
        check_ttl("lease", ttl)

        async def open_() -> tuple[Lease, Close]:
            self._check("lease")
            assert self._leases is not None
            return await self._leases.open(ttl)

        return Opening(f"client.lease({ttl!r})", open_)

    async def get(self, key: str | bytes, *, serializable: bool = False) -> KeyValue | None:
        """Return what is stored under a key.

        Args:
            key: The key.
            serializable: Let the member answer from what it knows. This is faster, and works
                without a quorum, but may be old. Otherwise the answer has all writes that were
                acknowledged before.

        Returns:
            What is stored; None if the key is not there.

        Raises:
            UnavailableError: if no member has answered in time.
            RefusedError: if the cluster does not allow it.
            ClosedResourceError: if the client was left.
            RuntimeError: if the client was not entered, or in another Trio run.
            TypeError: if ``key`` is neither a string nor bytes.
            ValueError: if ``key`` is empty.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        answer = await self._call("get", get_request(key, is_local=serializable))
        return first_of(answer)

    async def get_range(self, prefix: str | bytes, *, serializable: bool = False) -> KeyRange:
        """Return all that is stored under the keys with a prefix, as of one revision (E1).

        It is read page by page. If the cluster is compacted meanwhile, so that it no longer knows
        that revision, all is read again at a newer one.

        Args:
            prefix: What the keys begin with.
            serializable: As for :meth:`get`.

        Raises:
            UnavailableError: if no member has answered in time, which is counted for each page.
            RefusedError: if the cluster does not allow it.
            ClosedResourceError: if the client was left.
            RuntimeError: if the client was not entered, or in another Trio run.
            TypeError: if ``prefix`` is neither a string nor bytes.
            ValueError: if ``prefix`` is empty.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        first = encode_key("get_range", prefix)
        end = end_of_prefix(first)

        async def call(request: Request) -> Any:  # noqa: ANN401  see MESSAGES
            return await self._call("get_range", request)

        return await read_range(call, prefix, first, end, is_local=serializable)

    async def put(self, key: str | bytes, value: bytes, *, lease: Lease | None = None) -> int:
        """Put data under a key.

        Args:
            key: The key.
            value: The data.
            lease: With which the key is to end (E13); by default with none. A key that had a lease
                before has it no longer.

        Returns:
            The cluster's revision that has done it.

        Raises:
            UnavailableError: if it was not done, because no member has answered in time.
            UnknownOutcomeError: if it may have been done, or may yet be.
            RefusedError: if the cluster does not allow it, or the lease is lost.
            ClosedResourceError: if the client was left, or the lease. During the call, the outcome
                is not known.
            RuntimeError: if the client was not entered, or in another Trio run.
            TypeError: if ``key`` is neither a string nor bytes, ``value`` is no bytes, or ``lease``
                no lease.
            ValueError: if ``key`` is empty, or ``value`` more than a server takes.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        answer = await self._call("put", put_request(key, value, lease))
        revision: int = answer.header.revision
        return revision

    async def delete(self, key: str | bytes) -> int:
        """Delete a key, if it is there.

        Args:
            key: The key.

        Returns:
            The cluster's revision that has done it; the present one if the key was not there.

        Raises:
            Exception: as :meth:`put` does.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.
        """
        answer = await self._call("delete", delete_request(key))
        revision: int = answer.header.revision
        return revision

    async def transaction(
        self,
        compare: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Do several things in one step, if all comparisons are true; otherwise others.

        Args:
            compare: What has to be true; if there is none, ``then`` is done.
            then: What to do if it is: :class:`Get`, :class:`Put`, :class:`Delete`.
            otherwise: What to do if it is not.

        Returns:
            Which of the two was done, at which revision, and what the gets have found.

        Raises:
            ValueError: if there is more of one of them than a server takes, which is 128.
            Exception: as :meth:`put` does. With gets alone the outcome is never unknown.

        Checkpoints:
            Always.

        Cancellation:
            It may have been done, or may yet be; not if it is cancelled before it begins.

        Example::

            result = await client.transaction(
                [Compare("app/leader", "create_revision", "==", 0)],
                [Put("app/leader", b"me")],
                [Get("app/leader")],
            )
        """
        request = transaction_request(compare, then, otherwise)
        return transaction_result(await self._call("transaction", request))

    async def _call(self, name: str, request: Request) -> Any:  # noqa: ANN401  see MESSAGES
        """Make a call, if the client can be used here and now."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check(name)
        assert self._calls is not None
        return await self._calls.call(request)

    def _check(self, name: str) -> None:
        """Raise unless the client can be used here and now."""
        if self._calls is None:
            msg = f"{name}() was called on {self!r}: enter it before, by 'async with'"
            raise RuntimeError(msg)
        if self._state is _State.LEFT:
            msg = f"{name}() was called on {self!r}: call it inside its 'async with'"
            raise trio.ClosedResourceError(msg)
        if trio.lowlevel.current_trio_token() is not self._token:
            msg = f"{name}() was called in another Trio run than the one that {self!r} is of"
            raise RuntimeError(msg)


def check_client(call: str, client: object) -> None:
    """Raise unless an argument is a client."""
    if not isinstance(client, EtcdClient):
        msg = f"{call}(): client={shown(client)} is no EtcdClient: pass one that was entered"
        raise TypeError(msg)


def _check_user(name: str, given: object) -> None:
    if given is not None and not isinstance(given, str):
        msg = f"EtcdClient(): {name}= is a {type(given).__name__}: pass a string"
        raise TypeError(msg)
    if given == "":
        msg = f"EtcdClient(): {name}= is empty: pass one, or leave user= and password= out"
        raise ValueError(msg)


def _check_tls(tls: object) -> None:
    if tls is not None and not isinstance(tls, TLS):
        msg = f"EtcdClient(): tls={tls!r} is not how to encrypt: pass TLS(...), or leave it out"
        raise TypeError(msg)
