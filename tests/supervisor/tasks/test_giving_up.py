"""What happens when a group would restart more often than its limit allows (S10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    GroupState,
    NodeState,
    RestartLimit,
    RestartLimitExceeded,
    Signal,
    open_supervisor,
    supervise,
)
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import DOUBLING
from ..helpers.runnables import finish, idle, start
from ..helpers.transitions import Transitions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

FIRST_DEATH = RestartLimit(0, within=1.0)


THIRD_DEATH = RestartLimit(2, within=100.0)


async def crash() -> None:
    raise OSError("crash")


async def test_group_without_a_limit_never_gives_up(autojump_clock: MockClock) -> None:
    """S10: by default a runnable that always crashes is started again for ever."""
    minutely = Backoff(initial=60.0, jitter=0.0)
    async with open_harness(start, supervisor.run, "child", crash, backoff=minutely) as tree:
        await trio.sleep(3600.0)
        await wait_all_tasks_blocked()
        child = tree.snapshot().nodes["root.child"]
        assert child.incarnation == child.group.failures == 61
        assert child.group.deadline == autojump_clock.current_time() + 60.0


@pytest.mark.parametrize("state", [NodeState.NEW, NodeState.HEALTHY, NodeState.DONE])
@pytest.mark.parametrize("siblings", [{}, {"sibling": idle}], ids=["alone", "in a group"])
async def test_parent_dies_when_a_group_gives_up(
    state: NodeState,
    siblings: dict[str, Callable[[], Awaitable[None]]],
    autojump_clock: MockClock,
) -> None:
    """S10: in any state; its other children are stopped, and it restarts."""
    transitions = Transitions()
    lived = [NodeState.NEW, NodeState.HEALTHY, NodeState.DONE]
    lived = lived[: lived.index(state) + 1]

    async def parent() -> None:
        supervisor.run("other", idle)
        supervisor.run("crash", crash, limit=THIRD_DEATH)
        if state is not NodeState.NEW:
            supervisor.signal(Signal.HEALTHY)
        if state is NodeState.DONE:
            supervisor.signal(Signal.DONE)
        else:
            await trio.sleep_forever()

    async def root() -> None:
        supervisor.run_group({"parent": parent, **siblings})

    async with open_harness(root, backoff=DOUBLING, metrics=transitions) as tree:
        await trio.sleep(2.5)  # one, and two more seconds of backoff: it crashes thrice
        assert transitions.of("root.parent") == lived
        await trio.sleep(1.0)
        nodes = tree.snapshot().nodes
        assert transitions.of("root.parent") == [*lived, NodeState.DEAD]
        (death,) = nodes["root.parent"].crashes
        assert death.error.startswith("RestartLimitExceeded: root.parent.crash gave up: 2 restarts")
        assert death.time == 3.0
        assert nodes["root.parent"].group.deadline == 4.0
        assert nodes["root.parent.crash"].group.state is GroupState.FAILED
        assert nodes["root.parent.crash"].incarnation == 3
        assert nodes["root.parent.other"].state is NodeState.CANCELED
        assert nodes["root.parent.other"].group.state is GroupState.STOPPED
        for name in siblings:
            assert nodes[f"root.{name}"].state is NodeState.CANCELED
        await trio.sleep_until(4.5)
        assert transitions.of("root.parent") == [*lived, NodeState.DEAD, *lived]
        assert autojump_clock.current_time() == 4.5


async def test_limit_at_the_root_leaves_supervise(autojump_clock: MockClock) -> None:
    """S10: the error names the group that gave up, and its deaths; the last one is its cause."""
    errors: list[OSError] = []

    async def root() -> None:
        errors.append(OSError(len(errors)))
        raise errors[-1]

    with pytest.raises(RestartLimitExceeded, match=r"^root gave up: 2 restarts") as caught:
        await supervise(root, backoff=DOUBLING, limit=THIRD_DEATH)
    exceeded = caught.value
    assert exceeded.dn == "root"
    assert exceeded.times == (0.0, 1.0, 3.0)
    assert exceeded.__cause__ is errors[2]
    assert [
        (cause.dn, cause.error, cause.time, cause.incarnation) for cause in exceeded.causes
    ] == [
        ("root", "OSError: 0", 0.0, 1),
        ("root", "OSError: 1", 1.0, 2),
        ("root", "OSError: 2", 3.0, 3),
    ]
    assert autojump_clock.current_time() == 3.0


async def test_limit_at_the_root_cancels_the_body() -> None:
    """S10: the body of open_supervisor() does not wait for a tree that has given up."""
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor(crash, limit=FIRST_DEATH):
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, OSError)


async def test_escalation_multiplies_at_each_level(autojump_clock: MockClock) -> None:
    """S10: each level restarts as often as its limit allows before the next one up does."""
    starts = []
    once = RestartLimit(1, within=1000.0)

    async def nest(*names: str) -> None:
        if not names:
            starts.append(autojump_clock.current_time())
            raise OSError("leaf")
        supervisor.run(names[0], nest, *names[1:], limit=once)
        await idle()

    with pytest.raises(RestartLimitExceeded) as caught:
        await supervise(nest, "a", "b", "c", backoff=DOUBLING, limit=once)
    assert starts == [float(second) for second in range(16)]
    chain: list[str] = []
    error: BaseException | None = caught.value
    while isinstance(error, RestartLimitExceeded):
        chain.append(error.dn)
        error = error.__cause__
    assert chain == ["root", "root.a", "root.a.b", "root.a.b.c"]
    assert repr(error) == "OSError('leaf')"


async def test_first_death_is_the_last_with_a_limit_of_zero(autojump_clock: MockClock) -> None:
    """S10: no restart is allowed, so there is no backoff either."""
    with pytest.raises(RestartLimitExceeded) as caught:
        await supervise(crash, backoff=DOUBLING, limit=FIRST_DEATH)
    assert caught.value.times == (0.0,)
    assert autojump_clock.current_time() == 0.0


async def test_only_deaths_within_the_window_add_up(autojump_clock: MockClock) -> None:
    """S10: the window slides, so two restarts within 10 s do not count against a later one."""
    uptimes = iter([1.0, 1.0, 20.0, 1.0, 1.0])

    async def root() -> None:
        await trio.sleep(next(uptimes))
        raise OSError("crash")

    with pytest.raises(RestartLimitExceeded) as caught:
        await supervise(root, backoff=Backoff(initial=0.0), limit=RestartLimit(2, within=10.0))
    assert caught.value.times == (22.0, 23.0, 24.0)
    assert autojump_clock.current_time() == 24.0


async def test_steady_deaths_outside_the_window_go_on_for_ever(autojump_clock: MockClock) -> None:
    """S10: with two restarts allowed within 10 s, a death every 6 s never exceeds the limit."""

    async def root() -> None:
        await trio.sleep(6.0)
        raise OSError("crash")

    with trio.move_on_after(3600.0) as hour:
        await supervise(root, backoff=Backoff(initial=0.0), limit=RestartLimit(2, within=10.0))
    assert hour.cancelled_caught
    assert autojump_clock.current_time() == 3600.0


async def test_restart_of_several_members_counts_once(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """S10: a limit is the group's, whichever member dies and however many restart."""
    members = {"a": Remote(), "b": Remote()}

    async def root() -> None:
        supervisor.run_group(members, limit=THIRD_DEATH)
        await idle()

    async def kill() -> None:
        for name in ("a", "b", "a"):
            await members[name].die()
            await wait_all_tasks_blocked()

    nursery.start_soon(kill)
    with pytest.raises(RestartLimitExceeded) as caught:
        await supervise(root, backoff=DOUBLING, limit=FIRST_DEATH)
    exceeded = caught.value.__cause__
    assert isinstance(exceeded, RestartLimitExceeded)
    assert exceeded.dn == "root.{a,b}"
    assert [cause.dn for cause in exceeded.causes] == ["root.a", "root.b", "root.a"]
    assert exceeded.times == (0.0, 1.0, 3.0)
    assert autojump_clock.current_time() == 3.0


