"""Faults in users' code that the machinery itself calls: handlers, metrics, exceptions, random."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import NoReturn

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, NodeState, Signal
from supervisor.testing import Remote, RemoteDeathError, open_harness

AT_ONCE = Backoff(initial=0.0)


async def start(run: Callable[..., object], *args: object) -> None:
    """Be a root that starts what is passed, and is healthy."""
    run(*args)
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def crash() -> NoReturn:
    raise ValueError("a mistake")


# Logging


def refuse(_: logging.LogRecord) -> NoReturn:
    raise OSError("no space left")


class Refusing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        refuse(record)


@pytest.fixture(params=["handler", "filter"])
def refusing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let all logging about the node root.child, and about the package, fail."""
    loggers = [logging.getLogger(name) for name in ("supervisor", "supervisor.node.root.child")]
    handler = Refusing()
    for logger in loggers:
        if request.param == "handler":
            logger.addHandler(handler)
        else:
            logger.addFilter(refuse)
    yield
    for logger in loggers:
        logger.removeHandler(handler)
        logger.removeFilter(refuse)


@pytest.mark.usefixtures("refusing")
async def test_a_death_that_cannot_be_logged_is_a_death_like_any_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S17: its group restarts, and standard error says what could not be logged, and why."""
    remote = Remote()
    group = {"child": remote, "other": idle}
    async with open_harness(start, supervisor.run_group, group, backoff=AT_ONCE) as tree:
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
        await tree.wait_ready()
        assert tree.snapshot().nodes["root.other"].incarnation == 2
    errors = capsys.readouterr().err
    assert "OSError: no space left\n" in errors
    assert "supervisor.node.root.child could not log this: root.child died" in errors


@pytest.mark.usefixtures("refusing")
async def test_a_report_that_cannot_be_logged_harms_nothing(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """S18: a stuck node is waited for all the same, and what it raises at last is kept."""

    async def child() -> None:
        try:
            await idle()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(8.0)
            raise ValueError("at last")

    async with supervisor.open_supervisor(start, supervisor.run, "child", child) as tree:
        await tree.wait_settled()
        await tree.stop()
        assert autojump_clock.current_time() == 8.0
    (stop_error,) = [node.stop_error for node in tree.snapshot().nodes.values() if node.stop_error]
    assert stop_error.error == "ValueError: at last"
    errors = capsys.readouterr().err
    assert "could not log this: root.child has not ended 5 s after" in errors
    assert "could not log this: root.child was asked to stop and raised" in errors


@pytest.mark.usefixtures("refusing")
async def test_metrics_that_raise_into_a_broken_log_harm_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S16: not even where neither the failure nor the metrics' own repr() can be shown."""

    class Broken:
        def __repr__(self) -> NoReturn:
            raise OSError("no repr")

        def notify_node_state(self, dn: str, state: NodeState) -> NoReturn:
            raise ValueError(dn, state)

        def notify_node_gone(self, dn: str) -> NoReturn:
            raise ValueError(dn)

    async with open_harness(start, supervisor.run, "child", idle, metrics=Broken()) as tree:
        await tree.wait_ready()
    assert "no space left" in capsys.readouterr().err


# Metrics, exceptions, the random source


@attrs.frozen
class LeavingMetrics:
    """Leaves when root.child gets into ``at``."""

    at: NodeState

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        if dn == "root.child" and state is self.at:
            raise SystemExit(7)

    def notify_node_gone(self, dn: str) -> None:
        if self.at is NodeState.DONE:
            raise SystemExit(7, dn)


@pytest.mark.parametrize("state", [NodeState.NEW, NodeState.HEALTHY, NodeState.DEAD])
async def test_what_metrics_raise_that_is_no_exception_leaves(state: NodeState) -> None:
    """S11: it leaves supervise() as it is, from whatever transition, when all tasks are gone."""
    remote = Remote()

    async def script() -> None:
        await remote.become_healthy()
        await remote.die()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(script)
        with pytest.raises(SystemExit) as caught:
            await supervisor.supervise(
                start, supervisor.run, "child", remote, metrics=LeavingMetrics(state)
            )
        assert caught.value.code == 7
        assert remote.running == 0
        nursery.cancel_scope.cancel()


async def test_what_metrics_raise_at_the_first_transition_leaves() -> None:
    """S11: from the making of the tree on; nothing is started."""

    class Unwilling:
        def notify_node_state(self, dn: str, state: NodeState) -> None:
            if state is NodeState.NEW:
                raise SystemExit(dn)

        def notify_node_gone(self, dn: str) -> None:
            raise SystemExit(dn)

    remote = Remote()
    with pytest.raises(SystemExit, match=r"^root$"):
        await supervisor.supervise(remote, metrics=Unwilling())
    assert remote.incarnations == 0


async def test_what_metrics_raise_at_a_vanishing_leaves() -> None:
    """S11: as at a transition."""
    remote = Remote()

    async def parent() -> None:
        supervisor.run("below", idle)
        await remote()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.die)
        with pytest.raises(SystemExit):
            await supervisor.supervise(
                start,
                supervisor.run,
                "child",
                parent,
                metrics=LeavingMetrics(NodeState.DONE),
                backoff=AT_ONCE,
            )
        assert remote.running == 0


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):  # noqa: N818  its name is of no account
    """Takes no notes."""


