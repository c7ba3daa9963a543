"""Exceptions as text: in one line, and with their tracebacks.

The text is what :mod:`traceback` makes of the same exception, but for this:

- Frames of Trio and of this package are left out.
- A group of one is its member. Its frames come before the member's, so that what went through
  three nurseries reads as one traceback that ends in the user's line.
- No cause is missing because it is deep or late. A cause that gets no traceback of its own (below
  ten groups, after the fifteenth member, after fifty exceptions) gets a line.
- All parts have limits. What exceeds a limit is neither copied nor formatted, and each cut says how
  much is left out.

An exception that can't be described must not end anything. Attributes such as ``__cause__`` and
``__qualname__`` are read from where Python stores them, because a class may define properties with
these names. Code of users that is called for a text (``__str__``, notes, the loaders of source) may
raise anything, even ``SystemExit``. That is caught, and its name stands in place of the text. The
functions that call such code are protected from Ctrl-C. So a ``KeyboardInterrupt`` there comes from
that code and never from the keyboard.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, final

from trio.lowlevel import enable_ki_protection

from ._frames import ends_in_start, frames_of, remark, stack_text
from ._printable import NAME_LENGTH, cut, single_line, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ._frames import Frame

LINE_LENGTH: Final = 500
"""In the line of an error, the message has at most this many characters.

Such lines are parts of other messages, and of a snapshot's text, which has one for each node.
"""

MESSAGE_LENGTH: Final = 8000
"""In a traceback, a message or note has at most this many characters.