async def test_failing_factory_counts_against_the_limit(autojump_clock: MockClock) -> None:
    """S10: a function that makes no runnables at a restart fails the group as a death does."""
    calls = 0

    def group() -> dict[str, Callable[[], Awaitable[None]]]:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError("no channels today")
        return {"a": crash, "b": idle}

    async def root() -> None:
        supervisor.run_group(group, limit=THIRD_DEATH)
        await idle()

    with pytest.raises(RestartLimitExceeded) as caught:
        await supervise(root, backoff=DOUBLING, limit=FIRST_DEATH)
    exceeded = caught.value.__cause__
    assert isinstance(exceeded, RestartLimitExceeded)
    assert repr(exceeded.__cause__) == "OSError('no channels today')"
    assert [(cause.dn, cause.error) for cause in exceeded.causes[1:]] == [
        ("root.{a,b}", "OSError: no channels today")
    ] * 2
    assert exceeded.times == (0.0, 1.0, 3.0)
    assert autojump_clock.current_time() == 3.0


async def return_politely() -> None:
    """Return, as a runnable may when it is asked to stop."""


@pytest.mark.parametrize(("ending", "stop_error"), [(crash, "crash"), (return_politely, None)])
async def test_parent_dies_of_the_limit_however_it_ends(
    ending: Callable[[], Awaitable[None]], stop_error: str | None, autojump_clock: MockClock
) -> None:
    """S10: what a parent raises when it is stopped for its child is kept as its stop error."""
    doomed = Remote()

    async def parent() -> None:
        supervisor.run("doomed", doomed, limit=FIRST_DEATH)
        try:
            await idle()
        except trio.Cancelled:
            await ending()

    async with open_harness(start, supervisor.run, "parent", parent, backoff=DOUBLING) as tree:
        await trio.sleep(1.0)
        await doomed.die()
        await wait_all_tasks_blocked()
        node = tree.snapshot().nodes["root.parent"]
        assert node.state is NodeState.DEAD
        (death,) = node.crashes
        assert death.error.startswith("RestartLimitExceeded: root.parent.doomed gave up")
        assert (None if node.stop_error is None else node.stop_error.error) == (
            stop_error and f"OSError: {stop_error}"
        )
        assert node.group.deadline == autojump_clock.current_time() + 1.0


