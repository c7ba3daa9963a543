"""Web applications, served by Hypercorn, as runnables (S24).

Hypercorn is run by its public ``hypercorn.trio.serve``. What it lacks is around it:

- *Listeners.* They are bound here, so that a port in use is named in the error, and Hypercorn gets
  them when it asks its configuration for sockets. ``fd://N`` was rejected: nobody would own the
  number if ``serve()`` is cancelled before, and Hypercorn lets child processes inherit such a
  socket.
- *Clients that do not read.* Hypercorn sends in a shield without a limit, so one such client would
  hold up the stop for ever. The listener has ``TCP_USER_TIMEOUT``, which connections inherit: after
  10 s in which the peer takes nothing, the kernel ends the connection. A Unix socket has no such
  limit, and nor has a system without this option.
- *The lifespan.* An exception of the app's own would be logged and forgotten, or be text in another
  one. So the app's side of the conversation goes through here. An app that raises before it has
  received an event takes no lifespan events, as the ASGI specification has it; it is served
  without. Everything else that the lifespan raises is what the node dies of.
- *Grace.* The requests in flight have ``grace`` seconds, and the lifespan 5 more to shut down. So
  the runnable's own grace is the sum: if it were cancelled after ``grace``, the app would
  never shut down.
"""

from __future__ import annotations

import contextlib
import copy
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import trio

import supervisor
from supervisor import RestartRequested, Signal
from supervisor._extras import needs

from ._arguments import check_callable, check_grace, shown
from ._listeners import BACKLOG, Listening, check_listening
from ._own_grace import GRACE
from ._ungrouped import ungrouped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    import hypercorn

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

SHUTDOWN_TIMEOUT: Final = 5.0
"""How many seconds the lifespan gets to shut down."""

UNREAD_TIMEOUT: Final = 9.5
"""After about 10 seconds in which a peer takes nothing its connection is ended.

The kernel counts from its first probe, and looks when it probes: it was up to 0.7 seconds late.
"""


def asgi(
    app: Callable[..., Awaitable[object]],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    sockets: Iterable[socket.socket] | None = None,
    config: hypercorn.Config | None = None,
    grace: float = GRACE,
) -> AsgiServer:
    """Make a runnable that serves an ASGI app, by Hypercorn (S24).

    It is ``HEALTHY`` when the app's lifespan has started up and it listens. At the stop request it
    stops listening at once, and finishes the requests in flight within ``grace``: idle connections
    are closed, open streams last until the grace is over. Then the lifespan shuts down, within 5
    seconds. When the node has ended, the port is free. If the lifespan raises, the node dies of
    that.

    It needs Hypercorn, the extra ``[asgi]``.

    Args:
        app: The app, as of Starlette, FastAPI, Quart or Litestar.
        host: Where to listen.
        port: Where to listen; 0 is any that is free.
        sockets: Listen on these instead. They are listening already, and are never closed:
            connections that come during a restart wait. Each incarnation uses duplicates, which
            makes them non-blocking.
        config: TLS, limits and all else that Hypercorn can be told. It is copied. Where to listen
            and how long to wait at the stop are not taken from it. If it has ``max_requests``, the
            group restarts after that many, without backoff.
        grace: How many seconds the requests in flight get when it is stopped.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`. It brings its own
        grace, which is 5 seconds longer. A client that takes nothing may hold the stop up until
        10 seconds after it stopped to.

    Raises:
        ImportError: if Hypercorn is not installed.
        TypeError: if ``app`` is not callable, or an argument is of a wrong kind.
        ValueError: if a number is out of its range, a socket does not listen, or ``config`` says
            where to listen, or asks for several processes.

    Checkpoints:
        Never.

    Example::

        web = asgi(Starlette(routes=routes), port=8080)
        supervisor.run_group({"database": database, "web": web}, ordered=True)
    """
    with needs("asgi()", "Hypercorn", extra="asgi"):
        import hypercorn  # noqa: PLC0415  it is an extra
    check_callable("asgi", app, "an ASGI app")
    listening = check_listening("asgi", host, port, sockets)
    grace = check_grace("asgi", grace)
    return AsgiServer(app, listening, _copy(config, hypercorn.Config()), grace)


