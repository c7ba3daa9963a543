"""Waiting until a subtree is ready (S25)."""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, final

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, GaveUpError, NodeState, RestartLimit, RunError, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import STEADY
from ..helpers.runnables import finish, idle, start
from ..helpers.steps import count_steps
from ..helpers.traces import check_that_cancelling_leaves_nothing

if TYPE_CHECKING:
    import types
    from collections.abc import Awaitable, Callable, Sequence

    from supervisor import Handle, Pool, Supervisor


async def test_wait_ready_waits_through_restarts(autojump_clock: MockClock) -> None:
    """S25: it returns when all nodes are ready at the same time."""
    one, two = Remote(), Remote()

    async def root() -> None:
        supervisor.run("one", one)
        supervisor.run("two", two)

    returned: list[float] = []
    async with open_harness(root, backoff=STEADY) as tree, trio.open_nursery() as nursery:

        async def wait() -> None:
            await tree.wait_ready()
            returned.append(autojump_clock.current_time())

        for _ in range(3):
            nursery.start_soon(wait)
        for _ in range(2):
            await one.become_healthy()
            await one.die()
            await two.become_healthy()
            await two.die()
        await two.become_healthy()
        assert not returned
        await one.become_healthy()
        await wait_all_tasks_blocked()
        assert returned == [2.0] * 3
        with assert_checkpoints():
            await tree.wait_ready()


async def test_wait_ready_waits_for_a_node_that_does_not_exist_yet() -> None:
    """S25: such as a child of a pool."""
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async with open_harness(root) as tree, trio.open_nursery() as nursery:
        await tree.wait_settled()
        nursery.start_soon(tree.wait_ready, "root.pool.child")
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        pools[0].run("child", idle)
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks


@pytest.mark.parametrize("leave", ["stop", "finish"])
async def test_a_child_that_has_left_its_pool_is_not_waited_for(leave: str) -> None:
    """S25, S23: when the one that was not ready is removed, the rest is ready."""
    pools: list[Pool] = []
    leaf = Remote()

    async def child() -> None:
        supervisor.run("leaf", leaf)
        await finish()

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async with open_harness(root) as tree, trio.open_nursery() as nursery:
        await tree.wait_settled()
        pools[0].run("child", child)
        await wait_all_tasks_blocked()
        assert not tree.ready()
        nursery.start_soon(tree.wait_ready)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        if leave == "stop":
            await pools[0].stop("child")
        else:
            await leaf.become_healthy()
            await leaf.be_done()
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        assert tree.ready()
        assert "root.pool.child" not in tree.snapshot().nodes


async def test_a_member_that_was_dropped_is_not_waited_for() -> None:
    """S8, S25: nor is its start in an ordered group."""
    slow, first, dropped = Remote(), Remote(), Remote()
    members = [{"first": first, "dropped": dropped}, {"first": first}]

    async def root() -> None:
        supervisor.run("slow", slow)
        supervisor.run_group(lambda: members.pop(0), ordered=True, backoff=Backoff(initial=0.0))

    async with open_harness(root) as tree, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        nursery.start_soon(tree.wait_ready)
        await wait_all_tasks_blocked()
        for remote in (first, first):
            await remote.become_healthy()
            await wait_all_tasks_blocked()
            if members:
                await dropped.die()
                await wait_all_tasks_blocked()
        assert nursery.child_tasks
        await slow.become_healthy()
    assert dropped.incarnations == 1


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("moves", [0, 1])
async def test_a_cancelled_wait_leaves_nothing(
    autojump_clock: MockClock, *, dead: bool, moves: int
) -> None:
    """S25: whether it waits for a start or a restart, and whether it was woken before."""
    remote, other = Remote(), Remote()

    async def root() -> None:
        supervisor.run("node", remote)
        supervisor.run("other", other)

    async with open_harness(root, backoff=Backoff(initial=1000.0, maximum=1000.0)) as tree:
        if dead:
            await remote.die()
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(check_that_cancelling_leaves_nothing, tree.wait_ready, 1.0)
            await wait_all_tasks_blocked()
            for _ in range(moves):
                await other.become_healthy()
                await wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
    assert autojump_clock.current_time() == 1.0


