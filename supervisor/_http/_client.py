"""One client of a server: its requests, one after the other, in one task."""

from __future__ import annotations

import contextlib
import enum
import socket
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NoReturn, final
from urllib.parse import parse_qsl, unquote

import attrs
import h11
import trio

from ._limits import PIECE, REQUEST_SIZE, SEND_TIME
from ._messages import Request, Response, StreamedResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._messages import Handler

PARAMETERS: Final = 20
"""A query has at most so many parameters."""

RECEIVED: Final = 8 * 1024
"""So many bytes are read at once."""


@final
class Stage(enum.IntEnum):
    """What a client is doing. The lower, the less is lost if it is dropped."""

    RECEIVING = 0
    """It has sent no request, or a part of one, or what is none."""
    SENDING = 1
    """It has to take the answer."""
    HANDLED = 2
    """Its request is there, and has no answer yet."""


@final
class BadRequestError(Exception):
    """A request that can't be served."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status: int = status


@final
class Client:
    """Serves one client.

    No error of its connection is handled where this waits: a stop of the server that comes there
    would look like one that has interrupted the error.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        handle: Handler,
        failed: Callable[[Exception], object],
        request_time: float,
    ) -> None:
        self.stage: Stage = Stage.RECEIVING
        self._stream = stream
        self._handle = handle
        self._failed = failed
        self._request_time = request_time
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_SIZE)
        self._scope = trio.CancelScope()

    @property
    def is_handled(self) -> bool:
        """Its request is there, and has no answer yet."""
        return self.stage is Stage.HANDLED

    async def serve(self) -> None:  # noqa: ASYNC910  the first read is a checkpoint
        """Answer the client's requests until it hangs up, is dropped, or asks for the close."""
        refusal: Response | None = None
        with self._scope:
            try:
                while await self._serve_one():
                    pass
            except BadRequestError as error:
                refusal = Response(error.status, f"{error}\n".encode())
            if refusal is not None:
                await self._refuse_rest(refusal)

    async def refuse(self, response: Response, *, lingers: bool) -> None:
        """Send this answer without a request; with ``lingers``, discard the request then."""
        with self._scope:
            if lingers:
                await self._refuse_rest(response)
            else:
                await self._respond(response)

    def drop(self) -> None:
        """End this client, in whatever stage it is."""
        self._scope.cancel("the client is gone, or too slow, or has to make room")

    async def _serve_one(self) -> bool:
        """Answer one request; return whether there may be another one."""
        self.stage = Stage.RECEIVING
        with trio.move_on_after(self._request_time) as patience:
            request = await self._receive()
        if patience.cancelled_caught:
            await self._drop()
        if request is None:
            return False
        self.stage = Stage.HANDLED
        try:
            answer = await self._handle(request)
        except Exception as error:  # noqa: BLE001  it is reported
            self._failed(error)
            answer = Response(500, b"a fault in the server, which has reported it\n")
        self.stage = Stage.SENDING
        if isinstance(answer, Response):
            await self._respond(answer, with_body=request.method != "HEAD")
        else:
            await self._stream_out(answer, with_body=request.method != "HEAD")
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    # Receiving

    async def _receive(self) -> Request | None:
        """Read a request; return None if the client hangs up before one."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise BadRequestError(error.error_status_hint, str(error)) from None
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._receive_some())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > REQUEST_SIZE:
                    msg = f"the body has more than {REQUEST_SIZE} bytes"
                    raise BadRequestError(413, msg)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._request(head, bytes(body))  # noqa: ASYNC910  its answer is one
            else:
                return None  # noqa: ASYNC910  the end was read

    async def _receive_some(self) -> bytes:
        data: bytes | None = None
        with contextlib.suppress(trio.BrokenResourceError):
            data = bytes(await self._stream.receive_some(RECEIVED))
        return await self._drop() if data is None else data  # noqa: ASYNC910  it was received

    def _request(self, head: h11.Request, body: bytes) -> Request:
        target = head.target.decode("ascii")
        scheme, separator, rest = target.partition("://")
        if separator and scheme.lower() == "http":  # as proxies write it
            target = "/" + rest.partition("/")[2]
        if not target.startswith("/"):
            msg = "the target of the request is no path"
            raise BadRequestError(400, msg)
        path, _, query = target.partition("?")
        try:
            parameters = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMETERS))
        except ValueError:
            msg = f"the query has more than {PARAMETERS} parameters"
            raise BadRequestError(400, msg) from None
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Request(
            method=head.method.decode("ascii"),
            path=unquote(path),
            query=parameters,
            headers=headers,
            body=body,
            is_local=self._stream.socket.family == socket.AF_UNIX,
        )

    # Sending

    async def _respond(self, response: Response, *, with_body: bool = True) -> None:
        data = self._head(response, ("content-length", str(len(response.body))))
        if with_body and response.body:
            data += self._part(response.body)
        await self._send(data + self._end())

    async def _stream_out(self, answer: StreamedResponse, *, with_body: bool) -> None:
        await self._send(self._head(answer, ("connection", "close")))
        if with_body:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_hang_up)
                is_complete = False
                try:
                    await answer.send_body(self._send_part)
                    is_complete = True
                except Exception as error:  # noqa: BLE001  it is reported
                    self._failed(error)
                if not is_complete:
                    await self._drop()  # the client sees that
                nursery.cancel_scope.cancel()
        await self._send(self._end())

    async def _watch_hang_up(self) -> None:
        while await self._receive_some():
            pass
        await self._drop()

    async def _send_part(self, data: bytes) -> None:
        await self._send(self._part(data))

    async def _send(self, data: bytes) -> None:  # noqa: ASYNC910  there is always data
        """Send, or drop a client that is gone or takes nothing."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            is_sent = False
            with trio.move_on_after(SEND_TIME), contextlib.suppress(trio.BrokenResourceError):
                await self._stream.send_all(view[start : start + PIECE])
                is_sent = True
            if not is_sent:
                await self._drop()

    async def _refuse_rest(self, response: Response) -> None:
        """Answer a request that can't be served, and discard what the client still sends of it.

        A connection that is closed with data in it is reset, and the client, which is still
        sending, would not see the answer.
        """
        await self._respond(attrs.evolve(response, headers=[("connection", "close")]))
        with trio.move_on_after(SEND_TIME):
            await self._send_eof()
            while await self._receive_some():
                pass

    async def _send_eof(self) -> None:  # noqa: ASYNC910  send_eof() is one
        """Say that nothing more comes, or drop a client that is gone: it has met the answer."""
        is_sent = False
        with contextlib.suppress(trio.BrokenResourceError):
            await self._stream.send_eof()
            is_sent = True
        if not is_sent:
            await self._drop()

    async def _drop(self) -> NoReturn:
        """End this client, wherever its tasks are."""
        self.drop()
        await trio.sleep_forever()
        raise AssertionError("unreachable: its scope is cancelled")

    def _head(self, answer: Response | StreamedResponse, header: tuple[str, str]) -> bytes:
        head = h11.Response(
            status_code=answer.status,
            reason=HTTPStatus(answer.status).phrase.encode(),
            headers=[
                ("date", formatdate(usegmt=True)),
                ("content-type", answer.content_type),
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
                *answer.headers,
                header,
            ],
        )
        return self._bytes(head)

    def _part(self, data: bytes) -> bytes:
        return self._bytes(h11.Data(data=data))

    def _end(self) -> bytes:
        return self._bytes(h11.EndOfMessage())

    def _bytes(self, event: h11.Event) -> bytes:
        data = self._http.send(event)
        assert data is not None  # only the event of a closed connection has none
        return data
