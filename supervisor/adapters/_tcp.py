"""A TCP server: an accept loop, and a child of a pool for each connection (S24).

The server's node has one child, the pool ``connections``, and that has a child for each connection.
So a handler that dies is logged, as any node, and takes nobody with it.

- *Stopping.* A supervisor stops the children of a node one after the other, and connections are not
  to wait for each other. So the server's own runnable, which is stopped before its children, asks
  all of them at once and waits for them. It brings the grace of its handlers as its own. When
  it ends before, because it was given a shorter one, it cancels those that are left.
- *Slots.* A slot is taken before a connection is accepted, so that those for which there is none
  wait in the backlog. ``max_children`` of a pool would refuse what is accepted already.
- *Streams.* A child whose stop is requested before its first step is never called. So the streams
  are the server's, and what a handler does not close is closed with it.
- *The peer* is in a context variable, so that all that is logged for a connection has it, the
  record of its handler's death included. As for the DN, ``logging.Logger.makeRecord`` is
  wrapped, when a server is made first: an attribute that a record factory sets can't be in
  ``extra=``.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, final

import trio

import supervisor
from supervisor import RunError, Signal, UnknownNameError

from ._arguments import check_async, check_count, check_grace, shown
from ._listeners import Listening, address, addresses, check_listening
from ._own_grace import GRACE
from ._ungrouped import ungrouped

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable

    from supervisor import Pool

PAUSE: Final = 0.1
"""How many seconds to wait when the system has no more file descriptors, as Trio does."""

QUIET: Final = 60.0
"""The seconds until it is said again that it has none."""

_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def tcp(
    handler: Callable[[trio.SocketStream], Awaitable[object]],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    sockets: Iterable[socket.socket] | None = None,
    max_connections: int | None = None,
    grace: float = GRACE,
) -> TcpServer:
    """Make a runnable that serves TCP connections (S24).

    It is ``HEALTHY`` when it listens. For each connection it calls ``handler`` with its stream, as
    a child of a pool. The handler sends no signal. It returns when it is done with the connection,
    which is closed then; what it raises is a death that is logged, and ends only this connection.
    All that is logged for a connection has the peer's address in the attribute ``peer``.

    At the stop request the server stops listening at once. Each handler sees the request, by
    :func:`supervisor.wait_stop_requested`, and is cancelled when the grace is over. When the node
    has ended, the port is free.

    Args:
        handler: What serves a connection. For TLS, it wraps the stream in a
            :class:`trio.SSLStream`.
        host: Where to listen.
        port: Where to listen; 0 is any that is free.
        sockets: Listen on these instead. They are listening already, and are never closed:
            connections that come during a restart wait. Each incarnation uses duplicates, which
            makes them non-blocking.
        max_connections: With so many connections it accepts no more, and others wait in the
            backlog; by default any number.
        grace: How many seconds handlers get when the server is stopped.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`. It brings its own
        grace.

    Raises:
        TypeError: if ``handler`` is not callable, or an argument is of a wrong kind.
        ValueError: if a number is out of its range, or a socket does not listen.

    Checkpoints:
        Never.

    Example::

        async def echo(stream: trio.SocketStream) -> None:
            async for part in stream:
                await stream.send_all(part)

        supervisor.run("echo", tcp(echo, port=8007, max_connections=1000))
    """
    check_async("tcp", handler)
    listening = check_listening("tcp", host, port, sockets)
    if max_connections is not None:
        max_connections = check_count("tcp", "max_connections", max_connections)
    server = TcpServer(handler, listening, max_connections, check_grace("tcp", grace))
    _label_records()
    return server


@final
class TcpServer:
    """A runnable that serves TCP connections, as :func:`tcp` returns it (S24).

    It is for one place in a tree.

    Attributes:
        grace: What :func:`supervisor.run` takes for it if it is told nothing else.
        addresses: The hosts and ports at which it listens now, from ``HEALTHY`` on. A Unix socket
            has none.
    """

    def __init__(
        self,
        handler: Callable[[trio.SocketStream], Awaitable[object]],
        listening: Listening,
        max_connections: int | None,
        grace: float,
    ) -> None:
        """Make one; users get theirs from :func:`tcp`."""
        self.grace: float = grace
        self.addresses: tuple[tuple[str, int], ...] = ()
        self._handler = handler
        self._listening = listening
        self._max_connections = max_connections

    def __repr__(self) -> str:
        """Tell where it listens."""
        where = ", ".join(map(address, self.addresses)) or "not listening"
        return f"<TcpServer of {shown(self._handler)}, {where}>"

    async def __call__(self) -> None:
        """Run: this is the runnable.

        Checkpoints:
            Always.

        Cancellation:
            Ends all connections.
        """
        await ungrouped(self._run)

    async def _run(self) -> None:
        pool = supervisor.run_pool("connections")
        connections = _Connections(pool, self._handler, self._max_connections, self.grace)
        with contextlib.closing(connections):
            await self._accept_until_stop(connections)
            await connections.stop()

    async def _accept_until_stop(self, connections: _Connections) -> None:
        with contextlib.ExitStack() as opened:
            listeners = [opened.enter_context(each) for each in await self._listening.open()]
            await connections.pool.wait_healthy()
            async with trio.open_nursery() as accepting:
                for each in listeners:
                    accepting.start_soon(_accept, each, connections)
                names = [each.getsockname() for each in listeners]
                self.addresses = tuple(name[:2] for name in names if isinstance(name, tuple))
                opened.callback(setattr, self, "addresses", ())
                supervisor.logger().info("listens at %s", addresses(listeners))
                supervisor.signal(Signal.HEALTHY)
                await supervisor.wait_stop_requested()
                accepting.cancel_scope.cancel(reason="a stop was requested of the server")


async def _accept(listener: socket.socket, connections: _Connections) -> None:
    source = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    next_warning = trio.current_time()
    while True:
        await connections.wait_for_slot()
        try:
            stream = await source.accept()
        except OSError as error:
            connections.free_slot()
            if error.errno not in _EXHAUSTED:
                raise
            if trio.current_time() >= next_warning:
                next_warning = trio.current_time() + QUIET
                supervisor.logger().warning("it can't accept now, and tries again: %s", error)
            await trio.sleep(PAUSE)
        else:
            connections.start(stream)


@final
class _Connections:
    """The connections of one incarnation of a server."""

    def __init__(
        self,
        pool: Pool,
        handler: Callable[[trio.SocketStream], Awaitable[object]],
        most: int | None,
        grace: float,
    ) -> None:
        self.pool = pool
        self._handler = handler
        self._slots = None if most is None else trio.Semaphore(most)
        self._grace = grace
        self._names = map("connection{}".format, itertools.count(1))
        self._open: dict[str, tuple[trio.SocketStream, trio.CancelScope]] = {}
        # Those whose child has not taken its first step.
        self._waiting: set[str] = set()

    async def wait_for_slot(self) -> None:
        """Wait until one more connection can be accepted, and take its slot."""
        if self._slots is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._slots.acquire()

    def free_slot(self) -> None:
        """Give a slot back."""
        if self._slots is not None:
            self._slots.release()

    def start(self, stream: trio.SocketStream) -> None:
        """Serve a connection that has its slot."""
        name = next(self._names)
        self._open[name] = stream, trio.CancelScope()
        self._waiting.add(name)
        token = _peer.set(_name_of_peer(stream))
        try:
            # The child finds the variable as it is now.
            self.pool.run(name, self._serve, name, grace=self._grace)
        finally:
            _peer.reset(token)

    async def _serve(self, name: str) -> None:
        supervisor.signal(Signal.HEALTHY)
        stream, scope = self._open[name]
        self._waiting.discard(name)
        try:
            with scope:
                await trio.lowlevel.checkpoint_if_cancelled()
                await self._handler(stream)
        finally:
            stream.socket.close()
            del self._open[name]
            self.free_slot()
        supervisor.signal(Signal.DONE)

    async def stop(self) -> None:
        """Ask all handlers to stop, and wait until they have ended."""
        async with trio.open_nursery() as nursery:
            for name in self._open:
                nursery.start_soon(self._stop, name)

    async def _stop(self, name: str) -> None:
        try:
            await self.pool.stop(name)
        except (UnknownNameError, RunError):  # it has ended by itself, or with its pool
            await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Cancel the handlers that are left, and close streams that no handler has got."""
        for name, (stream, scope) in self._open.items():
            scope.cancel(reason="the server of the connection has ended")
            if name in self._waiting:
                stream.socket.close()


def _name_of_peer(stream: trio.SocketStream) -> str:
    try:
        return address(stream.socket.getpeername())
    except OSError:  # it has gone already
        return "unknown"


_peer: ContextVar[str] = ContextVar("peer")


@functools.cache
def _label_records() -> None:
    """Make each record that is made for a connection carry its peer's address, from now on."""
    make = logging.Logger.makeRecord

    @functools.wraps(make)
    def make_labelled(
        self: logging.Logger,
        *args: Any,  # noqa: ANN401  they are passed on
        **kwargs: Any,  # noqa: ANN401  as above
    ) -> logging.LogRecord:
        record = make(self, *args, **kwargs)
        peer = _peer.get(None)
        if peer is not None:
            record.__dict__.setdefault("peer", peer)
        return record

    logging.Logger.makeRecord = make_labelled  # type: ignore[method-assign] # see above
