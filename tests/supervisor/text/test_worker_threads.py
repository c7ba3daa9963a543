"""A report shows where the worker thread is that a task waits for (S18, S34)."""

from __future__ import annotations

import threading

import trio

from supervisor._text._stacks import format_stacks
from supervisor._text._worker_threads import worker_frames


def hold_here(begun: threading.Event, release: threading.Event) -> None:
    begun.set()
    release.wait()


async def test_the_stack_of_a_worker_thread_is_below_that_of_its_task() -> None:
    """S34: the user's frames, and the call in which the thread is."""
    begun, release = threading.Event(), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, hold_here, begun, release)
        await trio.to_thread.run_sync(begun.wait)
        (task,) = nursery.child_tasks
        text = format_stacks(task)
        release.set()
    head, _, thread = text.partition("  in its worker thread:\n")
    assert "run_sync" in head
    assert "in hold_here\n    release.wait()" in thread


async def test_tasks_that_wait_for_no_thread_have_none() -> None:
    """S34: and a thread of somebody else's is no task's."""
    release = threading.Event()
    other = threading.Thread(target=release.wait)
    other.start()
    try:
        assert worker_frames() == {}
        assert "worker thread" not in format_stacks(trio.lowlevel.current_task())
    finally:
        release.set()
        other.join()
