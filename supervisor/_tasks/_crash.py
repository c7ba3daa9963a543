"""Exceptions as text, and taken apart."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, final

import outcome
import trio

from supervisor._core._records import Crash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

# Frames of the machinery say nothing about a runnable's fault.
_MACHINERY = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parents[1],
        Path(trio.__file__).parent,
        Path(outcome.__file__).parent,
    )
)


def make_crash(
    error: BaseException, dn: str, incarnation: int, started: float | None = None
) -> Crash:
    """Make the record of a death, or of an error raised while stopping, that is just now (S14).

    Args:
        error: What the node died of.
        dn: The node, or the group whose function has failed.
        incarnation: Which run of it.
        started: When that began; ``None`` if it did not.
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


def is_machinery(filename: str) -> bool:
    """Return whether a frame is of Trio or of this package, and not a user's."""
    return filename.startswith(_MACHINERY)


def one_line(error: BaseException) -> str:
    """Say type and message of ``error`` in one line."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001  a foreign __str__ may raise anything
        text = f"<its __str__ raised {type(broken).__name__}>"
    text = " ".join(text.split())
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


def format_error(error: BaseException) -> str:
    """Format ``error`` with its causes and members, and the users' frames only.

    Deaths come in storms: whoever misses the same thing dies in the same line of the same error,
    and dies of it again at each restart. To format a traceback takes as long as most of the rest of
    a restart. So what is known to give the same text is looked up: an error without causes and
    notes, of a type that is not made anew each time.
    """
    try:
        origin = _origin(error)
        if origin is None:
            return _format(error)
        known = _texts.get(origin.key)
        if known is None:
            if len(_texts) >= TEXTS_KEPT:
                _texts.clear()
            known = _texts[origin.key] = _format(error), origin.codes
        return known[0]
    except Exception as broken:  # noqa: BLE001  as above; a crash must not fail for its report
        return f"{one_line(error)} (its traceback can't be formatted: {one_line(broken)})"


def _format(error: BaseException) -> str:
    whole = traceback.TracebackException.from_exception(error, compact=True)
    for part in _parts(whole):
        kept = [frame for frame in part.stack if not is_machinery(frame.filename)]
        part.stack = traceback.StackSummary.from_list(kept)
    return "".join(whole.format()).rstrip()


@final
class _Origin(NamedTuple):
    """What the formatted traceback of an error depends on."""

    key: tuple[type[BaseException], str, tuple[tuple[int, int], ...]]
    # The key has their ids: the hash of a code object is that of all its code.
    codes: list[CodeType]


def _origin(error: BaseException) -> _Origin | None:
    """Return where ``error`` comes from, or ``None`` if its text depends on more than that."""
    linked = error.__cause__ is not None or error.__context__ is not None
    if linked or getattr(error, "__notes__", None) or isinstance(error, _WORDY):
        return None
    if "<locals>" in type(error).__qualname__:
        return None  # it may hold on to what a function used
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  as above
        return None
    if len(message) > MESSAGE_KEPT:
        return None
    codes: list[CodeType] = []
    steps: list[tuple[int, int]] = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        codes.append(code)
        steps.append((id(code), step.tb_lasti))
        step = step.tb_next
    return _Origin((type(error), message, tuple(steps)), codes)


# They show source text or members, or look for names that are similar.
_WORDY: Final = (SyntaxError, NameError, AttributeError, ImportError, BaseExceptionGroup)

TEXTS_KEPT: Final = 100
"""So many formatted tracebacks are remembered, then they are forgotten together."""

MESSAGE_KEPT: Final = 1000
"""A text with a longer message is not remembered."""

# Each with the code objects whose ids are in its key, so that no other gets the ids.
_texts: dict[object, tuple[str, list[CodeType]]] = {}


def _parts(whole: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    parts = [whole]
    while parts:
        part = parts.pop()
        yield part
        parts += [p for p in (part.__cause__, part.__context__) if p is not None]
        parts += part.exceptions or ()


def split_fatal(error: BaseException) -> tuple[BaseException | None, Exception | None]:
    """Take apart what a runnable raised (S11).

    Returns:
        What must leave the tree (``KeyboardInterrupt``, ``SystemExit`` and
        every other exception that is no ``Exception``), and what the node dies
        of. ``Cancelled`` is neither: it is dropped. What must leave does so
        without the groups that nurseries wrapped around it, if it is alone:
        ``except KeyboardInterrupt`` is to catch it, and the process to exit with
        ``SystemExit``'s status.
    """
    if isinstance(error, Exception):
        return None, error
    if isinstance(error, trio.Cancelled):
        return None, None
    if not isinstance(error, BaseExceptionGroup):
        return error, None
    try:
        _, rest = error.split(trio.Cancelled)
        ordinary, fatal = (None, None) if rest is None else rest.split(Exception)
    except Exception:  # noqa: BLE001  too deep, or a foreign derive(): what can't be taken apart
        return error, None
    return None if fatal is None else unwrapped(fatal), ordinary


def add_note(error: BaseException, note: str) -> None:
    """Add a note, unless ``error`` takes none, as one that is frozen."""
    with contextlib.suppress(Exception):
        error.add_note(note)


def unwrapped(error: BaseException) -> BaseException:
    """Return the one exception that is in ``error``, if it is a group of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def handled_error(cancelled: BaseException) -> Exception | None:
    """Return the error that a runnable was handling when cancellation replaced it, if any.

    It is the context of a ``Cancelled``, which may be one of several in a group. Trio makes a
    ``Cancelled`` in the step in which a scope is cancelled, so its context may be of another task,
    the one that has cancelled. The error is the runnable's own if the ``Cancelled`` came through
    the frame that was handling it, where its traceback begins.
    """
    rest, frames = [cancelled], set[int]()
    for _ in range(HANDLED_SEARCHED):
        if not rest:
            break
        error = rest.pop()
        step = error.__traceback__
        if isinstance(error, Exception):
            if step is not None and id(step.tb_frame) in frames:
                return error
            continue
        while step is not None:
            frames.add(id(step.tb_frame))
            step = step.tb_next
        if error.__context__ is not None:
            rest.append(error.__context__)
        if isinstance(error, BaseExceptionGroup):
            rest.extend(error.exceptions)
    return None


HANDLED_SEARCHED: Final = 1000
"""So many exceptions are searched at most."""
