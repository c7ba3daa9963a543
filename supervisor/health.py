"""Probes: whether a service lives, has started and is ready, for what looks at it from outside.

A *probe* is a question that Kubernetes, a load balancer or a monitoring system asks every few
seconds. The three kinds have Kubernetes' names, and their answers Kubernetes' format:

- ``live``: the event loop answers. The death of a node is no reason to kill the process: the
  supervisor restarts that node, and only that.
- ``startup``: each subtree of the gate has been ready once, not necessarily all at the same time.
- ``ready``: all of the gate is ready now, and nothing stops. Each node that is not has a line.

The *gate* is what has to be ready: some subtrees, by default the whole tree. See
``docs/probes.md``. :func:`health_server` needs the extra ``[inspect]``, and ``[prometheus]`` for
metrics; :func:`check` needs nothing.

An answer does not walk through the tree: what is not ready is kept up to date by the tree's events
(S41). Metrics are another matter, with one line or several for each node. They are rendered in a
worker thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, final

import attrs
import trio

from ._calls._runnable import logger, signal
from ._calls._supervisor import Supervisor, gates_of, port_of
from ._core._arguments import check_dn, check_host, check_kind, check_port, plain, shown
from ._core._states import GroupState, Signal
from ._extras import needs
from ._http._messages import Response
from ._http._server import HttpServer, authority, open_port
from ._observing._logging import DN_LENGTH, log
from ._observing._ready import serves
from ._observing._reasons import unready_line
from ._text._printable import cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

    from ._core._tree import Node
    from ._http._messages import Request
    from ._observing._gates import Gate
    from ._tasks._port import Port

__all__ = ("Check", "check", "health_server")

LINES: Final = 100
"""An answer has at most so many lines."""

DNS: Final = 50
"""A gate has at most so many DNs."""

RENDER_TIME: Final = 10.0
"""Seconds within which the metrics have to be there: as long as Prometheus waits for them."""

SCRAPES: Final = 3
"""So many clients may wait for the metrics at a time, of all that are served."""

REQUEST_TIME: Final = 5.0
"""Seconds within which a request has to be there: who probes sends it at once."""

PAGES: Final = {"live": "livez", "ready": "readyz", "startup": "startupz"}
KINDS: Final = {f"/{page}": kind for kind, page in PAGES.items()}

_ENDED: Final = {GroupState.FAILED, GroupState.FINISHED, GroupState.STOPPED}

_logger: Final = logging.getLogger("supervisor")


@final
@attrs.frozen
class Check:
    """The answer to a probe."""

    ok: bool
    """Whether it is a good one."""
    text: str
    """Why, in at most 100 lines: what is well begins with ``[+]``, what is not with ``[-]``."""


def check(
    tree: Supervisor, kind: Literal["live", "ready", "startup"], *, gate: Iterable[str] = ()
) -> Check:
    """Answer a probe about a tree, for those who have a web server of their own (S41).

    The first question about a DN walks through its subtree. From then on the tree's events keep the
    answer up to date: so ``startup`` is well if the subtree was ready at any instant since. Of a
    tree, the last 100 DNs that were asked for are followed, besides those of its servers.

    Args:
        tree: The tree.
        kind: ``live``, ``ready`` or ``startup``.
        gate: The DNs of the subtrees that have to be ready, at most 50; by default the whole tree.
            One that the tree does not have is not ready, and is named.

    Returns:
        Whether all is well, and why.

    Raises:
        InvalidNameError: if no node can ever have one of the DNs.
        NotSupervisedError: if another thread calls, or another run of Trio.
        TypeError: if ``gate`` is no sequence, or ``tree`` no tree.
        ValueError: if there is no such kind, or the gate has too many DNs.

    Checkpoints:
        Never.

    Example::

        async def readyz(request: Request) -> PlainTextResponse:
            found = check(tree, "ready")
            return PlainTextResponse(found.text, 200 if found.ok else 503)
    """
    check_kind("tree", tree, Supervisor, "current_supervisor()", optional=False)
    if plain(kind) not in PAGES:
        msg = f"kind={shown(kind)} is no kind of probe: pass 'live', 'ready' or 'startup'"
        raise ValueError(msg)
    port = port_of(tree)
    dns = _check_gate(gate, port.group.members[0].name)
    return _answer(port, kind, map(gates_of(tree, "health.check").at, dns))


def health_server(
    tree: Supervisor,
    *,
    host: str = "127.0.0.1",
    port: int,
    gate: Iterable[str] = (),
    registry: CollectorRegistry | None = None,
) -> Callable[[], Awaitable[None]]:
    """Return a runnable that answers probes about a tree over HTTP (S41).

    It serves ``/livez``, ``/readyz`` and ``/startupz``, with status 200 or 503, ``/metrics`` if
    there is a registry, and nothing else. Run it as a sidecar of :func:`supervisor.main`, whose
    ``health=`` does just that: it answers until the process ends, also while the tree stops.

    Args:
        tree: What the probes ask about.
        host: Where to listen; Kubernetes asks the pod's address, so ``0.0.0.0`` or ``::`` there.
        port: Where to listen; with 0 on a free port, which is logged.
        gate: The DNs of the subtrees that have to be ready, at most 50; by default the whole tree.
            One that the tree does not have is not ready, and is named.
        registry: What ``/metrics`` shows.

    Returns:
        An async function without arguments. It dies of an :exc:`OSError` if it can't listen.

    Raises:
        ImportError: if h11 is not installed, or with a registry ``prometheus_client``.
        InvalidNameError: if no node can ever have one of the DNs.
        NotSupervisedError: if another thread calls, or another run of Trio.
        TypeError: if an argument is of a wrong kind.
        ValueError: if the host is empty, the port out of its range, or the gate has too many DNs.

    Checkpoints:
        Never; the runnable always.

    Example::

        supervisor.main(root, health=lambda tree: health_server(tree, port=8080, gate=["root.api"]))
    """
    return HealthServer(tree, host=host, port=port, gate=gate, registry=registry)


@final
class HealthServer:
    """Answers probes over HTTP."""

    def __init__(
        self,
        tree: Supervisor,
        *,
        host: str,
        port: int,
        gate: Iterable[str],
        registry: CollectorRegistry | None,
    ) -> None:
        """Listen on nothing yet, and follow the gate from now on."""
        check_kind("tree", tree, Supervisor, "current_supervisor()", optional=False)
        self._host: str = check_host("host", host)
        self._tcp_port: int = check_port("port", port)
        self._port = port_of(tree)
        dns = _check_gate(gate, self._port.group.members[0].name)
        self._render = None if registry is None else _Rendering(registry)
        self._server = HttpServer(
            self._handle,
            function="health_server",
            report=self._failed,
            request_time=REQUEST_TIME,
            makes_room=True,  # a probe that fails may cost the process its life
        )
        gates = gates_of(tree, "health.health_server")
        self._gates: tuple[Gate, ...] = tuple(map(gates.hold, dns))

    def __repr__(self) -> str:
        """Tell where it listens."""
        return f"<health server at {authority(self._host, self._tcp_port)}>"

    async def __call__(self) -> None:
        """Serve until this is cancelled."""
        with contextlib.ExitStack() as opened:
            listeners = await open_port(self._host, self._tcp_port)
            for each in listeners:
                opened.callback(each.socket.close)
            # They have the port, if that was 0.
            names = [each.socket.getsockname()[:2] for each in listeners]
            where = " and ".join(authority(*name) for name in names)
            logger().info("probes are answered at %s", where)
            signal(Signal.HEALTHY)
            await self._server.serve(listeners)

    async def _handle(self, request: Request) -> Response:
        """Answer a request, and have its connection closed.

        Otherwise clients that keep connections, and ask nothing, would take the places of probes.
        """
        await trio.lowlevel.checkpoint()
        kind = KINDS.get(request.path)
        render = self._render if request.path == "/metrics" else None
        if kind is None and render is None:
            answer = Response(404, b"there is no such page: see docs/probes.md\n")
        elif request.method not in {"GET", "HEAD"}:
            text = b"the method of this page is GET\n"
            answer = Response(405, text, headers=[("allow", "GET, HEAD")])
        elif kind is not None:
            found = _answer(self._port, kind, self._gates)
            text = b"ok" if found.ok and "verbose" not in request.query else found.text.encode()
            answer = Response(200 if found.ok else 503, text)
        else:
            assert render is not None
            answer = await render()
        return attrs.evolve(answer, headers=[*answer.headers, ("connection", "close")])

    def _failed(self, error: Exception) -> None:
        text = "a request to the health server failed"
        log(self._port.abort, _logger, logging.ERROR, text, exc_info=error)


@final
class _Rendering:
    """Renders metrics in a worker thread: one at a time, which may take long."""

    def __init__(self, registry: CollectorRegistry) -> None:
        with needs("health_server()", "prometheus_client", extra="prometheus"):
            import prometheus_client  # noqa: PLC0415  it is an extra
        if not callable(getattr(registry, "collect", None)):
            msg = f"registry={shown(registry)} is no registry: pass a CollectorRegistry, or None"
            raise TypeError(msg)
        self._registry = registry
        self._generate: Callable[[CollectorRegistry], bytes] = prometheus_client.generate_latest
        self._content_type: str = prometheus_client.CONTENT_TYPE_LATEST
        self._limiter = trio.CapacityLimiter(1)
        self._waiting = 0

    async def __call__(self) -> Response:
        if self._waiting == SCRAPES:
            # They would take the places of probes. The handler has been through a checkpoint.
            text = b"%d clients wait for the metrics already\n" % SCRAPES
            return Response(503, text)  # noqa: ASYNC910  as above
        self._waiting += 1
        try:
            return await self._render()
        finally:
            self._waiting -= 1

    async def _render(self) -> Response:
        with trio.move_on_after(RENDER_TIME):
            # A collector of the user's may wait for something. It is left alone then: the stop of
            # the process can't wait for it, and the limiter lets no second one begin meanwhile.
            data = await trio.to_thread.run_sync(
                self._generate, self._registry, limiter=self._limiter, abandon_on_cancel=True
            )
            return Response(200, data, content_type=self._content_type)
        return Response(503, b"the metrics were not there within %d s\n" % RENDER_TIME)


# Answers


def _check_gate(gate: object, root: str) -> tuple[str, ...]:
    """Return the DNs of a gate; without any, that of the root."""
    if isinstance(gate, str) or not isinstance(gate, Iterable):
        msg = f"gate={shown(gate)} is no sequence of DNs: pass one, such as ['root.api']"
        raise TypeError(msg)
    dns = tuple(dict.fromkeys(check_dn(dn, root) for dn in gate))
    if len(dns) > DNS:
        msg = f"gate= has {len(dns)} DNs, and may have {DNS}: pass those of nodes above them"
        raise ValueError(msg)
    return dns or (root,)


def _answer(port: Port, kind: str, gates: Iterable[Gate]) -> Check:
    """Answer a probe about the subtrees at these gates."""
    if kind == "live":
        return _verdict(kind, ["[+]loop ok"], ok=True)
    passed: list[str] = []
    failed: list[str] = []
    unready: dict[Node, None] = {}
    for gate in gates:
        dn = gate.dn
        shown_dn = cut(dn, DN_LENGTH)
        if gate.is_open() or (kind == "startup" and gate.has_opened):
            passed.append(f"[+]{shown_dn} ok")
        elif (end := _end_of_tree(port)) is not None:
            failed.append(f"[-]{shown_dn} {end}")
        elif (path := port.path(dn)) is None:
            failed.append(f"[-]{shown_dn} is not there: {port.nearest(dn)}")
        else:
            above = [node for node in path[:-1] if not serves((node,))]
            unready.update(dict.fromkeys(above[:1] or gate.unready or path[-1:]))
    many = len(failed) + len(unready)
    room = LINES - 1  # for all but the verdict
    more = [] if many <= room else [f"[-]and {many - room + 1} more nodes are not ready"]
    failed += [
        f"[-]{unready_line(node, port.time())}"
        for node in islice(unready, room - len(failed) - len(more))
    ]
    return _verdict(kind, [*failed, *more, *passed[: max(0, room - many)]], ok=not many)


def _verdict(kind: str, lines: list[str], *, ok: bool) -> Check:
    return Check(ok, "\n".join([*lines, f"{PAGES[kind]} check {'passed' if ok else 'failed'}\n"]))


def _end_of_tree(port: Port) -> str | None:
    """Return why nothing of a tree is ready, if it ends."""
    if port.is_ending:
        return "has ended" if port.state in _ENDED else "is being stopped"
    return "will be stopped" if port.is_draining else None
