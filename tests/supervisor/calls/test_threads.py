"""Other threads and other runs of Trio: what acts is refused there, and what shows works."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, NotSupervisedError, Signal
from supervisor.testing import Remote, open_harness


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


@attrs.frozen
class Parts:
    """What of a tree can be passed around."""

    tree: supervisor.Supervisor
    handle: supervisor.Handle
    pool: supervisor.Pool


# What acts or waits: how the error names it, what it says to call, and the call.
ACTS: dict[str, tuple[str, Callable[[Parts], object]]] = {
    "wait_healthy() of the handle root.child": (
        "trio.from_thread.run(handle.wait_healthy, ...)",
        lambda parts: parts.handle.wait_healthy(),
    ),
    "stop() of the handle root.child": (
        "trio.from_thread.run(handle.stop, ...)",
        lambda parts: parts.handle.stop(),
    ),
    "restart() of the handle root.child": (
        "trio.from_thread.run(handle.restart, ...)",
        lambda parts: parts.handle.restart(),
    ),
    "run() of the pool root.pool": (
        "trio.from_thread.run_sync(pool.run, ...)",
        lambda parts: parts.pool.run("other", idle),
    ),
    "stop() of the pool root.pool": (
        "trio.from_thread.run(pool.stop, ...)",
        lambda parts: parts.pool.stop("child"),
    ),
    "wait_healthy() of the pool root.pool": (
        "trio.from_thread.run(pool.wait_healthy, ...)",
        lambda parts: parts.pool.wait_healthy(),
    ),
    "wait_for_slot() of the pool root.pool": (
        "trio.from_thread.run(pool.wait_for_slot, ...)",
        lambda parts: parts.pool.wait_for_slot(),
    ),
    "drain() of the pool root.pool": (
        "trio.from_thread.run(pool.drain, ...)",
        lambda parts: parts.pool.drain(),
    ),
    "close() of the pool root.pool": (
        "trio.from_thread.run_sync(pool.close, ...)",
        lambda parts: parts.pool.close(),
    ),
    "wait_ended() of the handle root.child": (
        "trio.from_thread.run(handle.wait_ended, ...)",
        lambda parts: parts.handle.wait_ended(),
    ),
    "restart() of the tree root": (
        "trio.from_thread.run(tree.restart, ...)",
        lambda parts: parts.tree.restart("root.child"),
    ),
    "stop_node() of the tree root": (
        "trio.from_thread.run(tree.stop_node, ...)",
        lambda parts: parts.tree.stop_node("root.child"),
    ),
    "wait_finished() of the tree root": (
        "trio.from_thread.run(tree.wait_finished, ...)",
        lambda parts: parts.tree.wait_finished(),
    ),
    "stop() of the tree root": (
        "trio.from_thread.run(tree.stop, ...)",
        lambda parts: parts.tree.stop(),
    ),
    "wait_settled() of the tree root": (
        "trio.from_thread.run(tree.wait_settled, ...)",
        lambda parts: parts.tree.wait_settled(),
    ),
    "wait_ready() of the tree root": (
        "trio.from_thread.run(tree.wait_ready, ...)",
        lambda parts: parts.tree.wait_ready("root.child"),
    ),
}
each_act = pytest.mark.parametrize("act", ACTS)


def without_trio(call: Callable[[], object]) -> None:
    """Call a function, and take the first step of it if it is async."""
    result = call()
    if inspect.iscoroutine(result):
        result.send(None)


async def with_trio(call: Callable[[], object]) -> None:
    """Call a function, and await it if it is async."""
    result = call()
    if isinstance(result, Awaitable):
        await result


def in_trio(call: Callable[[], object]) -> None:
    """Call a function in a run of Trio of its own."""
    trio.run(with_trio, call)


each_place = pytest.mark.parametrize("place", [without_trio, in_trio])


async def with_parts(use: Callable[[Parts], Awaitable[None]]) -> Parts:
    """Run a tree, use its parts, and return them when it has ended."""
    handles: list[supervisor.Handle] = []
    pools: list[supervisor.Pool] = []

    async def root() -> None:
        handles.append(supervisor.run("child", idle))
        pools.append(supervisor.run_pool("pool"))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        pools[0].run("child", idle)
        await tree.wait_settled()
        parts = Parts(tree, handles[0], pools[0])
        await use(parts)
    return parts


def shown(parts: Parts) -> tuple[object, ...]:
    """Return what can be read of a tree."""
    return (
        parts.handle.dn,
        parts.handle.state,
        repr(parts.handle),
        parts.pool.dn,
        parts.pool.state,
        len(parts.pool),
        repr(parts.pool),
        repr(parts.tree),
        parts.tree.state,
        parts.pool.statistics(),
        parts.tree.ready(),
        parts.tree.ready("root.pool.child"),
        parts.tree.snapshot().nodes,
    )


@each_place
@each_act
async def test_what_acts_is_refused_in_another_thread(
    act: str, place: Callable[[Callable[[], object]], None]
) -> None:
    """S1, S19, S21, S23: nothing has changed, and the error says how to call it from there."""
    remedy, call = ACTS[act]

    async def use(parts: Parts) -> None:
        before = shown(parts)
        with pytest.raises(NotSupervisedError) as caught:
            await trio.to_thread.run_sync(place, partial(call, parts))
        assert str(caught.value).startswith(f"{act} was called in another thread than that of root")
        assert str(caught.value).endswith(f": call {remedy}")
        await wait_all_tasks_blocked()
        assert shown(parts) == before
        await parts.handle.restart()
        await parts.tree.wait_ready()

    await with_parts(use)


@each_place
@each_act
def test_what_acts_is_refused_when_the_run_of_the_tree_is_over(
    act: str, place: Callable[[Callable[[], object]], None]
) -> None:
    """S1, S19, S21, S23: in no run and in the next one the error says that the tree has ended."""

    async def use(_: Parts) -> None:
        """Leave it to the end."""

    parts = trio.run(with_parts, use)
    _, call = ACTS[act]
    with pytest.raises(NotSupervisedError, match=r"outside of the run of Trio .* that tree has en"):
        place(partial(call, parts))
    assert all(node.crashes == () for node in parts.tree.snapshot().nodes.values())


# Nothing in these tests lets them return.
ENDLESS = {
    "drain() of the pool root.pool",
    "wait_ended() of the handle root.child",
    "wait_finished() of the tree root",
}


@pytest.mark.parametrize("act", [act for act in ACTS if act not in ENDLESS])
async def test_the_remedy_that_the_error_names_works(act: str) -> None:
    """S1, S19, S21, S23: through trio.from_thread it acts in the tree's thread."""
    _, call = ACTS[act]

    async def use(parts: Parts) -> None:
        await trio.to_thread.run_sync(trio.from_thread.run, with_trio, partial(call, parts))

    await with_parts(use)


