"""Makes crash records, and splits exceptions."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, cast

import trio

from supervisor._core._records import Crash

from ._exceptions import (
    context_of,
    format_error,
    is_group,
    members_of,
    one_line,
    traceback_of,
    unwrap,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_crash(
    error: BaseException, dn: str, incarnation: int, started: float | None = None
) -> Crash:
    """Make the record of a death, or of a stop error, that has happened just now (S14).

    Args:
        error: What the node died of.
        dn: The DN of the node, or of the group whose function has failed.
        incarnation: The number of the run.
        started: When that run began, in seconds on Trio's clock; ``None`` if it did not begin.
    """
    now = trio.current_time()
    return Crash(
        dn=dn,
        time=now,
        uptime=0.0 if started is None else now - started,
        incarnation=incarnation,
        error=one_line(error),
        traceback=format_error(error),
    )


def split_fatal(error: BaseException) -> tuple[BaseException | None, Exception | None]:
    """Split what a runnable raised (S11).

    Returns:
        What must leave the tree (``KeyboardInterrupt``, ``SystemExit`` and
        every other exception that is no ``Exception``), and what the node dies
        of. ``Cancelled`` is neither: it is dropped. If only one exception must
        leave, it leaves without the groups that nurseries wrapped around it:
        ``except KeyboardInterrupt`` has to catch it, and the process has to exit
        with the status of ``SystemExit``.
    """
    kind = type(error)  # an error's own __class__ may be a property
    if issubclass(kind, Exception):
        return None, cast("Exception", error)
    if issubclass(kind, trio.Cancelled):
        return None, None
    if not issubclass(kind, BaseExceptionGroup):
        return error, None
    group = cast("BaseExceptionGroup[BaseException]", error)
    try:
        _, rest = group.split(trio.Cancelled)
        ordinary, fatal = (None, None) if rest is None else rest.split(Exception)
    except BaseException:  # noqa: BLE001  too deep, or a foreign derive(): it can't be split
        return error, None
    return None if fatal is None else unwrapped(fatal), ordinary


def add_note(error: BaseException, note: str) -> None:
    """Add a note, unless ``error`` takes none, because it is frozen for instance."""
    with contextlib.suppress(BaseException):  # its own add_note may raise anything
        error.add_note(note)


def unwrapped(error: BaseException) -> BaseException:
    """Return the one exception that is in ``error``, if it is a group of one.

    Several ``KeyboardInterrupt``s count as one exception.
    """
    *_, last = unwrap(error)
    rest, first = [last], None
    for _ in range(HANDLED_SEARCHED):
        if not rest:
            return first or last
        part = rest.pop()
        if is_group(part):
            rest.extend(members_of(part))
        elif issubclass(type(part), KeyboardInterrupt):
            first = part
        else:
            break
    return last


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Walk through the exceptions in ``error`` that are no groups, or through ``error`` alone.

    If there are too many, ``error`` itself is the last: not all of it has been looked at.
    """
    rest = [error]
    for _ in range(HANDLED_SEARCHED):
        if not rest:
            return
        part = rest.pop()
        if is_group(part):
            rest.extend(members_of(part))
        else:
            yield part
    if rest:
        yield error


def is_any_of(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Return whether ``error``, or an exception in it, would be caught by ``except kinds``."""
    return _has_kind(error, kinds) or any(_has_kind(leaf, kinds) for leaf in leaves(error))


def consists_of(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether ``error``, or each exception in it, would be caught by ``except kind``."""
    return all(_has_kind(leaf, (kind,)) for leaf in leaves(error))


def _has_kind(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    # As `except` does: a class's own __subclasscheck__ is not asked.
    return any(kind in type(error).__mro__ for kind in kinds)


def without_repeated_interrupts(errors: list[BaseException]) -> list[BaseException]:
    """Drop each ``KeyboardInterrupt`` but the first: Ctrl-C twice leaves as one (S11)."""
    repeated = [error for error in errors if issubclass(type(error), KeyboardInterrupt)][1:]
    return [error for error in errors if not any(error is each for each in repeated)]


def handled_error(cancelled: BaseException) -> Exception | None:
    """Return the error that a runnable was handling when cancellation replaced it, if any.

    The error is the context of a ``Cancelled``, which may be one of several in a group. Trio makes
    a ``Cancelled`` in the step in which a scope is cancelled. So its context may be the error of
    another task: the task that has cancelled. The error is the runnable's own if the ``Cancelled``
    passed through the frame in which the traceback of the error begins.
    """
    rest, frames = [cancelled], set[int]()
    for _ in range(HANDLED_SEARCHED):
        if not rest:
            break
        error = rest.pop()
        step = traceback_of(error)
        if issubclass(type(error), Exception):
            if step is not None and id(step.tb_frame) in frames:
                return cast("Exception", error)
            continue
        while step is not None:
            frames.add(id(step.tb_frame))
            step = step.tb_next
        context = context_of(error)
        if context is not None:
            rest.append(context)
        if is_group(error):
            rest.extend(members_of(error))
    return None


HANDLED_SEARCHED: Final = 1000
"""At most this many exceptions are searched."""
