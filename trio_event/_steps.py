"""Several sets as one step: ``atomic``.

The problem: a predicate of ``wait_for`` is asked in the middle of a set, so of two sets that
belong together it would be asked about the first alone. Tasks that are woken need no care: they
run when the setting task waits, and see all that it has set until then. So a block holds back
nothing but the calls of subscriptions. And an ``await`` in the block, which is a mistake, must be
found out, and must neither hold back the sets of others nor lose a call.

A block is kept in ``custom_sleep_data`` of the task that has entered it. Trio sets that to None
whenever it reschedules a task, and promises so. Hence:

- A task is in a block for as long as it has not been rescheduled since it entered the block. No
  other task is, and neither are the same task's steps after an ``await``, or after a generator was
  abandoned in the block.
- At the end of a block, the task has waited in it if the block is not there any more.
- What a block holds back is done at its end or, by an entry in Trio's queue, at the next turn of
  the loop, whichever comes first. The entry is made only if something is held back.

Calls that no task makes, such as those of a host loop in guest mode, keep the block in their
``Run`` instead, and that entry takes it away.

A *step* is a set, or all sets of a block. Its subscriptions are called when all of it is made, and
all of them before the next step is made: each sees the first step before the second. So what is
changed in the middle of these calls waits, with its data: a set of a value whose subscriptions are
being called, and a block. These steps wait in one line for the whole run, and so keep the order in
which they were asked for, which is what the versions say that they return. A plain set of any other
value is made at once, as an assignment is.

Rejected: a dictionary of blocks by thread (a block that waits, or is never left, then holds back
all tasks of the thread for ever); a context variable (tasks that are started in the block inherit
it, and nothing shows that the task has waited); holding back the waking of tasks as well (an
abandoned block could lose it, and there is nothing to gain); refusing the sets after an ``await``
in the block (half of a step would be made, and the other half lost); making steps inside of steps
(a predicate that sets the value for ever would be a recursion, and the newer step would be seen
before the older).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from trio.lowlevel import current_task, enable_ki_protection

from ._runs import NO_RUN, Run, current_run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager

    from trio.lowlevel import Task


class Subscribed:
    """What has subscriptions, which are called in each set."""

    __slots__ = ("_callbacks", "is_calling", "run")

    def __init__(self) -> None:
        # By their subscriptions. None of them raises.
        self._callbacks: dict[object, Callable[[], object]] | None = None
        # They are being called: a set by one of them has to wait for the others.
        self.is_calling: bool = False
        # The Trio run that has used this last. It has it, if it is not over.
        self.run: Run = NO_RUN


def call_subscriptions(run: Run, changed: Collection[Subscribed]) -> None:
    """Call the subscriptions for a change, now or at the end of the block that it is in.

    Args:
        run: The run that has all of it.
        changed: What is changed, in one step.
    """
    block = current_block()
    if block is not None:
        for each in changed:
            block.hold(each)
    elif run.is_calling and not any(each.is_calling for each in changed):
        _call_all(changed)  # in the middle of a step: at once, as an assignment is
    else:
        make_step(run, (), changed)


def make_step(
    run: Run, changes: Collection[Callable[[], Subscribed]], changed: Collection[Subscribed]
) -> None:
    """Make a step, and call the subscriptions; if one is under way, after all that wait for that.

    Args:
        run: The run that has all of it.
        changes: What is to be done. Each returns what it has changed.
        changed: What is changed already.
    """
    run.steps.append((changes, changed))
    if run.is_calling:
        return
    run.is_calling = True
    try:
        while run.steps:
            changes, changed = run.steps.popleft()
            if changes:
                changed = dict.fromkeys((*changed, *[change() for change in changes]))
            _call_all(changed)
    finally:
        run.is_calling = False


def _call_all(changed: Collection[Subscribed]) -> None:
    """Call the subscriptions of several values as if they were one."""
    begun = [each for each in changed if not each.is_calling]
    for each in begun:
        each.is_calling = True  # a callback of one value may set another one
    try:
        for each in changed:
            for callback in tuple((each._callbacks or {}).values()):
                callback()
    finally:
        for each in begun:
            each.is_calling = False


def atomic() -> AbstractContextManager[None]:
    """Make several sets one step, for all that wait for one of the values (V18).

    A predicate of ``wait_for`` is asked at the end of the block, so on composed values it sees all
    sets or none. If the block raises, what was set stays set. In a predicate, or a function that is
    called in the middle of a set, the block is a step of its own, after the one under way.

    A block belongs to a task, and must not wait. If there is an ``await`` in it that waits, what
    was set until then is a step, made known at the next turn of the loop; each later set is one of
    its own; and the end of the block raises. Other tasks are not affected. What another thread
    sets, with ``set_from_thread``, is a step of its own.

    Each block needs a call of its own.

    Raises:
        RuntimeError: at the end of the block, if the task has waited in it; an exception of the
            block leaves it with a note instead. At the beginning, if the object was used before.

    Checkpoints:
        Never.

    Example::

        with atomic():
            host.set("example.org")
            port.set(443)
    """
    return Block()


@final
class Block:
    """An ``atomic`` block, which Ctrl-C neither leaves open nor ends without its calls (V18)."""

    __slots__ = ("_before", "_changed", "_changes", "_is_entered", "_outermost", "_place", "_run")

    def __init__(self) -> None:
        self._is_entered = False
        # Where the block is kept while it is open.
        self._place: Task | Run = NO_RUN
        # What was kept there before.
        self._before: object = None
        # The block that this one is in; itself if it is in none.
        self._outermost = self
        # What is held back: changes that wait for the step under way, and what is changed.
        self._changes: list[Callable[[], Subscribed]] = []
        self._changed: dict[Subscribed, None] = {}
        # The run of what is held back, if anything is.
        self._run = NO_RUN

    @enable_ki_protection
    def __enter__(self) -> None:
        if self._is_entered:
            msg = "an atomic() block can't be entered again: call atomic() for each block"
            raise RuntimeError(msg)
        self._is_entered = True
        self._place = place = _current_place()
        self._before = before = place.custom_sleep_data
        if isinstance(before, Block):
            self._outermost = before
        elif place is not NO_RUN:  # which all threads share, and where there are no subscriptions
            place.custom_sleep_data = self
            if isinstance(place, Run):
                self._finish_soon(place)

    @enable_ki_protection
    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not self._is_entered:
            msg = "an atomic() block that was not entered can't be left: use it in a with statement"
            raise RuntimeError(msg)
        is_open = self._is_open()
        if self._outermost is self:
            if is_open:
                self._restore()
            self._finish()
        if is_open:
            return
        msg = (
            "there was an await in an atomic() block, or another task has left it: the sets from "
            "there on were steps of their own; move the await out of the block"
        )
        if error is None or isinstance(error, GeneratorExit):
            raise RuntimeError(msg)
        error.add_note(msg)  # it may be a cancellation, which must not be replaced

    def _is_open(self) -> bool:
        """Return whether the caller is the one that has entered, and has not waited since."""
        place = self._place
        if place is NO_RUN:
            return True
        return _current_place() is place and place.custom_sleep_data is self._outermost

    def _restore(self) -> None:
        if self._place is not NO_RUN:
            self._place.custom_sleep_data = self._before
        self._before = None

    def hold(self, changed: Subscribed) -> None:
        """Call the subscriptions of what was changed at the end of the block."""
        self._changed[changed] = None
        self._finish_soon(changed.run)

    def defer(self, run: Run, change: Callable[[], Subscribed]) -> None:
        """Make a change after the end of the block, when the step under way is over."""
        self._changes.append(change)
        self._finish_soon(run)

    def _finish_soon(self, run: Run) -> None:
        """Finish at the next turn of the loop, if the end of the block does not come before."""
        if self._run is NO_RUN:
            self._run = run
            run.call_soon(self._finish_late)

    def _finish_late(self) -> None:
        if isinstance(self._place, Run) and self._place.custom_sleep_data is self:
            self._restore()
        self._finish()

    def _finish(self) -> None:
        """Do what is held back."""
        if self._changes or self._changed:
            changes, changed = self._changes, self._changed
            self._changes, self._changed = [], {}
            make_step(self._run, changes, changed)


def _current_place() -> Task | Run:
    """Return where the block is kept that the caller is in."""
    try:
        return current_task()
    except RuntimeError:
        return current_run()


def current_block() -> Block | None:
    """Return the outermost block that the caller is in, if it is in one."""
    block = _current_place().custom_sleep_data
    return block if isinstance(block, Block) else None