async def test_second_group_that_gives_up_meanwhile_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    """S10: a parent that is being stopped for one group dies once, because of that one."""
    first, second = Remote(), Remote()
    slow = Remote()
    slow.stop_slowly(2.0)

    async def parent() -> None:
        supervisor.run("first", first, limit=FIRST_DEATH)
        supervisor.run("second", second, limit=FIRST_DEATH)
        await slow()

    async with open_harness(start, supervisor.run, "parent", parent, backoff=DOUBLING) as tree:
        await first.die()
        await trio.sleep(1.0)
        await second.die()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert nodes["root.parent"].state is NodeState.NEW
        for name in ("first", "second"):
            assert nodes[f"root.parent.{name}"].group.state is GroupState.FAILED
        await trio.sleep_until(2.5)
        parent_now = tree.snapshot().nodes["root.parent"]
        (death,) = parent_now.crashes
        assert death.error.startswith("RestartLimitExceeded: root.parent.first gave up")
        assert parent_now.group.failures == 1
        assert parent_now.group.deadline == 3.0
        assert autojump_clock.current_time() == 2.5


async def test_child_that_gives_up_when_its_parents_sibling_dies_is_no_second_failure() -> None:
    """S10: whichever of the two comes first, the parent's group restarts once."""
    doom = trio.Event()

    async def doomed() -> None:
        supervisor.signal(Signal.HEALTHY)
        await doom.wait()
        raise OSError("doom")

    async def parent() -> None:
        supervisor.run("child", doomed, limit=FIRST_DEATH)
        await idle()

    group = {"parent": parent, "sibling": doomed}
    async with open_harness(start, supervisor.run_group, group, backoff=DOUBLING) as tree:
        await tree.wait_settled()
        doom.set()
        await wait_all_tasks_blocked()
        nodes = tree.snapshot().nodes
        assert nodes["root.parent"].group.failures == 1
        deaths = [nodes[f"root.{name}"].state for name in group]
        assert set(deaths) == {NodeState.DEAD, NodeState.CANCELED}


async def test_stop_wins_over_a_limit_that_is_exceeded_afterwards() -> None:
    """S5: once the tree is being stopped, a child's error makes no group give up."""

    async def clumsy() -> None:
        try:
            await idle()
        finally:
            raise OSError("while stopping")

    async def parent() -> None:
        supervisor.run("clumsy", clumsy, limit=FIRST_DEATH)
        await idle()

    async with open_supervisor(parent, limit=FIRST_DEATH) as tree:
        await tree.wait_settled()
    nodes = tree.snapshot().nodes
    assert {node.state for node in nodes.values()} == {NodeState.CANCELED}
    assert nodes["root.clumsy"].stop_error is not None


async def test_a_child_that_gives_up_before_a_stop_leaves_a_stop_error(
    autojump_clock: MockClock,
) -> None:
    """S5, S10: a DONE parent that is stopped meanwhile keeps the error as its stop error."""
    dying, slow = Remote(), Remote()
    slow.stop_slowly(10.0)

    async def parent() -> None:
        supervisor.run("dying", dying, limit=RestartLimit(0, within=1.0))
        supervisor.run("slow", slow)
        await finish()

    async def root() -> None:
        supervisor.run("parent", parent)
        await finish()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        await dying.die()
        await trio.sleep(5.0)
        await tree.stop()
        assert autojump_clock.current_time() == 10.0
    node = tree.snapshot().nodes["root.parent"]
    assert (node.state, node.crashes) == (NodeState.DONE, ())
    assert node.stop_error is not None
    assert node.stop_error.error.startswith("RestartLimitExceeded: root.parent.dying gave up")
