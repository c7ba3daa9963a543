"""Which task has the loop, asked from another thread (S22)."""

from __future__ import annotations

import threading

import trio

import supervisor
from supervisor import Signal, open_supervisor


async def test_a_task_that_blocks_is_found() -> None:
    """S22: the place has the DN of the task's runnable, and the lines of the users' code."""
    places = []

    async def block() -> None:
        thread = threading.Thread(target=lambda: places.append(loop.look()))
        thread.start()
        thread.join()

    async def child() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(block)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run("child", child)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_supervisor(root) as tree:
        loop = tree._port.loop_thread()
        await tree.wait_ready()
    (place,) = places
    assert place.dn == "root.child"
    first = place.lines.splitlines()[0]
    assert first.endswith("in block")
    assert __file__ in first


async def test_a_task_of_no_node_has_no_dn() -> None:
    """S22: what blocks the loop may be another part of the process."""
    places = []

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_supervisor(root) as tree:
        loop = tree._port.loop_thread()
        thread = threading.Thread(target=lambda: places.append(loop.look()))
        thread.start()
        thread.join()
    assert places[0].dn is None
    assert "in test_a_task_of_no_node_has_no_dn" in places[0].lines


async def test_a_loop_that_waits_shows_what_has_called_it() -> None:
    """S22: no task runs then; outside of Trio is what started it."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with open_supervisor(root) as tree:
        place = await trio.to_thread.run_sync(tree._port.loop_thread().look)
    assert place.dn is None
    assert "get_events" in place.lines
