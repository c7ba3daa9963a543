"""What is opened by an ``async with`` and closed when that is left.

It is no ``asynccontextmanager``, for the same reason as Trio's nurseries are none: a
``KeyboardInterrupt`` in the frames of :mod:`contextlib`, which are not protected, would leave the
generator where it is, with a lease or a watch in it.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NoReturn, TypeVar, final

from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    # Closes what was opened.
    Close = Callable[[], Awaitable[None]]

T = TypeVar("T")


@final
class Opening(AbstractAsyncContextManager[T]):
    """What opens something when it is entered, and closes it when it is left (E9)."""

    def __init__(self, call: str, open_: Callable[[], Awaitable[tuple[T, Close]]]) -> None:
        """Describe it.

        Args:
            call: How the user has made it, for messages.
            open_: Opens, and returns what was opened and what closes it. Nothing is left open by
                one that raises.
        """
        self._call = call
        self._open = open_
        self._is_entered = False
        self._close: Close | None = None

    def __repr__(self) -> str:
        """Show the call."""
        return f"<{self._call}, for an 'async with'>"

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is meant for that which is not open."""
        if name.startswith("_"):  # as copy and pickle ask for
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg, name=name, obj=self)
        msg = f"{self!r} has no {name!r}: write 'async with {self._call} as opened', and use that"
        raise AttributeError(msg, name=name, obj=self)

    def __await__(self) -> NoReturn:
        """Refuse an ``await`` in place of an ``async with``."""
        msg = f"{self!r} can't be awaited: write 'async with {self._call} as opened'"
        raise TypeError(msg)

    @enable_ki_protection
    async def __aenter__(self) -> T:
        """Open."""
        if self._is_entered:
            msg = f"{self!r} was entered before: make the call for each 'async with'"
            raise RuntimeError(msg)
        self._is_entered = True
        opened, self._close = await self._open()
        return opened

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        assert self._close is not None
        await self._close()  # noqa: ASYNC102  it shields, or does not wait