It may have an SQL statement or the response of a server.
"""

TEXT_LENGTH: Final = 32 * 1024
"""A traceback has at most this many characters. It is in one log record, and a node keeps five."""

TRACEBACKS_SHOWN: Final = 50
"""In one text, at most this many exceptions are shown with their frames."""

MEMBERS_SHOWN: Final = 15
"""At most this many members of a group are shown, as in :mod:`traceback`."""

GROUPS_SHOWN: Final = 10
"""Groups in groups are shown to at most this depth, as in :mod:`traceback`."""

CHAIN_SHOWN: Final = 20
"""At most this many causes in a chain are shown: one quarter the oldest, the others the newest."""

LINES_SHOWN: Final = 100
"""At most this many different exceptions that get no traceback get a line."""

NOTES_SHOWN: Final = 50
"""At most this many notes of an exception are shown."""

EXCEPTIONS_READ: Final = 1000
"""At most this many members or causes are read, to find the first and the last."""

TEXTS_KEPT: Final = 100
"""When this many texts are remembered, all are forgotten together."""

TEXT_KEPT: Final = 4000
"""A text with more characters is not remembered."""

# Many nodes die of the same error, and each keeps five deaths. So equal texts are one object.
_texts: dict[str, str] = {}

_CAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"

# Messages of groups that say only that something came through a nursery.
_OF_NURSERIES: Final = frozenset(
    {"Exceptions from Trio nursery", "unhandled errors in a TaskGroup"}
)

# What Python stores, even if a class or its metaclass defines properties with these names.
cause_of: Callable[[BaseException], BaseException | None]
cause_of = BaseException.__dict__["__cause__"].__get__
context_of: Callable[[BaseException], BaseException | None]
context_of = BaseException.__dict__["__context__"].__get__
_is_suppressed: Callable[[BaseException], bool]
_is_suppressed = BaseException.__dict__["__suppress_context__"].__get__
traceback_of: Callable[[BaseException], TracebackType | None]
traceback_of = BaseException.__dict__["__traceback__"].__get__
_set_traceback: Callable[[BaseException, TracebackType | None], None]
_set_traceback = BaseException.__dict__["__traceback__"].__set__
members_of: Callable[[BaseException], tuple[BaseException, ...]]
members_of = BaseExceptionGroup.__dict__["exceptions"].__get__
_group_message: Callable[[BaseException], str]
_group_message = BaseExceptionGroup.__dict__["message"].__get__
_module: Callable[[type], object] = type.__dict__["__module__"].__get__


@enable_ki_protection
def one_line(error: BaseException) -> str:
    """Return the type and message of ``error`` in one line; of a group, the first and a count."""
    more = 0
    if is_group(error):
        leaves = Leaves((error,))
        error, *rest = leaves
        more = len(rest) + leaves.unread
    name = type_name(error)
    message = _message(error, LINE_LENGTH)
    line = single_line(name if not message or message.isspace() else f"{name}: {message}")
    return f"{line} (and {more} more)" if more else line


@enable_ki_protection
def format_error(
    error: BaseException, start: TracebackType | None = None, *, machinery: bool = False
) -> str:
    """Format ``error`` with its causes and members.

    Args:
        error: The exception.
        start: The traceback to show, if it is not that of ``error`` any more.
        machinery: Show the frames of Trio and of this package as well.
    """
    try:
        if start is None:
            start = traceback_of(error)
        if _is_alone(error):
            text = _alone(error, stack_text(frames_of(start, machinery=machinery)), start)
        else:
            writer = _Writer(machinery=machinery)
            writer.write(error, start)
            text = "".join(writer.pieces)
        text = cut(text.rstrip(), TEXT_LENGTH)
    except BaseException as broken:  # noqa: BLE001  there may be no room left on the stack
        return f"{type_name(error)} (its text can't be made: {type_name(broken)})"
    if len(text) > TEXT_KEPT:
        return text
    if len(_texts) >= TEXTS_KEPT:
        _texts.clear()
    return _texts.setdefault(text, text)


def drop_tracebacks(error: BaseException) -> None:
    """Drop the tracebacks of ``error`` and of all exceptions that it is linked to.

    When an object is raised again, its traceback grows: the new frames come before the old.
    """
    _set_traceback(error, None)
    if _is_alone(error):
        return
    seen = {id(error)}
    todo = [error]
    while todo:
        each = todo.pop()
        _set_traceback(each, None)
        links = [cause_of(each), context_of(each), *(members_of(each) if is_group(each) else ())]
        for link in links:
            if link is not None and id(link) not in seen:
                seen.add(id(link))
                todo.append(link)


def _is_alone(error: BaseException) -> bool:
    return context_of(error) is None and cause_of(error) is None and not is_group(error)


def is_group(error: BaseException) -> bool:
    """Return whether ``error`` is a group; its ``__class__`` is not asked."""
    return issubclass(type(error), BaseExceptionGroup)


def unwrap(error: BaseException) -> Iterator[BaseException]:
    """Walk from ``error``, if it is a group of one, to its member, and so on."""
    yield error
    while is_group(error) and len(members_of(error)) == 1:
        (error,) = members_of(error)
        yield error


@final
class Leaves:
    """Iterates over the exceptions in groups, in order, up to a limit."""

    def __init__(self, errors: Sequence[BaseException]) -> None:
        """Begin with ``errors``; an iteration opens the groups."""
        self._todo = list(reversed(errors))

    def __iter__(self) -> Iterator[BaseException]:
        """Iterate up to the limit."""
        read = 0
        while self._todo and read < EXCEPTIONS_READ:
            error = self._todo.pop()
            if is_group(error):
                self._todo += reversed(members_of(error))
            else:
                read += 1
                yield error

    @property
    def unread(self) -> int:
        """How many exceptions follow after the limit; a group counts as one."""
        return len(self._todo)


# Tracebacks


@final
class _Writer:
    """Writes the text of one exception."""

    __slots__ = ("_depth", "_left", "_machinery", "_seen", "_unclosed", "pieces")

    def __init__(self, *, machinery: bool) -> None:
        self.pieces: list[str] = []
        self._machinery: bool = machinery
        # The ids of the exceptions that the text has already; no cause is shown twice.
        self._seen: set[int] = set()
        # How many more can be shown with their frames.
        self._left: int = TRACEBACKS_SHOWN
        # The number of groups around what is written now.
        self._depth: int = 0
        # The last member of a group is written now, and the line below it is not.
        self._unclosed: bool = False

    def write(self, error: BaseException, start: TracebackType | None) -> None:
        """Write the causes of ``error``, then ``error``."""
        for path, link in self._chain(error):
            if isinstance(path, str):
                self._put(path)
            else:
                self._write_one(path, start if path[0] is error else traceback_of(path[0]))
            if link is not None:
                self._put(link)

    def _chain(self, error: BaseException) -> list[tuple[list[BaseException] | str, str | None]]:
        """Return the causes of ``error`` and itself, oldest first, each with the link to the next.

        A group of one, its member, and so on, are one path. Each part of a path may have a cause.
        The cause of an inner part is newer than that of an outer part.
        """
        chain: list[tuple[list[BaseException] | str, str | None]] = []
        todo: list[tuple[BaseException, str | None]] = [(error, None)]
        while todo and len(chain) < EXCEPTIONS_READ:
            newest, link = todo.pop()
            path = list(unwrap(newest))
            chain.append((path, link))
            self._seen.update(map(id, path))
            if is_group(path[-1]):
                self._seen.update(map(id, members_of(path[-1])))  # shown as members
            for part in path:
                before = cause_of(part)
                if before is not None and id(before) not in self._seen:
                    todo.append((before, _CAUSE))
                elif not _is_suppressed(part):
                    before = context_of(part)
                    if before is not None and id(before) not in self._seen:
                        todo.append((before, _CONTEXT))
        shown = max(min(CHAIN_SHOWN, self._left), 1)
        missing = len(chain) - shown
        if missing > 0:
            end = len(chain) - shown // 4
            gap = f"[{missing}{' or more' if todo else ''} exceptions left out]\n"
            chain[end - missing : end] = [(gap, chain[end - missing][1])]
        self._left -= len(chain)
        chain.reverse()
        return chain

    def _write_one(self, path: list[BaseException], start: TracebackType | None) -> None:
        error = path[-1]
        stack = stack_text(self._frames(path, start))
        if len(path) > 1:
            start = traceback_of(error)
        if not is_group(error):
            self._put(_alone(error, stack, start))
        elif self._depth > GROUPS_SHOWN:
            self._write_briefly((error,))
        else:
            is_outermost = self._depth == 0
            if is_outermost:
                self._depth = 1
            if stack:
                margin = "+ " if is_outermost else "| "
                self._put("Exception Group Traceback (most recent call last):\n", margin)
                self._put(stack)
            self._put(_last_lines(error, start))
            self._write_members(members_of(error))
            if is_outermost:
                self._depth = 0

    def _frames(self, path: list[BaseException], start: TracebackType | None) -> list[Frame]:
        """Return the frames of a path of groups of one: those of a group before its member's."""
        frames: list[Frame] = []
        for group, member in itertools.pairwise(path):
            own = frames_of(start, machinery=self._machinery)
            within = traceback_of(member)
            if own and not self._machinery and ends_in_start(start, within):
                del own[-1]  # the same call: the member was raised in the body of the nursery
            elif own:
                # The group left a nursery in that frame. Marks would show where that was opened.
                own[-1] = own[-1]._replace(text=own[-1].unmarked())
            frames += own
            frames += map(remark, _about(group))
            start = within
        return frames + frames_of(start, machinery=self._machinery)

    def _write_members(self, members: tuple[BaseException, ...]) -> None:
        for index, member in enumerate(members):
            is_shown = index < MEMBERS_SHOWN and self._left > 0
            is_last = not is_shown or index == len(members) - 1
            self._unclosed = is_last
            title = index + 1 if is_shown else "..."
            self._rule(f"{'  ' if index else '+-'}+---------------- {title} ----------------\n")
            self._depth += 1
            if is_shown:
                self.write(member, traceback_of(member))
            else:
                self._write_briefly(members[index:])
            # If the last member is a group, its last line is the last line of both.
            if is_last and self._unclosed:
                self._rule("+------------------------------------\n")
                self._unclosed = False
            self._depth -= 1
            if not is_shown:
                break

    def _write_briefly(self, errors: Sequence[BaseException]) -> None:
        """Write a line for each of ``errors``; equal lines are counted."""
        lines: dict[str, int] = {}
        leaves = Leaves(errors)
        more = 0
        for leaf in leaves:
            if len(lines) < LINES_SHOWN:
                line = one_line(leaf) + _place(leaf)
                lines[line] = lines.get(line, 0) + 1
            else:
                more += 1
        more += leaves.unread
        text = "".join(
            f"{line}\n" if count == 1 else f"{count} times {line}\n"
            for line, count in lines.items()
        )
        if more:
            text += f"and {more} more exception{'s' if more > 1 else ''}\n"
        self._put(text)

    def _put(self, text: str, margin: str = "| ") -> None:
        if self._depth:
            margin = "  " * self._depth + margin
            text = margin + text.removesuffix("\n").replace("\n", f"\n{margin}") + "\n"
        self.pieces.append(text)

    def _rule(self, text: str) -> None:
        self.pieces.append("  " * self._depth + text)


