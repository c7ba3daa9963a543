"""The routes of an inspector: which request gets what (S37).

Nothing here takes a snapshot of the tree: at ten thousand nodes that would hold up the loop. What
has one row for each node is walked through in slices, and sent slice by slice.
"""

from __future__ import annotations

import logging
import secrets
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from supervisor._core._arguments import check_dn
from supervisor._core._errors import InvalidNameError
from supervisor._core._states import RUNS
from supervisor._core._tree import subtree
from supervisor._http._messages import Response, StreamedResponse
from supervisor._observing._logging import log
from supervisor._observing._ready import serves
from supervisor._text._printable import single_line

from ._changes import slices
from ._page import FILES, read_file
from ._rows import crash_of, encode, entry_of, fields_of, group_of, joined, sse
from ._values import describe_value
from ._why import why

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervisor._core._tree import Node
    from supervisor._http._messages import Request, Send
    from supervisor._tasks._port import Port
    from supervisor._tasks._tree import Node as TasksNode
    from supervisor.logs import LogBuffer, LogEntry

    from ._access import Access
    from ._changes import Changes
    from ._values import Inspectable

VERSION: Final = 1
"""The number in the paths."""

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

PING: Final = 15.0
"""A stream that has nothing to tell sends a comment every so many seconds."""

WALKED: Final = 1000
"""So many nodes are asked for their readiness between two checkpoints."""

DIGITS: Final = 9
"""A number in a query has at most so many digits."""

ENTRIES: Final = 100
"""So many log entries are returned if the request has no other number."""

_logger = logging.getLogger("supervisor")


@final
@attrs.frozen
class RefusalError(Exception):
    """An answer that is an error, in words."""

    status: int
    why: str

    def answer(self) -> Response:
        return _json({"error": self.why}, self.status)


