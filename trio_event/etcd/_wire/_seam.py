"""The seam between the package and a transport: a unary call, and a stream, of bytes.

All that the package needs of gRPC is here. One implementation is grpcio's (``_grpc``); the tests
have another one, scripted, for what servers do rarely.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable

# The names and values of what goes before a request.
Metadata = tuple[tuple[str, str], ...]


class Code(enum.IntEnum):
    """Why a call has failed, as gRPC numbers it."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@final
class CallError(Exception):
    """A call has ended without an answer, or a stream before it was closed."""

    def __init__(self, code: Code, details: str, *, was_sent: bool = True) -> None:
        """Make one; ``was_sent`` is False only if it is certain that no byte of it has left."""
        super().__init__(code, details)
        self.code = code
        self.details = details
        self.was_sent = was_sent

    def __str__(self) -> str:
        """Return the reason, as etcd or gRPC says it."""
        return f"{self.code.name}: {self.details}"


class Stream(ABC):
    """A stream in both directions. Its messages are handed to the sink that it was opened with."""

    @abstractmethod
    def send(self, request: bytes) -> None:
        """Send a message, some time soon and in order. It never blocks."""

    @abstractmethod
    async def wait_ended(self) -> None:
        """Wait until no more messages come; return if the server has ended the stream.

        Raises:
            CallError: if the stream has failed.
            BaseException: whatever the sink has raised.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End the stream, here and on the server. When it returns, nothing of it is left."""


class Connection(ABC):
    """A connection to one member. It is made at the first call, and again after it was lost."""

    @abstractmethod
    async def unary(
        self, path: str, request: bytes, *, seconds: float, metadata: Metadata = ()
    ) -> bytes:
        """Make a call that has one answer.

        Raises:
            CallError: if it has failed, or has taken longer than that, or the
                connection was closed meanwhile.
        """

    @abstractmethod
    def open_stream(
        self, path: str, sink: Callable[[bytes], object], *, metadata: Metadata = ()
    ) -> Stream:
        """Open a stream. The sink is called for each message, in order, in Trio's thread."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; calls under way fail."""
