"""The newest log records, as text, by node: to be read later, and to be followed.

A buffer is a handler. It is bounded in three ways: by the entries of each DN, by all entries, and
by the characters of their texts. Each entry is in two places, which have the same entries at all
times:

- the *ring* of its DN, so that a node that logs much does not displace what others have logged;
- the order of all entries, so that the oldest is known when there are too many in all, and so that
  a subtree can be read in order.

So an entry that its ring drops leaves the order too. Otherwise one noisy node would fill the order
with what nobody can read, and the entries of all others would be dropped for it. The order is an
``OrderedDict`` by number: entries leave it anywhere, and the first is found in constant time, which
is not so for a ``dict`` whose first entries are deleted.

Numbers are given under the handler's lock, as entries are told to followers. So the backlog that a
follower gets, under the same lock, and what it is told from then on, have no gap between them and
nothing in common.

A record is put into words *before* the lock is taken. That calls users' code, which may log itself,
or wait for a lock that another thread holds while it logs.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, final

from trio.lowlevel import enable_ki_protection

from supervisor._core._arguments import check_count, check_flag
from supervisor._text._printable import cut

from ._entry import LogEntry
from ._follower import LogFollower
from ._formatters import created, message, origin
from ._selection import ROOT, Selection

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from types import TracebackType

TEXT_LENGTH: Final = 16 * 1024
"""The text of an entry has at most this many characters."""

MEAN_LENGTH: Final = 1000
"""All texts together have at most this many characters for each entry that may be kept."""


@final
class _Ring:
    """The entries of one DN."""

    __slots__ = ("dn", "dropped", "dropped_to", "entries")

    def __init__(self, dn: str) -> None:
        # All entries share this string.
        self.dn: str = dn
        self.entries: deque[LogEntry] = deque()
        # How many were dropped, and the number of the last of these.
        self.dropped: int = 0
        self.dropped_to: int = 0


@final
class LogBuffer(logging.Handler):
    """A handler that keeps the newest records as text, by DN (S36).

    :func:`supervisor.main` makes one and adds it to the root logger; :func:`current_buffer` returns
    that. Elsewhere, add one like any handler.
    """

    def __init__(self, *, per_node: int = 200, total: int = 20_000) -> None:
        """Make an empty buffer.

        Args:
            per_node: How many entries are kept of each DN.
            total: How many are kept in all. Their texts have at most 1000 times as many characters
                together; otherwise the oldest entries are dropped.

        Raises:
            TypeError: if a number is not a whole one.
            ValueError: if a number is less than 1.
        """
        self._per_node: Final = check_count("per_node", per_node, least=1)
        self._total: Final = check_count("total", total, least=1)
        super().__init__()
        self._rings: Final[dict[str, _Ring]] = {}
        self._order: Final[OrderedDict[int, LogEntry]] = OrderedDict()
        # The number of the last entry, and the length of all texts.
        self._last = 0
        self._characters = 0
        # Of the rings that are gone since they were empty: as in a ring.
        self._dropped = 0
        self._dropped_to = 0
        # Replaced as a whole: it is iterated while a record is kept, which may end a follower.
        self._followers: tuple[LogFollower, ...] = ()
        self._closed = False

    def createLock(self) -> None:  # noqa: N802  logging's name
        """Make the lock, which :mod:`logging` calls for, also after a fork."""
        super().createLock()
        assert self.lock is not None
        self._lock: threading.RLock = self.lock

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep a record, unless a filter rejects it.

        Checkpoints:
            Never.
        """
        # The lock is taken later than in the method of the class above: see the head of the module.
        passed: object = self.filter(record)
        if passed:
            # Since Python 3.12, a filter may give another record.
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record.

        Checkpoints:
            Never.
        """
        dn, text = origin(record), cut(message(record), TEXT_LENGTH)
        stream = getattr(record, "stream", None)
        self._keep(record, dn, text, stream if isinstance(stream, str) else None)

    @enable_ki_protection
    def _keep(self, record: logging.LogRecord, dn: str, text: str, stream: str | None) -> None:
        with self._lock:
            ring = self._rings.get(dn)
            if ring is None:
                ring = self._rings[dn] = _Ring(dn)
            self._last += 1
            entry = LogEntry(
                seq=self._last,
                time=created(record),
                level=record.levelno,
                dn=ring.dn,
                logger=record.name,
                text=text,
                stream=stream,
            )
            self._order[entry.seq] = entry
            ring.entries.append(entry)
            self._characters += len(text)
            if len(ring.entries) > self._per_node:
                self._drop_oldest(ring)
            while len(self._order) > self._total or self._is_too_long():
                oldest = next(iter(self._order.values()))
                self._drop_oldest(self._rings[oldest.dn])
            for follower in self._followers:
                follower.tell(entry)

    def _is_too_long(self) -> bool:
        return self._characters > self._total * MEAN_LENGTH and len(self._order) > 1

    def _drop_oldest(self, ring: _Ring) -> None:
        entry = ring.entries.popleft()
        del self._order[entry.seq]
        self._characters -= len(entry.text)
        ring.dropped += 1
        ring.dropped_to = entry.seq
        if not ring.entries:
            del self._rings[ring.dn]
            self._dropped += ring.dropped
            self._dropped_to = entry.seq

    def read(
        self,
        dn: str = ROOT,
        *,
        n: int | None = 100,
        level: int = 0,
        children: bool = True,
        raw: bool | None = None,
    ) -> list[LogEntry]:
        """Return the newest entries of a node and of the nodes below it, oldest first.

        To ``root`` belong all entries, those without a node as well. They have the DN ``-``.

        Args:
            dn: The DN of a node, a sub-logger or a sidecar, or ``-``. It need not be in a tree.
            n: At most so many; ``None`` for all there are.
            level: Only those of at least that level.
            children: Include the nodes below.
            raw: With ``True``, only lines that came as text; with ``False``, only other records.

        Returns:
            The entries.

        Raises:
            InvalidNameError: if no node can have that DN.
            TypeError: if another argument is of a wrong kind.
            ValueError: if ``n`` or ``level`` is negative.

        Checkpoints:
            Never. It may be called from any thread.

        Example::

            for entry in current_buffer().read("root.net", level=logging.WARNING):
                print(entry.dn, entry.text)
        """
        check_flag("children", children)
        if raw is not None:
            check_flag("raw", raw)
        selection = Selection(dn, level, children=children)
        count = _check_number(n)
        with self._lock:
            newest_first: Iterator[LogEntry]
            if children:
                newest_first = reversed(self._order.values())
            else:
                ring = self._rings.get(dn)
                newest_first = iter(()) if ring is None else reversed(ring.entries)
            if raw is not None:
                newest_first = (each for each in newest_first if (each.stream is not None) is raw)
            return _newest(newest_first, selection, count)

    def follow(
        self,
        dn: str = ROOT,
        *,
        n: int | None = 100,
        level: int = 0,
        after: int | None = None,
    ) -> AbstractContextManager[LogFollower]:
        """Follow a node and the nodes below it: a channel of the newest entries, then of new ones.

        There is no gap between the two, and no entry comes twice. A follower that is 1000 entries
        behind loses the oldest, which its ``missed`` counts; no record waits for a follower.

        Args:
            dn: As for :meth:`read`, like ``level``.
            n: At most so many of the entries that are there; ``None`` for all.
            level: Only entries of at least that level.
            after: Resume after the entry with that ``seq``: all that came later and are still there
                come first, whatever ``n`` is. ``missed`` says at once how many are not, at most.

        Returns:
            A context manager of the channel. It is entered in Trio, and the channel is used in that
            run of Trio.

        Raises:
            InvalidNameError: if no node can have that DN.
            TypeError: if another argument is of a wrong kind.
            ValueError: if a number is negative, or if the buffer has had no entry ``after`` yet.
            RuntimeError: when it is entered, if Trio does not run.

        Checkpoints:
            Never; the channel's ``receive`` always.

        Example::

            with current_buffer().follow("root.net") as entries:
                async for entry in entries:
                    print(entry.text)
        """
        selection = Selection(dn, level)
        count = _check_number(n)
        if after is not None and check_count("after", after, least=0) > self._last:
            msg = (
                f"after={after} is not an entry of this buffer, whose last one is {self._last}: "
                "pass the seq of an entry that came from it, or None"
            )
            raise ValueError(msg)
        return _Following(partial(self._begin, selection, count, after))

    @enable_ki_protection
    def close(self) -> None:
        """Let no more entries come to followers, whose channels end. What is kept can be read.

        Checkpoints:
            Never. Any thread may call.
        """
        with self._lock:
            self._closed = True
            for follower in self._followers:
                follower.end()
        super().close()

    @enable_ki_protection
    def _begin(self, selection: Selection, count: int | None, after: int | None) -> LogFollower:
        """Make a follower, with what is there now."""
        follower = LogFollower(self._lock, selection.wants, self._leave)
        with self._lock:
            newest_first: Iterator[LogEntry] = reversed(self._order.values())
            if after is None:
                follower.begin(_newest(newest_first, selection, count), missed=0)
            else:
                newest_first = takewhile(lambda entry: entry.seq > after, newest_first)
                backlog = _newest(newest_first, selection, None)
                follower.begin(backlog, self._missing(selection, after))
            self._followers += (follower,)
            if self._closed:
                follower.end()
        return follower

    def _missing(self, selection: Selection, after: int) -> int:
        """Return how many of the entries after ``after`` are not there any more, at most."""
        kept = 0
        for seq in reversed(self._order):
            if seq <= after:
                break
            kept += 1
        gone = self._last - after - kept
        if not gone or selection.is_all:
            return gone
        # It is not known when a ring has dropped which, but how many, and the last of them.
        own = self._dropped if self._dropped_to > after else 0
        for ring in self._rings.values():
            if ring.dropped_to > after and selection.has(ring.dn):
                own += ring.dropped
        return min(gone, own)

    def _leave(self, follower: LogFollower) -> None:
        self._followers = tuple(each for each in self._followers if each is not follower)


@final
class _Following(AbstractContextManager[LogFollower]):
    """Opens a follower, and closes it.

    It is no ``@contextmanager``: a ``KeyboardInterrupt`` in the frames of :mod:`contextlib`, which
    are not protected, would leave the follower behind.
    """

    __slots__ = ("_begin", "_follower")

    def __init__(self, begin: Callable[[], LogFollower]) -> None:
        self._begin: Callable[[], LogFollower] = begin

    @enable_ki_protection
    def __enter__(self) -> LogFollower:
        self._follower: LogFollower = self._begin()
        return self._follower

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._follower.close()


def _check_number(n: int | None) -> int | None:
    return None if n is None else check_count("n", n, least=0)


def _newest(
    newest_first: Iterator[LogEntry], selection: Selection, count: int | None
) -> list[LogEntry]:
    """Return the last ``count`` of the wanted entries, oldest first."""
    newest = list(islice(filter(selection.wants, newest_first), count))
    newest.reverse()
    return newest
