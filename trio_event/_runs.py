"""Which Trio run a value belongs to.

The problem: a set wakes tasks, and tasks can be woken only in the thread of their Trio run. So a
value must be changed there and nowhere else, and the mistake has to be found before anything is
touched: a wait that was taken out of its queue in another thread never ends. But values are made
before any run, outlive runs, and pass from one run to the next, as those of a module do in tests.
And the check is a part of each set, which takes a tenth of a microsecond.

The invariants:

- What is waited for has a :class:`WaitQueue`, and the queue has a run: the first one that uses it
  in whatever way, until that run is over. Then the next user has it. Nobody can take a queue from
  a run.
- All waits in a queue are of tasks of its run: a task of another run gets the error before it
  joins.
- ``run.thread`` is the id of the run's thread as long as the run lives, and None from its end on.
  A living run keeps its thread alive, so no other thread can have that id: equal ids mean the same
  run. The ids of threads that have ended are compared with nothing.
- :data:`NO_RUN` stands for no run. Its thread is None, so all that is outside of a run, or free,
  takes the slower way, by :meth:`WaitQueue.use`, where what is free can be bound to the calling
  run.

Trio itself says when a run ends: ``Run`` is an instrument with no other hook, and so costs the
run nothing.

Rejected: comparing thread ids that were noted when a value was made (they are used again, and say
nothing of runs that follow each other in one thread); comparing tokens at each use
(``current_trio_token()`` costs as much as the set itself, and a run that is over has one as well);
asking a run whether it lives by ``run_sync_soon`` (it wakes that run's loop for nothing).
"""

from __future__ import annotations

from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, final

import trio
from trio.lowlevel import RunVar, TrioToken, add_instrument, current_trio_token, in_trio_run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


@final
class Run(trio.abc.Instrument):
    """A Trio run that uses values (V11)."""

    __slots__ = ("custom_sleep_data", "is_calling", "steps", "thread", "token")

    def __init__(self, token: TrioToken | None) -> None:
        """Make one for the calling run, which ``token`` is of; or one that stands for none."""
        self.token: TrioToken | None = token
        self.thread: int | None = None if token is None else get_ident()
        # Tasks have it as well, see ``_steps``: this is for calls that no task makes.
        self.custom_sleep_data: Any = None
        # Subscriptions are being called; and the steps that are to be made after that.
        self.is_calling: bool = False
        self.steps: deque[tuple[Collection[Callable[[], Any]], Collection[Any]]] = deque()

    def after_run(self) -> None:
        """Let others have what belonged to this run. Trio calls it."""
        self.thread = self.token = None

    def call_soon(self, function: Callable[[], object]) -> bool:
        """Have the run call ``function`` at its next turn; return False if the run is over."""
        token = self.token
        if token is None:
            return False
        try:
            token.run_sync_soon(function, idempotent=True)
        except trio.RunFinishedError:
            return False
        return True


NO_RUN: Final = Run(None)

_run: Final[RunVar[Run]] = RunVar("trio_event")


def current_run() -> Run:
    """Return the Trio run that calls, or NO_RUN."""
    if not in_trio_run():
        return NO_RUN
    try:
        run = _run.get()
    except LookupError:
        run = Run(current_trio_token())
        add_instrument(run)
        _run.set(run)
    return NO_RUN if run.thread is None else run


def token_of_this_thread() -> TrioToken | None:
    """Return the Trio run that this thread works for, if there is one."""
    try:
        return current_trio_token()
    except RuntimeError:
        pass
    try:
        return trio.from_thread.run_sync(current_trio_token)
    except RuntimeError:
        return None