async def test_a_wait_that_is_cancelled_at_once_leaves_nothing() -> None:
    """S25: in a scope that is cancelled already, even for a subtree that is ready."""
    async with open_harness(start, supervisor.run, "node", idle) as tree:
        await tree.wait_settled()
        await check_that_cancelling_leaves_nothing(tree.wait_ready, 0.0)


# The end of the tree


async def test_a_stop_ends_the_wait_at_once(autojump_clock: MockClock) -> None:
    """S25, S21: from the request on, also for a node that is NEW or does not exist."""
    times = []

    async def child() -> None:
        await supervisor.wait_stop_requested()
        await trio.sleep(2.0)

    async def root() -> None:
        supervisor.run("child", child, grace=5.0)
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(2.0)

    async def wait(tree: Supervisor, dn: str) -> None:
        with pytest.raises(GaveUpError, match=rf"^{dn} will not be ready: the tree is stopped"):
            await tree.wait_ready(dn)
        times.append(autojump_clock.current_time())

    async with (
        trio.open_nursery() as nursery,
        supervisor.open_supervisor(root, grace=5.0) as tree,
    ):
        nursery.start_soon(wait, tree, "root")
        nursery.start_soon(wait, tree, "root.child")
        nursery.start_soon(wait, tree, "root.other")
        await trio.sleep(1.0)
        assert times == []
        await tree.stop()
        assert times == [1.0, 1.0, 1.0]
        assert autojump_clock.current_time() == 5.0


