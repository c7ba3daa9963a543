"""Functions that block, in a thread, as runnables (S24).

Nothing can end a thread but its own function. So a stop reaches it by two ways, and a function
needs one of them: ``on_stop``, which wakes it from outside, and
:func:`trio.from_thread.check_cancelled`, by which it asks. Both work from the stop request on: the
end of the grace could do no more. If the function goes on all the same,
the node does not end, and is reported where it waits (S18). To abandon the thread was rejected: it
would go on beside the next incarnation (S7).

Each thread has a limiter of its own. Trio's default limiter admits 40 threads at a time, and
:func:`trio.lowlevel.open_process` needs one of these: 40 threads that live long would make it wait
for ever.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

import trio

import supervisor
from supervisor import Signal

from ._arguments import check_blocking, check_flag
from ._own_grace import WithGrace
from ._ungrouped import ungrouped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ArgsT = TypeVarTuple("ArgsT")


def thread(
    fn: Callable[[Unpack[ArgsT]], object],
    *args: *ArgsT,
    on_stop: Callable[[], object] | None = None,
    healthy_at_start: bool = True,
) -> Callable[[], Awaitable[None]]:
    """Make a runnable of a function that blocks: it runs in a thread of its own (S24).

    From the stop request on, and when the runnable is cancelled, the function has to end:
    ``on_stop`` is called once, and :func:`trio.from_thread.check_cancelled` raises in the thread. A
    function that goes on holds up its group, and is reported (S18). A return is judged as
    ever (S5): a function whose work is over calls
    ``trio.from_thread.run_sync(supervisor.signal, Signal.DONE)`` before.

    :func:`supervisor.current_dn` and :func:`supervisor.logger` work in the thread (S1).

    Args:
        fn: What to run.
        *args: Its arguments.
        on_stop: Makes the function end, such as ``partial(jobs.put, None)`` or a socket's
            ``close``; it is called in Trio's thread, and so must not block.
        healthy_at_start: Whether the node is ``HEALTHY`` when the thread starts. If not, the
            function says when, by ``trio.from_thread.run_sync(supervisor.signal, Signal.HEALTHY)``.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`. It brings a grace
        of its own, 10 seconds.

    Raises:
        TypeError: if a function is not callable, or ``healthy_at_start`` is not a bool.

    Checkpoints:
        Never. The runnable waits for its thread.

    Cancellation:
        Of the runnable: it still waits for its thread.

    Example::

        def consume(jobs: queue.Queue[str | None]) -> None:
            while (job := jobs.get()) is not None:
                print(job)

        jobs = queue.Queue()
        supervisor.run("consumer", thread(consume, jobs, on_stop=partial(jobs.put, None)))
    """
    check_blocking("thread", fn, "a function")
    if on_stop is not None:
        check_blocking("thread", on_stop, "a function for on_stop=")
    check_flag("thread", "healthy_at_start", healthy_at_start)

    async def run() -> None:
        if healthy_at_start:
            supervisor.signal(Signal.HEALTHY)
        ended = False
        async with trio.open_nursery() as nursery:

            async def wait_for_stop() -> None:
                try:
                    await supervisor.wait_stop_requested()
                finally:
                    if not ended and on_stop is not None:
                        on_stop()
                # From here on check_cancelled() raises.
                nursery.cancel_scope.cancel(reason="a stop was requested of the thread's runnable")

            nursery.start_soon(wait_for_stop)
            try:
                await trio.to_thread.run_sync(fn, *args, limiter=trio.CapacityLimiter(1))
            finally:
                ended = True
            nursery.cancel_scope.cancel(reason="the thread has ended")

    return WithGrace(partial(ungrouped, run))
