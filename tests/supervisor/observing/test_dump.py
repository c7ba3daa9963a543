"""A tree as text: its nodes, and where their tasks wait (S33)."""

from __future__ import annotations

import re

import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Signal, open_supervisor
from supervisor.testing import Remote

from ..helpers.backoffs import STEADY
from ..helpers.internals import NODES_SHOWN, describe_tree
from ..helpers.runnables import finish, idle


async def wait_in_nursery() -> None:
    """Wait in a task of its own."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle_task)
        supervisor.signal(Signal.HEALTHY)


async def idle_task() -> None:
    await trio.sleep_forever()


async def test_the_text_has_states_and_stacks() -> None:
    """S33: a task is called by its node's DN, or by its own name and that DN."""

    async def root() -> None:
        supervisor.run("busy", wait_in_nursery)
        await finish()

    async with open_supervisor(root) as tree:
        await tree.wait_settled()
        await wait_all_tasks_blocked()
        text = describe_tree(tree._port)
    lines = [line for line in text.splitlines() if not line.startswith(" " * 4)]
    assert re.fullmatch(r"root    DONE      0\.0 s", lines[1])
    assert re.fullmatch(r"  busy  HEALTHY   0\.0 s", lines[2])
    assert lines[0] == "2 nodes"
    tasks = [line for line in lines if line.startswith("task ")]
    name = f"{idle_task.__module__}.idle_task"
    assert tasks == ["task root.busy:", f"task {name}, of root.busy:"]


async def test_equal_stacks_are_shown_once() -> None:
    """S33: with how many tasks wait there."""

    async def root() -> None:
        for number in range(5):
            supervisor.run(f"n{number}", idle)
        await finish()

    async with open_supervisor(root) as tree:
        await tree.wait_settled()
        text = describe_tree(tree._port)
    assert "\ntask root.n0 and 4 more tasks:\n" in text
    assert text.count("task ") == 1


async def test_of_many_nodes_those_that_do_not_serve_are_drawn_first() -> None:
    """S33: each below those above it; the others are counted, by their states."""
    deaf = Remote()

    async def parent() -> None:
        for number in range(NODES_SHOWN):
            supervisor.run(f"n{number}", idle)
        supervisor.run("deaf", deaf, backoff=STEADY)
        await finish()

    async def root() -> None:
        for number in range(10):
            supervisor.run(f"a{number}", idle)
        supervisor.run("parent", parent)
        await finish()

    async with open_supervisor(root) as tree:
        await deaf.become_healthy()
        await deaf.die()
        await wait_all_tasks_blocked()
        text = describe_tree(tree._port)
        await tree.stop()
        text_at_the_end = describe_tree(tree._port)
    picture = text.partition("\ntask ")[0].splitlines()
    assert picture[0] == f"{NODES_SHOWN + 13} nodes"
    assert picture[-1] == "and 13 HEALTHY"
    drawn = [line.split()[0] for line in picture[1:-1]]
    assert len(drawn) == NODES_SHOWN
    # In the order of the tree, and all nodes but the last few.
    assert drawn[:12] == ["root", *(f"a{number}" for number in range(10)), "parent"]
    assert drawn[-1] == "deaf"
    assert "task " not in text_at_the_end


async def test_of_many_nodes_those_that_are_not_ready_are_drawn_first() -> None:
    """S33, S30: a node that has withdrawn its readiness does not serve."""

    async def withdraw() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.set_ready(False, "no broker")  # noqa: FBT003  it is what the function is for
        await trio.sleep_forever()

    async def root() -> None:
        for number in range(NODES_SHOWN):
            supervisor.run(f"n{number}", idle)
        supervisor.run("waiting", withdraw)
        await finish()

    async with open_supervisor(root) as tree:
        await tree.wait_settled()
        picture = describe_tree(tree._port).partition("\ntask ")[0].splitlines()
    assert picture[-2].endswith("not ready: no broker")
    assert picture[-1] == "and 2 HEALTHY"


async def test_a_chain_is_drawn_as_far_as_there_is_room() -> None:
    """S33: what does not serve may be deeper than so many nodes."""
    deep = Remote()

    async def level(number: int) -> None:
        if number == NODES_SHOWN + 10:
            await deep()
        else:
            supervisor.run("a", level, number + 1)
            await finish()

    async with open_supervisor(level, 0) as tree:
        await wait_all_tasks_blocked()
        picture = describe_tree(tree._port).partition("\ntask ")[0].splitlines()
        assert picture[-2].split()[3] == "NEW"
        assert picture[-1] == "and 11 DONE"
        assert len(picture) == NODES_SHOWN + 2
        await deep.become_healthy()
        await deep.be_done()