@final
class Api:
    """Answers requests about one tree."""

    def __init__(
        self,
        port: Port,
        access: Access,
        changes: Changes,
        *,
        name: str,
        buffer: Callable[[], LogBuffer | None],
        values: Mapping[str, Inspectable],
    ) -> None:
        self._port = port
        self._access = access
        self._changes = changes
        self._name = name
        self._buffer = buffer
        self._values = values
        # In the numbers of log events, so that one of another process is told apart.
        self._run = secrets.token_hex(4)

    async def handle(self, request: Request) -> Response | StreamedResponse:
        """Answer a request."""
        await trio.lowlevel.checkpoint()
        refusal = self._access.refusal_of(request)
        if refusal is None and request.path in FILES and request.method in {"GET", "HEAD"}:
            return read_file(request.path)
        if refusal is None and not self._access.has_token(request):
            refusal = "the header Authorization does not have this run's token"
        if refusal is not None:
            return RefusalError(403, refusal).answer()
        try:
            return self._answer(request)
        except RefusalError as error:
            return error.answer()

    def _answer(  # noqa: PLR0911  one for each page
        self, request: Request
    ) -> Response | StreamedResponse:
        match request.path.split("/")[1:]:
            case ["v1", "tree"]:
                _check_method(request, "GET")
                node = self._node(request.query.get("dn", self._root))
                return StreamedResponse(partial(self._send_tree, node), content_type=JSON)
            case ["v1", "stream"]:
                _check_method(request, "GET")
                control = self._access.may_control(request)
                follow = partial(self._send_changes, control=control)
                return StreamedResponse(follow, content_type=EVENTS)
            case ["v1", "values"]:
                _check_method(request, "GET")
                values = [describe_value(name, value) for name, value in self._values.items()]
                return _json({"values": values})
            case ["v1", "nodes", dn]:
                _check_method(request, "GET")
                return StreamedResponse(partial(self._send_node, self._node(dn)), content_type=JSON)
            case ["v1", "nodes", dn, "stack"]:
                _check_method(request, "GET")
                return _json({"dn": dn, "stack": self._stack(self._node(dn))})
            case ["v1", "nodes", dn, "logs"]:
                _check_method(request, "GET")
                return self._logs(request, dn)
            case ["v1", "nodes", dn, ("restart" | "stop") as action]:
                _check_method(request, "POST")
                return self._act(request, dn, action)
            case _:
                raise RefusalError(404, "there is no such page: see docs/inspector.md")

    # The tree

    @property
    def _root(self) -> str:
        return self._port.group.members[0].name

    def _node(self, dn: str) -> TasksNode:
        """Return the node of a DN, or refuse."""
        try:
            path = self._port.path(check_dn(dn, self._root))
        except InvalidNameError as error:
            raise RefusalError(400, str(error)) from None
        if path is None:
            msg = f"the tree has no node {dn}; {self._port.nearest(dn)}"
            raise RefusalError(404, msg)
        return path[-1]  # type: ignore[return-value]  # all nodes are of that class

    def _serves(self, node: Node) -> bool:
        """Return whether a node is there and nothing from the root to it is being stopped."""
        path = self._port.path(node.dn)
        return path is not None and path[-1] is node and serves(path)

    async def _send_tree(self, top: Node, send: Send) -> None:
        """Send the rows of a subtree, and whether all of it is ready."""
        head = {"version": VERSION, "name": self._name, "time": self._port.time()}
        await send(encode(head)[:-1] + b',"nodes":[')
        is_first, are_ready = True, True
        for rows, are_ready in slices(top):  # noqa: B007  the last one counts
            await send((b"" if is_first else b",") + b",".join(rows))
            is_first = False
        end = {"ready": are_ready and self._serves(top)}
        await send(b"]," + encode(end)[1:])

    async def _send_changes(self, send: Send, *, control: bool) -> None:
        """Send the whole tree, and then what changes, to one viewer."""
        viewer = self._changes.join()
        try:
            (root,) = self._port.group.members
            for rows, _ in slices(root):
                await send(self._nodes(joined(rows)))
            await send(self._synced(control=control))
            while True:
                with trio.move_on_after(PING):
                    await viewer.changed.wait()
                if not viewer.changed.is_set():
                    await send(b": nothing new\n\n")
                    continue
                changed = viewer.take()
                rows = [row for row in changed.values() if row is not None]
                gone = [dn for dn, row in changed.items() if row is None]
                data = self._nodes(joined(rows)) if rows else b""
                if gone:
                    told = {"time": self._port.time(), "dns": gone}
                    data += sse("gone", encode(told))
                if viewer.has_drained:
                    viewer.has_drained = False
                    data += self._synced(control=control)
                if data:
                    await send(data)
        finally:
            self._changes.leave(viewer)

    def _nodes(self, rows: bytes) -> bytes:
        return sse("nodes", b'{"time":%b,"nodes":%b}' % (encode(self._port.time()), rows))

    def _synced(self, *, control: bool) -> bytes:
        told = {
            "version": VERSION,
            "name": self._name,
            "time": self._port.time(),
            "draining": self._port.is_draining,
            "control": control,
        }
        return sse("synced", encode(told))

    async def _send_node(self, node: TasksNode, send: Send) -> None:
        """Send all that is known of a node."""
        unready = await _find_unready(node)
        known = {
            "time": self._port.time(),
            "dn": node.dn,
            "why": why(self._port, node, unready),
            "ready": unready is None and self._serves(node),
            "node": None if node.incarnation is None else fields_of(node, node.dn),
            "group": group_of(node.group),
            "crashes": [crash_of(crash) for crash in node.crashes],
            "stop_error": None if node.stop_error is None else crash_of(node.stop_error),
        }
        await send(encode(known))

    def _stack(self, top: TasksNode) -> str:
        """Show where the tasks of a subtree wait; equal stacks are shown once."""
        running = [
            node.incarnation
            for node in subtree(top)
            if node.incarnation is not None and node.incarnation.phase in RUNS
        ]
        return self._port.stacks(running)

    # Logs

    def _logs(self, request: Request, dn: str) -> Response | StreamedResponse:
        buffer = self._buffer()
        if buffer is None:
            raise RefusalError(404, "there is no buffer of log records: pass logs=LogBuffer()")
        n = _number(request, "n", ENTRIES)
        level = _level(request)
        try:
            entries = buffer.read(dn, n=n, level=level)
        except InvalidNameError as error:
            raise RefusalError(400, str(error)) from None
        if not entries and dn.partition(".")[0] == self._root:
            self._node(dn)  # refuses it if there is no such node
        if "follow" not in request.query:
            return StreamedResponse(partial(_send_entries, entries, dn), content_type=JSON)
        after, is_foreign = self._resumed(request)
        follow = partial(
            self._follow, buffer, dn, n=n, level=level, after=after, is_foreign=is_foreign
        )
        return StreamedResponse(follow, content_type=EVENTS)

    def _resumed(self, request: Request) -> tuple[int | None, bool]:
        """Return after which entry to go on, and whether the client has seen another process."""
        last = request.headers.get("last-event-id")
        if last is None:
            return None, False
        run, _, digits = last.rpartition("-")
        if run == self._run and digits.isascii() and digits.isdigit():
            return int(digits), False
        return None, True

    async def _follow(
        self,
        buffer: LogBuffer,
        dn: str,
        send: Send,
        *,
        n: int,
        level: int,
        after: int | None,
        is_foreign: bool,
    ) -> None:
        if is_foreign:
            await send(sse("missed", b'{"missed":null}'))  # it was another process
        missed = 0
        with buffer.follow(dn, n=n, level=level, after=after) as entries:
            await send(b": follows\n\n")
            while True:
                entry = None
                with trio.move_on_after(PING):
                    entry = await entries.receive()
                if entry is None:
                    await send(b": nothing new\n\n")
                    continue
                data = b""
                if entries.missed > missed:
                    told = {"missed": entries.missed - missed}
                    missed = entries.missed
                    data = sse("missed", encode(told))
                number = f"{self._run}-{entry.seq}"
                await send(data + sse("log", encode(entry_of(entry)), number))

    # Acting

    def _act(self, request: Request, dn: str, action: str) -> Response:
        if not self._access.may_control(request):
            raise RefusalError(403, "this inspector only shows: see control=")
        node = self._node(dn)
        group = self._port.group_of(node)
        if group.parent is None:
            msg = f"{dn} ends with the process: send that SIGTERM"
            raise RefusalError(409, msg)
        if group.is_final:
            raise RefusalError(409, f"{dn} is stopped for good, or ends with its parent")
        text = "the inspector was asked to %s %s"
        log(self._port.abort, _logger, logging.INFO, text, action, group.dn)
        if action == "restart":
            self._port.restart_node(node, f"{group.dn} is restarted by the inspector")
        else:
            self._port.stop_node(node, f"{group.dn} is stopped by the inspector")
        return _json({"dns": [member.dn for member in group.members]}, HTTPStatus.ACCEPTED)


async def _find_unready(top: Node) -> Node | None:
    """Return the first node of a subtree that is not ready, a few nodes at a time."""
    found = None
    for count, node in enumerate(subtree(top)):
        if not node.is_ready:
            found = node
            break
        if count % WALKED == WALKED - 1:
            await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    return found


async def _send_entries(entries: list[LogEntry], dn: str, send: Send) -> None:
    await send(encode({"dn": dn})[:-1] + b',"entries":[')
    for start in range(0, len(entries), ENTRIES):
        some = b",".join(encode(entry_of(each)) for each in entries[start : start + ENTRIES])
        await send((b"," if start else b"") + some)
    await send(b"]}")


def _json(what: object, status: int = 200) -> Response:
    return Response(status, encode(what), content_type=JSON)


def _check_method(request: Request, method: str) -> None:
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise RefusalError(405, f"the method of this page is {method}")


def _number(request: Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= DIGITS:
        return int(text)
    raise RefusalError(400, f"{name}={single_line(text)} is not a whole number")


def _level(request: Request) -> int:
    text = request.query.get("level", "0")
    named = logging.getLevelNamesMapping().get(text.upper())
    return _number(request, "level", 0) if named is None else named
