"""How many nodes there are, and which are not ready, is known at each change (S16, S25)."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, Signal
from supervisor._calls._supervisor import port_of
from supervisor._core._events import NodeMoved
from supervisor._observing._census import Census
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import STEADY
from ..helpers.internals import Node
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor._core._events import Event
    from supervisor._core._tree import Node


def is_down(node: Node) -> bool:
    return node.death_history is not None and node.death_history.down_since is not None


async def test_a_census_agrees_with_a_walk_at_each_change(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S16: with groups in order and not, a pool, restarts, a stop, and withdrawn readiness."""

    async def parent() -> None:
        supervisor.run_group({"first": one, "second": idle}, ordered=True, backoff=STEADY)
        supervisor.run_group({"left": other, "right": idle}, backoff=STEADY)
        await waver()

    async def waver() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1)
        supervisor.set_ready(False, "no peer")  # noqa: FBT003  as users write it
        await trio.sleep(1)
        supervisor.set_ready(True)
        await trio.sleep(10)
        raise OSError

    async def root() -> None:
        supervisor.run("net", parent, backoff=STEADY)
        pools.append(supervisor.run_pool("pool"))

    one, other = Remote(), Remote()
    pools: list[supervisor.Pool] = []
    compared: list[tuple[object, object]] = []

    async def compare() -> None:
        while True:
            nodes = list(port.nodes())
            unready = {node for node in nodes if not node.is_ready}
            died = {node for node in nodes if is_down(node)}
            counted = (census.total, set(census.unready), set(census.died), census.is_ready)
            compared.append((counted, (len(nodes), unready, died, tree.ready())))
            await port.wait_changed()

    async with (
        trio.open_nursery() as nursery,
        open_harness(root, patience=60.0) as tree,
    ):
        port = port_of(tree)
        census = Census(port)
        port.add_observer(census.observe)
        nursery.start_soon(compare)
        for _ in range(2):  # the second time in another incarnation of the parent
            await wait_all_tasks_blocked()
            await one.become_healthy()
            await other.become_healthy()
            await tree.wait_ready()
            pools[0].run("child", idle)
            await one.die()
            await one.become_healthy()
            await pools[0].stop("child")
            await tree.stop_node("root.net.left")
            await wait_all_tasks_blocked()
            await trio.sleep(13)
        assert census.total == 7
        nursery.cancel_scope.cancel()
    assert [pair for pair in compared if pair[0] != pair[1]] == []
    assert len(compared) > 20


async def test_the_node_that_is_not_ready_for_the_longest_time_is_the_first(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S25: also when another one has become ready again meanwhile."""

    async def root() -> None:
        for name, remote in remotes.items():
            supervisor.run(name, remote, backoff=STEADY)

    remotes = {name: Remote() for name in ("a", "b", "c")}
    async with open_harness(root, patience=60.0) as tree:
        port = port_of(tree)
        census = Census(port)
        port.add_observer(census.observe)
        for remote in remotes.values():
            await remote.become_healthy()
        await tree.wait_ready()
        assert list(census.unready) == []
        for name in ("c", "a", "b"):
            await remotes[name].die()
            await trio.sleep(0.1)
        await wait_all_tasks_blocked()
        assert [node.name for node in census.unready] == ["c", "a", "b"]
        assert list(census.died) == list(census.unready) == list(Census(port).died)
        await remotes["c"].become_healthy()
        await remotes["c"].die()
        await wait_all_tasks_blocked()
        assert [node.name for node in census.unready] == ["a", "b", "c"]
        assert list(census.died) == list(census.unready)


async def test_each_member_of_an_ordered_group_is_looked_at_a_few_times() -> None:
    """S16, S41: a start of many members in order does not cost their square."""
    looks = 0

    @final
    class Members(tuple["Node", ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[Node]:
            nonlocal looks
            looks += 1
            return super().__iter__()

    async def root() -> None:
        supervisor.run_group({f"member{n}": idle for n in range(50)}, ordered=True)

    def keep(event: Event) -> None:
        if isinstance(event, NodeMoved) and event.state is NodeState.NEW:
            events.append(event)

    events: list[NodeMoved] = []
    async with open_harness(root) as tree:
        port = port_of(tree)
        port.add_observer(keep)
        await tree.wait_ready()
        group = events[0].node.group
        assert [event.node for event in events] == list(group.members)
        census = Census(port)
        group.members = Members(group.members)
        for event in events:
            census.observe(event)
        assert looks == 2  # once for how many there are, and once for those that are not ready
        assert census.total == 51