@final
class AsgiServer:
    """A runnable that serves an ASGI app, as :func:`asgi` returns it (S24).

    It is for one place in a tree.

    Attributes:
        grace: What :func:`supervisor.run` takes for it if it is told nothing else.
        addresses: The URLs at which it listens now, from ``HEALTHY`` on: one for each socket.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[object]],
        listening: Listening,
        config: hypercorn.Config,
        grace: float,
    ) -> None:
        """Make one; users get theirs from :func:`asgi`."""
        self.grace: float = grace + SHUTDOWN_TIMEOUT
        self.addresses: tuple[str, ...] = ()
        self._app = app
        self._listening = listening
        self._config = config
        config.graceful_timeout = grace
        config.shutdown_timeout = SHUTDOWN_TIMEOUT

    def __repr__(self) -> str:
        """Tell where it listens."""
        where = ", ".join(self.addresses) or "not listening"
        return f"<AsgiServer of {shown(self._app)}, {where}>"

    async def __call__(self) -> None:
        """Run: this is the runnable.

        Checkpoints:
            Always.

        Cancellation:
            Ends all connections, and shuts the lifespan down by a cancellation.
        """
        try:
            await ungrouped(self._run)
        finally:
            self.addresses = ()
        if self._config.max_requests is not None:
            msg = f"it has served its max_requests, about {self._config.max_requests}"
            raise RestartRequested(msg)

    async def _run(self) -> None:
        import hypercorn.trio  # noqa: PLC0415  it is an extra

        with contextlib.ExitStack() as opened, trio.CancelScope() as scope:
            listeners = [opened.enter_context(each) for each in await self._listening.open()]
            app = _App(self._app, scope)
            serve = partial(
                hypercorn.trio.serve,
                app,  # type: ignore[arg-type]  # frameworks and Hypercorn type messages differently
                self._configure(listeners),
                shutdown_trigger=supervisor.wait_stop_requested,
                mode="asgi",
            )
            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as starting:
                    # It serves nobody yet, so there is nothing to wait for.
                    starting.start_soon(_cancel_at_stop, scope)
                    self.addresses = tuple(await nursery.start(serve))
                    starting.cancel_scope.cancel(reason="it has started")
                supervisor.logger().info("serves at %s", ", ".join(self.addresses))
                supervisor.signal(Signal.HEALTHY)
        if app.failure is not None:
            raise app.failure

    def _configure(self, listeners: list[socket.socket]) -> hypercorn.Config:
        """Make the configuration of one incarnation, with its sockets and its log."""
        from hypercorn.config import Sockets  # noqa: PLC0415  it is an extra
        from hypercorn.logging import Logger  # noqa: PLC0415  it is an extra

        class Log(Logger):
            """Hypercorn's log: at INFO it says only where it listens, which the node says."""

            async def info(self, message: str, *args: object, **kwargs: object) -> None:
                await self.debug(message, *args, **kwargs)

        for each in listeners:
            _limit_unread(each)
        config = copy.copy(self._config)
        secure, insecure = (listeners, []) if config.ssl_enabled else ([], listeners)
        sockets = Sockets(secure, insecure, quic_sockets=[])
        config.create_sockets = lambda: sockets  # type: ignore[method-assign]  # of this copy only
        if config.logger_class is Logger and config.statsd_host is None:
            config.logger_class = Log
        if config.errorlog == "-":
            config.errorlog = supervisor.logger()
        if config.accesslog == "-":
            config.accesslog = supervisor.logger()
        return config


async def _cancel_at_stop(scope: trio.CancelScope) -> None:
    await supervisor.wait_stop_requested()
    scope.cancel(reason="a stop was requested before the lifespan had started up")


def _copy(config: object, default: hypercorn.Config) -> hypercorn.Config:
    """Check a configuration, and return a copy of it; ``None`` is the default one."""
    if config is None:
        default.backlog = BACKLOG
        return default
    if not isinstance(config, type(default)):
        msg = f"asgi(): config={shown(config)} is not a hypercorn.Config: pass one, or none"
        raise TypeError(msg)
    for name, remedy in _NOT_IN_CONFIG.items():
        if getattr(config, name) != getattr(default, name):
            value = shown(getattr(config, name))
            msg = f"asgi(): config.{name}={value} can't be used: {remedy}"
            raise ValueError(msg)
    copied = copy.copy(config)
    if copied.backlog == default.backlog:
        copied.backlog = BACKLOG
    return copied


_NOT_IN_CONFIG: Final = {
    "bind": "pass host= and port=, or sockets=",
    "insecure_bind": "start another asgi() for it",
    "quic_bind": "only TCP and Unix sockets are served",
    "workers": "start processes by command()",
    "use_reloader": "use restart_on_change()",
}


def _limit_unread(listener: socket.socket) -> None:
    """Let the kernel end connections whose peers take nothing, unless the caller says when."""
    if listener.family == socket.AF_UNIX or not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    if not listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT):
        milliseconds = round(1000 * UNREAD_TIMEOUT)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


@final
class _App:
    """The app as Hypercorn sees it: its lifespan fails by its own exception."""

    def __init__(self, app: Callable[..., Awaitable[object]], scope: trio.CancelScope) -> None:
        self.failure: Exception | None = None
        self._app = app
        self._scope = scope

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        events = _LifespanEvents(receive, send)
        try:
            await ungrouped(self._app, scope, events.receive, events.send)
        except Exception as error:  # noqa: BLE001  the node dies of it, or it is logged
            if events.received:
                self.failure = error
                # Hypercorn would log it, and go on. So it is ended, with all that it does.
                self._scope.cancel(reason=f"the app's lifespan died of {type(error).__name__}")
                await trio.sleep_forever()
            supervisor.logger().warning("the app takes no lifespan events: %r", error)
        await events.answer_the_rest()


@final
class _LifespanEvents:
    """The app's side of the conversation about its lifespan."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.received = ""
        """The type of the last event that the app has received."""
        self._answered = ""
        self._failed: Message | None = None
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        self.received = message["type"]
        return message

    async def send(self, message: Message) -> None:
        if message["type"].endswith(".failed"):
            # What the app raises next says more. If it raises nothing, this has to do.
            self._failed = message
            await trio.lowlevel.checkpoint()
            return
        self._answered = self.received
        await self._send(message)

    async def answer_the_rest(self) -> None:
        """Go on for an app that has returned, or that takes no events."""
        await trio.lowlevel.checkpoint()
        if self._failed is not None:
            await self._send(self._failed)
        while self._answered != "lifespan.shutdown":
            if self._answered == self.received:
                await self.receive()
            await self.send({"type": f"{self.received}.complete"})