async def test_waiting_for_a_stop_request_is_refused_in_another_thread() -> None:
    """S1, S21: the error names the function of from_thread that takes async functions."""
    message = r"call trio\.from_thread\.run\(supervisor\.wait_stop_requested, \.\.\.\)$"
    refused: list[NotSupervisedError] = []

    async def root() -> None:
        with pytest.raises(NotSupervisedError, match=message) as caught:
            await trio.to_thread.run_sync(in_trio, supervisor.wait_stop_requested)
        refused.append(caught.value)
        await idle()

    async with open_harness(root) as tree:
        await tree.wait_ready()
    assert len(refused) == 1


# What shows


async def test_all_that_shows_a_tree_works_in_any_thread() -> None:
    """S16, S19, S23, S25: it shows the same as in the tree's own."""

    async def use(parts: Parts) -> None:
        here = shown(parts)
        assert await trio.to_thread.run_sync(shown, parts) == here

    await with_parts(use)


def test_all_that_shows_a_tree_works_after_its_end() -> None:
    """S16, S19, S23, S25: it shows what the tree has ended with."""

    async def use(_: Parts) -> None:
        """Leave it to the end."""

    parts = trio.run(with_parts, use)
    handle_dn, *_, ready, child_ready, nodes = shown(parts)
    assert (handle_dn, ready, child_ready) == ("root.child", False, False)
    assert list(nodes) == ["root", "root.child", "root.pool", "root.pool.child"]  # type: ignore[call-overload]
    assert parts.tree.snapshot().nodes["root.child"].state is NodeState.CANCELED