def _place(error: BaseException) -> str:
    """Say where ``error`` was raised, if that is known."""
    frames = frames_of(traceback_of(error), machinery=False)
    return f" ({frames[-1].text.splitlines()[0].strip()})" if frames else ""


def _about(group: BaseException) -> list[str]:
    """Return the message and the notes of a group that has one member."""
    message = cut(_group_message(group), MESSAGE_LENGTH)
    lines = [] if message in _OF_NURSERIES else f"{_full_name(group)}: {message}".splitlines()
    return lines + _notes(group)


def _alone(error: BaseException, stack: str, start: TracebackType | None) -> str:
    """Return the text of an exception without its causes."""
    head = f"Traceback (most recent call last):\n{stack}" if stack else ""
    return head + _last_lines(error, start)


def _last_lines(error: BaseException, start: TracebackType | None) -> str:
    """Return what is below the frames: type, message, notes."""
    text = _syntax_lines(error) if issubclass(type(error), SyntaxError) else ""
    if not text:
        message = _message(error, MESSAGE_LENGTH)
        if issubclass(type(error), _WITH_SUGGESTIONS):
            message += _suggestion(error, start)
        name = _full_name(error)
        text = f"{name}: {message}\n" if message else f"{name}\n"
    notes = _notes(error)
    return text + "\n".join((*notes, "")) if notes else text


