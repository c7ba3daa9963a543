"""Which runnable a call comes from: its own tasks and threads, and those left behind (S1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, NotSupervisedError, Signal, StaleRunnableError
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.runnables import idle, start

# Those that ask who is calling, and those that change the tree as well.
ASKING: dict[str, Callable[[], object]] = {
    "current_dn": supervisor.current_dn,
    "logger": supervisor.logger,
    "sub_logger": partial(supervisor.sub_logger, "wire"),
    # It calls logger() for its caller.
    "logger of raw_logger": supervisor.raw_logger,
}


ACTING: dict[str, Callable[[], object]] = {
    "run": partial(supervisor.run, "child", idle),
    "run_group": partial(supervisor.run_group, {"child": idle}),
    "signal": partial(supervisor.signal, Signal.HEALTHY),
}


PUBLIC = {**ASKING, **ACTING}


each_function = pytest.mark.parametrize("name", PUBLIC)


def refusal(name: str) -> str:
    return rf"^supervisor\.{name.partition(' ')[0]}\(\) was called "


@each_function
def test_outside_of_trio_no_call_is_supervised(name: str) -> None:
    """S1: NotSupervisedError, a RuntimeError, names the function and the remedy."""
    with pytest.raises(RuntimeError, match=refusal(name) + "outside of a runnable: call it") as it:
        PUBLIC[name]()
    assert type(it.value) is NotSupervisedError


@each_function
async def test_a_task_outside_of_the_tree_is_not_supervised(name: str) -> None:
    """S1: also when a tree runs beside it."""
    async with open_harness(idle) as tree:
        await tree.wait_settled()
        with pytest.raises(NotSupervisedError, match=refusal(name) + "outside of a runnable"):
            PUBLIC[name]()


async def test_the_root_is_called_root_and_children_by_their_path() -> None:
    """S1: a DN is the dotted path from the root."""
    found: list[str] = []

    async def nest(levels: int) -> None:
        found.append(supervisor.current_dn())
        if levels:
            supervisor.run(f"level_{levels}", nest, levels - 1)
        await idle()

    async with open_harness(nest, 2) as tree:
        await tree.wait_settled()
    assert found == ["root", "root.level_2", "root.level_2.level_1"]


async def test_tasks_in_a_runnables_nurseries_are_the_runnable() -> None:
    """S1: the caller is found in the nurseries that a runnable opens, at any depth."""
    found: list[str] = []
    states: list[NodeState] = []

    async def task(levels: int) -> None:
        found.append(supervisor.current_dn())
        if levels:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task, levels - 1)
        else:
            supervisor.run("leaf", idle)
            supervisor.signal(Signal.HEALTHY)

    async def child() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task, 2)
            nursery.start_soon(trio.sleep_forever)

    async with open_harness(start, supervisor.run, "child", child) as tree:
        await tree.wait_settled()
        nodes = tree.snapshot().nodes
        states += [nodes["root.child"].state, nodes["root.child.leaf"].state]
    assert found == ["root.child"] * 3
    assert states == [NodeState.HEALTHY] * 2


@pytest.mark.parametrize("name", ASKING)
async def test_a_worker_thread_is_the_runnable(name: str) -> None:
    """S1: a worker of trio.to_thread finds DN and loggers of the runnable that started it."""
    found: list[object] = []

    async def root() -> None:
        found.append(ASKING[name]())
        found.append(await trio.to_thread.run_sync(ASKING[name]))
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_settled()
    here, there = found
    if isinstance(here, supervisor.RawLogger):
        assert isinstance(there, supervisor.RawLogger)
    else:
        assert here == there


@pytest.mark.parametrize("name", ACTING)
async def test_a_worker_thread_cannot_change_the_tree(name: str) -> None:
    """S1: run, run_group and signal belong into Trio's thread; the error names from_thread."""
    message = (
        r"in another thread than that of root: "
        rf"call trio\.from_thread\.run_sync\(supervisor\.{name}, \.\.\.\)"
    )

    def work() -> None:
        with pytest.raises(NotSupervisedError, match=refusal(name) + message):
            ACTING[name]()
        trio.from_thread.run_sync(ACTING[name])

    async def root() -> None:
        await trio.to_thread.run_sync(work)
        if name != "signal":
            supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        nodes = tree.snapshot().nodes
        assert nodes["root"].state is NodeState.HEALTHY
        assert ("root.child" in nodes) is (name != "signal")


async def test_a_run_of_trio_in_a_worker_thread_cannot_change_the_tree_outside() -> None:
    """S1: it is another thread, although Trio runs in it."""
    refused = trio.Event()

    async def main() -> None:
        assert supervisor.current_dn() == "root"
        with pytest.raises(NotSupervisedError, match="in another thread than that of root"):
            supervisor.signal(Signal.HEALTHY)

    async def root() -> None:
        await trio.to_thread.run_sync(trio.run, main)
        refused.set()
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_settled()
        assert refused.is_set()


class Escape:
    """A runnable that leaves a task behind, in a nursery that is not its own."""

    def __init__(self, foreign: trio.Nursery, remote: Remote) -> None:
        self._foreign = foreign
        self._remote = remote
        self._call = trio.Event()
        self._called = trio.Event()
        self.errors: dict[str, str] = {}

    async def __call__(self) -> None:
        if self._remote.incarnations == 0:
            self._foreign.start_soon(self._left_behind)
        await self._remote()

    async def _left_behind(self) -> None:
        await self._call.wait()
        for name, function in PUBLIC.items():
            with pytest.raises(StaleRunnableError, match=refusal(name)) as caught:
                function()
            self.errors[name] = str(caught.value)
        self._called.set()

    async def call(self) -> None:
        """Have the task call each public function."""
        self._call.set()
        await self._called.wait()