async def test_the_end_of_the_tree_ends_the_wait() -> None:
    """S25, S13: in a finished tree all nodes are ready, but for those that do not exist."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("child", remote)
        await finish()

    async def wait() -> None:
        with pytest.raises(GaveUpError, match=r"^root\.other will not be ready: .* has ended$"):
            await tree.wait_ready("root.other")

    async with supervisor.open_supervisor(root) as tree, trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await remote.become_healthy()
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        await remote.be_done()
        await tree.wait_ready()
        await wait_all_tasks_blocked()
        await wait()


async def test_a_fatal_error_ends_the_wait(autojump_clock: MockClock) -> None:
    """S25, S11: a wait in another task ends at once, and not after slow ends."""
    leaver, slow = Remote(), Remote()
    slow.stop_slowly(10.0)
    trees: list[Supervisor] = []

    async def root() -> None:
        supervisor.run("leaver", leaver)
        supervisor.run("slow", slow)
        await finish()

    async def run() -> None:
        async with supervisor.open_supervisor(root) as tree:
            trees.append(tree)
            await trio.sleep_forever()

    async def expect() -> None:
        with pytest.raises(SystemExit):
            await run()
        assert autojump_clock.current_time() == 10.0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect)
        await leaver.become_healthy()
        nursery.start_soon(leaver.die, SystemExit())
        with pytest.raises(GaveUpError):
            await trees[0].wait_ready()
        assert autojump_clock.current_time() == 0.0


async def test_a_cancellation_from_outside_ends_the_wait_at_once(autojump_clock: MockClock) -> None:
    """S25, S12: a wait in another task does not last until a slow end."""
    slow = Remote()
    slow.stop_slowly(10.0)
    trees: list[Supervisor] = []

    async def run() -> None:
        with trio.move_on_after(1.0):
            async with supervisor.open_supervisor(slow) as tree:
                trees.append(tree)
                await trio.sleep_forever()
        assert autojump_clock.current_time() == 11.0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        with pytest.raises(GaveUpError):
            await trees[0].wait_ready()
        assert autojump_clock.current_time() == 1.0


# What a wait costs


async def test_a_wait_takes_no_steps_while_nothing_moves(autojump_clock: MockClock) -> None:
    """S25, S16: only transitions wake it, each at most once."""
    transitions = 0
    remotes = {f"node{number}": Remote() for number in range(50)}

    class Count:
        def notify_node_state(self, dn: str, state: NodeState) -> None:  # noqa: ARG002
            nonlocal transitions
            transitions += 1

        def notify_node_gone(self, dn: str) -> None:
            """Be of no interest here."""

    async def root() -> None:
        for name, remote in remotes.items():
            supervisor.run(name, remote)
        await idle()

    async with (
        supervisor.open_supervisor(root, metrics=Count(), report_after=None) as tree,
        trio.open_nursery() as nursery,
    ):
        await wait_all_tasks_blocked()
        nursery.start_soon(tree.wait_ready, name="whole")
        nursery.start_soon(tree.wait_ready, "root.nobody", name="never")
        await wait_all_tasks_blocked()
        before = transitions
        with count_steps() as steps:
            await trio.sleep(1000.0)
            assert steps == {}
            for remote in remotes.values():
                await remote.become_healthy()
                await trio.sleep(1000.0)
        assert steps["whole"] == steps["never"] == transitions - before == 50
        assert len(nursery.child_tasks) == 1
        nursery.cancel_scope.cancel()
    assert autojump_clock.current_time() == 51_000.0


PACKAGE = str(Path(supervisor.__file__).parent)


def calls_of_a_wait(members: int) -> int:
    """Count the calls of a wait for ``members`` that start one after the other."""
    calls = 0
    waiter: trio.lowlevel.Task | None = None

    async def root() -> None:
        supervisor.run_group({f"member{n}": idle for n in range(members)}, ordered=True)

    async def wait(tree: Supervisor) -> None:
        nonlocal waiter
        waiter = trio.lowlevel.current_task()
        await tree.wait_ready()
        waiter = None

    async def main() -> None:
        async with open_harness(root) as tree:
            await wait(tree)

    def profile(frame: types.FrameType, event: str, _: object) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls += waiter is not None and trio.lowlevel.current_task() is waiter

    sys.setprofile(profile)
    try:
        trio.run(main)
    finally:
        sys.setprofile(None)
    return calls


def test_a_wait_for_an_ordered_start_looks_at_each_node_a_few_times() -> None:
    """S25: it goes on from the node that it has waited for, not from the first one again."""
    assert calls_of_a_wait(400) < 20 * 400


def questions_of_a_wait(leaves: int) -> int:
    """Count how often a wait asks whether a node is ready, while 100 jobs come and go elsewhere."""
    questions = 0
    pool: Pool

    async def large() -> None:
        for number in range(leaves):
            supervisor.run(f"leaf{number}", idle)
        await idle()

    async def root() -> None:
        nonlocal pool
        supervisor.run("large", large)
        supervisor.run("missing", trio.sleep_forever)
        pool = supervisor.run_pool("jobs")

    def profile(frame: types.FrameType, event: str, _: object) -> None:
        nonlocal questions
        questions += event == "call" and frame.f_code.co_qualname == "Node.is_ready"

    async def main() -> None:
        async with open_harness(root) as tree, trio.open_nursery() as nursery:
            await wait_all_tasks_blocked()
            nursery.start_soon(tree.wait_ready)
            await wait_all_tasks_blocked()
            sys.setprofile(profile)
            for number in range(100):
                pool.run(f"job{number}", finish)
                await wait_all_tasks_blocked()
                assert len(pool) == 0
            sys.setprofile(None)
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    finally:
        sys.setprofile(None)
    return questions


def test_a_transition_costs_a_wait_the_same_in_a_large_tree() -> None:
    """S25: while one node is missed, a transition elsewhere makes no walk through the tree."""
    assert 0 < questions_of_a_wait(10) == questions_of_a_wait(300)


# No wake-up is lost


@final
class Puppet:
    """A runnable that does what it is told, right or wrong."""

    def __init__(self, children: Sequence[Callable[[], object]] = ()) -> None:
        self._children = children
        self._orders: trio.MemorySendChannel[Signal | None] | None = None

    async def __call__(self) -> None:
        self._orders, orders = trio.open_memory_channel[Signal | None](100)
        for start_child in self._children:
            start_child()
        async for order in orders:
            if order is None:
                raise OSError("as it was told")
            supervisor.signal(order)
            if order is Signal.DONE:
                return

    def order(self, order: Signal | None) -> None:
        """Give an order to the incarnation that runs, if one does."""
        if self._orders is not None:
            self._orders.send_nowait(order)


PUPPETS = ("above", "leaf", "first", "second", "third", "fourth", "child")


HANDLES = ("above", "leaf", "pair", "ordered")


DNS = (
    "root", "root.above", "root.above.leaf", "root.first", "root.second", "root.fourth",
    "root.pool", "root.pool.child",
)  # fmt: skip


# What happens to whom: an order, or a call of one of the handles or the pool.
ACTS = st.tuples(st.sampled_from(PUPPETS), st.sampled_from([*Signal, None])) | st.tuples(
    st.sampled_from(["stop", "restart"]), st.sampled_from(HANDLES)
)


ACTS |= st.sampled_from([("pool", "run"), ("pool", "stop"), ("sleep", "")])


async def play(acts: list[tuple[str, Signal | str | None]]) -> None:
    """Do what is asked for, and check that no task waits for a subtree that is ready."""
    handles: dict[str, Handle] = {}
    pools: list[Pool] = []
    puppets = {name: Puppet() for name in PUPPETS}

    def keep(name: str, run: Callable[[], Handle]) -> Callable[[], None]:
        return lambda: handles.update({name: run()})

    puppets["above"] = Puppet([keep("leaf", partial(supervisor.run, "leaf", puppets["leaf"]))])

    def members(*names: str) -> dict[str, Callable[[], Awaitable[None]]]:
        return {name: puppets[name] for name in names}

    async def root() -> None:
        keep("above", partial(supervisor.run, "above", puppets["above"]))()
        keep("pair", partial(supervisor.run_group, members("first", "second")))()
        ordered = members("third", "fourth")
        keep("ordered", partial(supervisor.run_group, ordered, ordered=True))()
        pools.append(supervisor.run_pool("pool"))

    async def call(function: Callable[[], Awaitable[None]]) -> None:
        with contextlib.suppress(GaveUpError):
            await function()

    async with open_harness(root, backoff=STEADY) as tree, trio.open_nursery() as nursery:
        pending: set[str] = set()

        async def wait(dn: str) -> None:
            await tree.wait_ready(dn)
            pending.remove(dn)

        for who, what in acts:
            for dn in set(DNS) - pending:
                pending.add(dn)
                nursery.start_soon(wait, dn)
            await wait_all_tasks_blocked()
            if who == "sleep":
                await trio.sleep(10.0)
            elif who == "pool":
                with contextlib.suppress(RunError, ValueError, LookupError):
                    if what == "run":
                        pools[0].run("child", puppets["child"], limit=RestartLimit(1, 100.0))
                    else:
                        await pools[0].stop("child")
            elif isinstance(what, str):
                handle = handles.get(what)
                if handle is not None:
                    nursery.start_soon(call, getattr(handle, who))
            else:
                assert what is None or isinstance(what, Signal)
                puppets[who].order(what)
            await wait_all_tasks_blocked()
            assert not {dn for dn in pending if tree.ready(dn)}
        nursery.cancel_scope.cancel()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(acts=st.lists(ACTS, min_size=1, max_size=30))
def test_no_wait_for_a_ready_subtree_lasts(acts: list[tuple[str, Signal | str | None]]) -> None:
    """S25: after any event in a tree, no task waits for a subtree that is ready."""
    trio.run(play, acts, clock=MockClock(autojump_threshold=0.0))