def test_the_time_of_a_snapshot_is_that_in_the_tree() -> None:
    """S16: on the clock of its run, whatever thread asks; after its end it is the time of that."""

    async def main() -> supervisor.Supervisor:
        async with supervisor.open_supervisor(idle, report_after=None) as tree:
            await trio.sleep(3.0)
            times = [tree.snapshot().time, (await trio.to_thread.run_sync(tree.snapshot)).time]
            assert times == [3.0, 3.0]
        await trio.sleep(5.0)
        assert tree.snapshot().time == 3.0
        return tree

    tree = trio.run(main, clock=MockClock(rate=0.0, autojump_threshold=0.0))
    assert tree.snapshot().time == 3.0
    assert str(tree.snapshot()) == "root  CANCELED  0.0 s  group STOPPED"


async def test_a_walk_goes_on_when_the_tree_changes_meanwhile() -> None:
    """S16: as it may in another thread."""

    async def use(parts: Parts) -> None:
        walk = parts.tree._port.nodes()
        met = [next(walk).name, next(walk).name]
        await parts.pool.stop("child")
        parts.pool.run("later", idle)
        assert [*met, *(node.name for node in walk)] == ["root", "child", "pool", "later"]

    await with_parts(use)


# For tests


async def obey(remote: Remote, *calls: Callable[[], object]) -> None:
    async with open_harness(remote) as tree:
        await remote.become_healthy()
        for call in calls:
            with pytest.raises(NotSupervisedError, match=r"of <Remote, .* in another thread than"):
                await trio.to_thread.run_sync(without_trio, call)
            with pytest.raises(NotSupervisedError, match=r"of <Remote, .* in another thread than"):
                await trio.to_thread.run_sync(in_trio, call)
        assert tree.ready()


def test_a_remote_obeys_one_run_of_trio_at_a_time() -> None:
    """S1: in another one each command is an error, until the first is over."""
    remote = Remote()
    calls = [remote.become_healthy, remote.be_done, remote.die, remote.hang, remote.release]
    remote.hang()
    remote.release()
    trio.run(obey, remote, *calls)
    trio.run(obey, remote, *calls)


async def test_a_remote_runs_in_one_run_of_trio_at_a_time() -> None:
    """S1: as a runnable of a tree elsewhere it dies at once."""
    remote = Remote()
    async with open_harness(remote):
        await remote.become_healthy()
        again = partial(supervisor.supervise, remote, propagate=True)
        with pytest.raises(NotSupervisedError, match=r"^__call__\(\) of <Remote"):
            await trio.to_thread.run_sync(in_trio, again)
        assert remote.incarnations == 1


@pytest.mark.parametrize("operation", ["wait_healthy", "wait_for_slot"])
async def test_who_waits_elsewhere_for_a_pool_to_start_is_refused_when_it_does(
    operation: str,
) -> None:
    """S1, S23: the pool, and those who wait in its own run, go on."""
    pool = supervisor.Pool()
    waiting, passed, refused = trio.Event(), trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def wait_there() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(getattr(pool, operation))
            await wait_all_tasks_blocked()
            token.run_sync_soon(waiting.set)

    async def wait_in_thread() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await trio.to_thread.run_sync(trio.run, wait_there)
        (error,) = caught.value.exceptions
        assert isinstance(error, NotSupervisedError)
        assert f"{operation}() of the pool root.pool was called in another thread" in str(error)
        refused.set()

    async def wait_here() -> None:
        await getattr(pool, operation)()
        passed.set()

    async def root() -> None:
        supervisor.run_group({"pool": pool})
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_thread)
        nursery.start_soon(wait_here)
        await waiting.wait()
        async with open_harness(root) as tree:
            await tree.wait_ready()
            await passed.wait()
            await refused.wait()
            assert tree.snapshot().nodes["root.pool"].crashes == ()


async def test_a_pool_starts_after_a_run_that_has_waited_for_it() -> None:
    """S23: the wait has ended with its run."""
    pool = supervisor.Pool()

    async def wait_there() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.wait_healthy)
                await wait_all_tasks_blocked()
                scope.cancel()

    await trio.to_thread.run_sync(trio.run, wait_there)
    async with open_harness(pool) as tree:
        await tree.wait_ready()