async def test_a_task_that_escaped_is_stale_when_its_incarnation_is_dead() -> None:
    """S1: StaleRunnableError from each function, and nothing changes, while the group waits."""
    async with trio.open_nursery() as foreign:
        remote = Remote()
        escape = Escape(foreign, remote)
        async with open_harness(start, supervisor.run, "child", escape, backoff=LONG) as tree:
            await remote.become_healthy()
            await remote.die()
            await wait_all_tasks_blocked()
            before = tree.snapshot().nodes
            await escape.call()
            assert tree.snapshot().nodes == before
    message = "incarnation 1 of root.child, which has ended: keep the tasks of a runnable in"
    assert all(message in error for error in escape.errors.values())


async def test_a_task_that_escaped_is_stale_while_children_of_the_dead_end() -> None:
    """S1: a runnable that has died can't act, although its incarnation has not ended."""
    async with trio.open_nursery() as foreign:
        remote, leaf = Remote(), Remote()
        escape = Escape(foreign, remote)

        async def parent() -> None:
            supervisor.run("leaf", leaf)
            await escape()

        async with open_harness(start, supervisor.run, "parent", parent) as tree:
            await leaf.become_healthy()
            leaf.hang()
            await remote.die()
            await wait_all_tasks_blocked()
            before = tree.snapshot().nodes
            assert before["root.parent"].state is NodeState.DEAD
            await escape.call()
            assert tree.snapshot().nodes == before
            leaf.release()


async def test_a_task_that_escaped_cannot_act_for_the_next_incarnation() -> None:
    """S1: it is refused after a restart too, and the new incarnation does not change."""
    async with trio.open_nursery() as foreign:
        remote = Remote()
        escape = Escape(foreign, remote)
        async with open_harness(start, supervisor.run, "child", escape, backoff=AT_ONCE) as tree:
            await remote.become_healthy()
            await remote.die()
            await wait_all_tasks_blocked()
            assert remote.running == 1
            before = tree.snapshot().nodes
            await escape.call()
            assert tree.snapshot().nodes == before
            assert before["root.child"].state is NodeState.NEW
            await remote.become_healthy()  # it is not HEALTHY already
    message = "an earlier incarnation of root.child: keep the tasks of a runnable in nurseries"
    assert all(message in error for error in escape.errors.values())


async def test_a_task_that_escaped_from_a_finished_runnable_is_stale() -> None:
    """S1: a DONE incarnation without children has ended as well."""
    async with trio.open_nursery() as foreign:
        remote = Remote()
        escape = Escape(foreign, remote)
        async with open_harness(start, supervisor.run, "child", escape) as tree:
            await remote.become_healthy()
            await remote.be_done()
            await wait_all_tasks_blocked()
            before = tree.snapshot().nodes
            assert before["root.child"].state is NodeState.DONE
            await escape.call()
            assert tree.snapshot().nodes == before


async def test_a_task_that_escaped_is_stale_when_its_tree_is_gone() -> None:
    """S1: after supervise() has returned nothing can be done to its tree."""
    async with trio.open_nursery() as foreign:
        remote = Remote()
        escape = Escape(foreign, remote)
        async with open_harness(start, supervisor.run, "child", escape) as tree:
            await remote.become_healthy()
        before = tree.snapshot().nodes
        await escape.call()
        assert tree.snapshot().nodes == before


async def test_two_trees_side_by_side_are_independent() -> None:
    """S1: a death in one tree is nothing to the other, which has nodes of the same names."""
    one, other = Remote(), Remote()
    async with (
        open_harness(start, supervisor.run, "child", one, backoff=LONG) as first,
        open_harness(start, supervisor.run, "child", other, backoff=LONG) as second,
    ):
        await one.become_healthy()
        await other.become_healthy()
        await one.die()
        await wait_all_tasks_blocked()
        assert first.snapshot().nodes["root.child"].state is NodeState.DEAD
        assert second.snapshot().nodes["root.child"].state is NodeState.HEALTHY
        assert other.incarnations == 1


async def test_a_tree_inside_of_a_runnable_is_a_tree_of_its_own() -> None:
    """S1: inside, the caller is a node of the inner tree; after it, one of the outer again."""
    found: list[str] = []

    async def inner() -> None:
        found.append(supervisor.current_dn())
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def child() -> None:
        await supervisor.supervise(inner)
        found.append(supervisor.current_dn())
        await idle()

    async with open_harness(start, supervisor.run, "child", child) as tree:
        await tree.wait_settled()
        assert tree.snapshot().nodes.keys() == {"root", "root.child"}
    assert found == ["root", "root.child"]


async def test_the_failure_of_an_inner_tree_is_a_death_in_the_outer() -> None:
    """S1: what leaves the inner supervise() is raised in the runnable that awaits it."""

    async def inner() -> NoReturn:
        raise ValueError("broken")

    limit = supervisor.RestartLimit(0, within=1.0)
    child = partial(supervisor.supervise, inner, limit=limit)
    async with open_harness(start, supervisor.run, "child", child, backoff=LONG) as tree:
        await tree.wait_settled()
        (crash,) = tree.snapshot().nodes["root.child"].crashes
        assert crash.error.startswith("RestartLimitExceeded: root gave up")


async def test_a_stop_of_the_outer_tree_ends_the_inner() -> None:
    """S1: the inner tree ends with the runnable it runs in."""
    leaf = Remote()

    async def inner() -> None:
        supervisor.run("leaf", leaf)
        await idle()

    async with open_harness(start, supervisor.run, "child", supervisor.supervise, inner):
        await leaf.become_healthy()
        assert leaf.running == 1
    assert leaf.running == 0