def _full_name(error: BaseException) -> str:
    module = _module(type(error))
    if type(module) is not str:
        module = "<unknown>"
    name = type_name(error)
    return name if module in _OMITTED else f"{cut(module, NAME_LENGTH)}.{name}"


_OMITTED: Final = ("__main__", "builtins")


def _message(error: BaseException, limit: int) -> str:
    try:
        return cut(str(error), limit)
    except BaseException as broken:  # noqa: BLE001  a user's __str__ may raise anything
        return f"<its __str__ raised {type_name(broken)}>"


def _told(tell: Callable[[Any], str], what: object, name: str) -> str:
    """Return the text that ``tell``, which may be code of a user, makes of ``what``."""
    try:
        return cut(tell(what), MESSAGE_LENGTH)
    except BaseException as broken:  # noqa: BLE001  as above
        return f"<its {name} raised {type_name(broken)}>"


def _notes(error: BaseException) -> list[str]:
    try:
        notes = getattr(error, "__notes__", None)
        if notes is None:
            return []
        if isinstance(notes, (str, bytes)) or not isinstance(notes, Sequence):
            return [_told(repr, notes, "__notes__")]
        missing = len(notes) - NOTES_SHOWN
        lines = [_told(str, note, "note") for note in notes[:NOTES_SHOWN]]
    except BaseException as broken:  # noqa: BLE001  as above
        return [f"<its __notes__ raised {type_name(broken)}>"]
    return [*lines, f"[{missing} notes left out]"] if missing > 0 else lines


def _syntax_lines(error: Any) -> str:  # noqa: ANN401  its fields may be of any type
    """Let :mod:`traceback` show where in the source a syntax error is."""
    try:
        text = error.text
        where = error.lineno, error.offset, text, error.end_lineno, error.end_offset
        if text is not None and len(text) > LINE_LENGTH:
            where = error.lineno, None, cut(text, LINE_LENGTH), None, None
        filename = error.filename
        if filename is not None:
            filename = cut(filename, LINE_LENGTH)
        bounded = SyntaxError(cut(str(error.msg), MESSAGE_LENGTH), (filename, *where))
        summary = traceback.TracebackException(type(error), bounded, None)
        return "".join(summary.format_exception_only())
    except BaseException:  # noqa: BLE001  it is described like any other
        return ""


# They show names that are similar.
_WITH_SUGGESTIONS: Final = (AttributeError, ImportError, NameError)


def _suggestion(error: Any, start: TracebackType | None) -> str:  # noqa: ANN401  as above
    """Let :mod:`traceback` look for a name that might be meant; before Python 3.12 it does not."""
    bounded: BaseException
    try:
        if issubclass(type(error), AttributeError):
            bounded = AttributeError("", name=error.name, obj=error.obj)
        elif issubclass(type(error), NameError):
            bounded = NameError("", name=error.name)
        else:
            fields: dict[str, Any] = {"name": error.name, "name_from": error.name_from}
            bounded = ImportError("", **fields)
        while start is not None and start.tb_next is not None:
            start = start.tb_next
        summary = traceback.TracebackException(type(bounded), bounded, start, limit=0)
        return cut(str(summary), LINE_LENGTH)
    except BaseException:  # noqa: BLE001  the object may be asked for its names
        return ""