async def test_metrics_may_look_at_the_tree() -> None:
    """S16: a snapshot that is taken in a notification shows what it tells, and all else."""
    trees: list[supervisor.Supervisor] = []
    seen = []

    class Looking:
        def notify_node_state(self, dn: str, state: NodeState) -> None:
            for tree in trees:
                nodes = tree.snapshot().nodes
                assert nodes[dn].state is state
                seen.append((dn, len(nodes), tree.ready()))

        def notify_node_gone(self, dn: str) -> None:
            seen.append((dn, 0, trees[0].ready()))

    remote = Remote()

    async def parent() -> None:
        supervisor.run("child", idle)
        await remote()

    async with open_harness(
        start, supervisor.run, "parent", parent, metrics=Looking(), backoff=AT_ONCE
    ) as tree:
        trees.append(tree)
        await remote.become_healthy()
        await tree.wait_ready()
        await remote.die()
        await wait_all_tasks_blocked()
        assert ("root.parent.child", 0, False) in seen
        trees.clear()
    assert ("root.parent.child", 3, True) in seen
    assert ("root.parent", 3, False) in seen


async def test_an_exception_that_takes_no_note_propagates_without() -> None:
    """S15: a frozen exception is the one that leaves, and not what its freezing raises."""

    async def root() -> None:
        raise Frozen

    with pytest.raises(Frozen):
        await supervisor.supervise(root, propagate=True)


class Whole(BaseExceptionGroup[BaseException]):
    """A group that does not let itself be taken apart."""

    def derive(self, _: object) -> NoReturn:
        raise ValueError("indivisible")


async def test_a_group_that_cannot_be_split_leaves_whole() -> None:
    """S11: where the fatal part can't be told from the rest, nothing of it is swallowed."""
    whole = Whole("mixture", [ValueError("a mistake"), KeyboardInterrupt()])

    async def child() -> None:
        raise whole

    with pytest.raises(Whole) as caught:
        await supervisor.supervise(start, supervisor.run, "child", child)
    assert caught.value is whole


def broken() -> NoReturn:
    raise ZeroDivisionError


async def test_a_broken_random_source_ends_the_tree(autojump_clock: MockClock) -> None:
    """S9: its error leaves supervise() when all tasks are gone, those that end slowly too."""
    remote, slow = Remote(), Remote()
    slow.stop_slowly(100.0)

    async def root() -> None:
        supervisor.run("child", remote, backoff=Backoff(random=broken))
        supervisor.run("slow", slow)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.die)
        with pytest.raises(ZeroDivisionError):
            await supervisor.supervise(root)
        assert autojump_clock.current_time() == 100.0
        assert slow.running == 0


async def test_a_random_source_that_breaks_after_a_factory_ends_the_tree() -> None:
    """S8, S9: the failure of a group's function asks for a delay as a death does."""
    draws, runnables = [0.0], [{"child": crash}]

    with pytest.raises(IndexError):
        await supervisor.supervise(
            start,
            supervisor.run_group,
            runnables.pop,
            backoff=Backoff(initial=0.0, random=draws.pop),
        )


class Exiting(logging.Handler):
    """Ends the process at the first error, as some services want it."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            raise SystemExit(7)


@pytest.mark.parametrize("late", [False, True])
def test_a_handler_that_exits_ends_the_tree(*, late: bool) -> None:
    """S11: SystemExit leaves supervise(), raised by a handler at a death or at a stop."""

    async def leaf() -> None:
        supervisor.signal(Signal.HEALTHY)
        if late:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("at last")
        raise ValueError("a mistake")

    async def middle() -> None:
        supervisor.run("leaf", leaf)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1.0)
        if late:
            raise RemoteDeathError
        await trio.sleep_forever()

    async def main() -> None:
        with trio.fail_after(100.0):
            await supervisor.supervise(start, supervisor.run, "middle", middle)

    handler = Exiting()
    # What is below is stopped before its parent's death is logged to this.
    name = "supervisor.node.root.middle.leaf"
    logging.getLogger(name).addHandler(handler)
    try:
        with pytest.raises(SystemExit) as caught:
            trio.run(main, clock=MockClock(autojump_threshold=0.0))
    finally:
        logging.getLogger(name).removeHandler(handler)
    assert caught.value.code == 7


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_random_source_out_of_its_range_is_refused(share: float) -> None:
    """S9: a delay is never negative and never above the maximum; the error names the source."""
    backoff = Backoff(random=lambda: share)
    with pytest.raises(ValueError, match=rf"random=<function .* returned {share}, which is not"):
        backoff.delay(1)


async def test_a_random_source_out_of_its_range_ends_the_tree() -> None:
    """S9, S11: nobody can know when to restart; the tree ends, and says why."""
    with pytest.raises(ValueError, match=r"returned -1\.0, which is not"), trio.fail_after(5.0):
        await supervisor.supervise(
            start, supervisor.run, "child", crash, backoff=Backoff(random=lambda: -1.0)
        )


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.filterwarnings("ignore::trio.TrioDeprecationWarning")
def test_what_leaves_the_tree_is_not_lost_beside_what_the_body_raises(*, strict: bool) -> None:
    """S11: both leave in a group, however Trio runs."""

    async def root() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(5)

    async def main() -> None:
        async with supervisor.open_supervisor(root):
            await wait_all_tasks_blocked()
            raise ValueError("body")

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main, strict_exception_groups=strict)
    assert {type(error) for error in caught.value.exceptions} == {SystemExit, ValueError}
