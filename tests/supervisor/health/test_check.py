"""What probes are answered about a tree."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import (
    Backoff,
    InvalidNameError,
    NotSupervisedError,
    RestartLimit,
    RestartPolicy,
    Signal,
)
from supervisor.health import Check, check
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG, STEADY
from ..helpers.runnables import finish, idle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor import Pool, Supervisor
    from supervisor.tree_events import Event


def lines(tree: Supervisor, kind: Any = "ready", *gate: str) -> list[str]:  # noqa: ANN401  a literal
    """Ask a probe, and return all lines but the last, which is checked."""
    found = check(tree, kind, gate=gate)
    *rest, verdict, end = found.text.split("\n")
    page = {"live": "livez", "ready": "readyz", "startup": "startupz"}[kind]
    assert (verdict, end) == (f"{page} check {'passed' if found.ok else 'failed'}", "")
    assert found.ok == all(line.startswith("[+]") for line in rest)
    return rest


# What is ready


async def test_a_tree_that_is_ready_is_well() -> None:
    """S41: in the format of Kubernetes."""
    async with open_harness(finish) as tree:
        await tree.wait_ready()
        assert check(tree, "live") == Check(ok=True, text="[+]loop ok\nlivez check passed\n")
        assert check(tree, "ready") == Check(ok=True, text="[+]root ok\nreadyz check passed\n")
        assert lines(tree, "startup") == ["[+]root ok"]


async def test_a_dead_node_is_named_with_its_error(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41: and with when it restarts; the process lives."""
    remote = Remote()
    backoff = Backoff(initial=5.0, jitter=0.0)

    async def net() -> None:
        supervisor.run("dhcp", remote, backoff=backoff)
        supervisor.run("dns", idle)
        await idle()

    async def root() -> None:
        supervisor.run("net", net)

    async with open_harness(root) as tree:
        await remote.become_healthy()
        await tree.wait_ready()
        assert lines(tree) == ["[+]root ok"]
        await remote.die(OSError("no\x1b lease\nhere"))
        await trio.sleep(1.8)
        assert lines(tree) == [
            "[-]root.net.dhcp DEAD, restarts in 3.2 s: OSError: no\\x1b lease here"
        ]
        assert lines(tree, "live") == ["[+]loop ok"]
        await trio.sleep(3.4)
        assert lines(tree) == ["[-]root.net.dhcp NEW in run 2: OSError: no\\x1b lease here"]
        await remote.become_healthy()
        await wait_all_tasks_blocked()
        assert lines(tree) == ["[+]root ok"]


async def test_a_node_says_why_it_is_not_ready() -> None:
    """S41, S30: in its own words."""
    pause, resume = trio.Event(), trio.Event()

    async def worker() -> None:
        supervisor.signal(Signal.HEALTHY)
        await pause.wait()
        supervisor.set_ready(False, "the queue is full")  # noqa: FBT003  it is what the function is for
        await resume.wait()
        supervisor.set_ready(True)
        await trio.sleep_forever()

    async with open_harness(partial(start_all, worker=worker)) as tree:
        await tree.wait_ready()
        assert lines(tree) == ["[+]root ok"]
        pause.set()
        await wait_all_tasks_blocked()
        assert lines(tree) == ["[-]root.worker HEALTHY, not ready: the queue is full"]
        resume.set()
        await wait_all_tasks_blocked()
        assert lines(tree) == ["[+]root ok"]


async def start_all(**runnables: Callable[[], Awaitable[object]]) -> None:
    for name, runnable in runnables.items():
        supervisor.run(name, runnable, backoff=STEADY)


async def test_members_of_a_group_have_a_line_each(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41: those that stop with the dead one, and those that wait for their turn."""
    remote = Remote()

    async def root() -> None:
        supervisor.run_group(
            {"one": idle, "two": remote, "three": idle}, ordered=True, backoff=STEADY
        )

    async with open_harness(root) as tree:
        await trio.sleep(2)
        assert lines(tree) == ["[-]root.two NEW", "[-]root.three not started"]
        await remote.die(OSError())
        await wait_all_tasks_blocked()
        assert lines(tree) == [
            "[-]root.two DEAD, restarts in 1.0 s: OSError",
            "[-]root.three not started, restarts in 1.0 s",
            "[-]root.one CANCELED, restarts in 1.0 s",
        ]


async def test_a_group_that_is_being_stopped_says_so(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41: one that is held, too."""

    async def slow() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(5)

    async def root() -> None:
        supervisor.run("slow", slow, grace=10)

    async with open_harness(root, patience=60.0) as tree, trio.open_nursery() as nursery:
        await tree.wait_ready()
        nursery.start_soon(tree.stop_node, "root.slow")
        await wait_all_tasks_blocked()
        assert lines(tree) == ["[-]root.slow HEALTHY, is being stopped"]
        await trio.sleep(6)
        assert lines(tree) == ["[-]root.slow CANCELED, stopped until it is restarted"]
        told: list[list[str]] = []

        def tell(_: Event) -> None:
            told.append(lines(tree))

        tree.add_observer(tell)
        await tree.restart("root.slow")
        await tree.wait_ready()
        assert told == [
            ["[-]root.slow NEW in run 2"],
            ["[-]root.slow NEW in run 2"],
            ["[+]root ok"],
        ]


async def test_a_group_that_gives_up_says_so(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41: by its policy, or with its parent."""

    async def parent() -> None:
        supervisor.run("child", die, limit=RestartLimit(0, within=1.0))
        supervisor.run("other", idle)
        await idle()

    async def root() -> None:
        supervisor.run("never", die, restart=RestartPolicy.NEVER)
        supervisor.run("parent", parent, backoff=STEADY)

    async with open_harness(root) as tree:
        await wait_all_tasks_blocked()
        found = sorted(lines(tree))
        assert [line.partition(": ")[0] for line in found] == [
            "[-]root.never DEAD, not restarted",
            "[-]root.parent DEAD, restarts in 1.0 s",
            "[-]root.parent.child DEAD, not restarted",
            "[-]root.parent.other CANCELED, stopped for good",
        ]


async def die() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.lowlevel.checkpoint()
    raise OSError


# The gate


async def test_a_gate_has_to_be_ready_and_nothing_else(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41: its DNs in order, what is wrong first."""
    async with open_harness(partial(start_all, one=idle, two=idle, three=die)) as tree:
        await wait_all_tasks_blocked()
        assert lines(tree, "ready", "root.one", "root.two") == ["[+]root.one ok", "[+]root.two ok"]
        assert lines(tree, "ready", "root.one", "root.three", "root.one") == [
            "[-]root.three DEAD, restarts in 1.0 s: OSError",
            "[+]root.one ok",
        ]
        assert lines(tree, "ready", "root.three", "root") == [
            "[-]root.three DEAD, restarts in 1.0 s: OSError"
        ]


async def test_a_node_that_is_not_there_is_not_ready() -> None:
    """S41: it is named, with what there is; it may come."""
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("jobs"))

    async with open_harness(root) as tree:
        await tree.wait_ready()
        for kind in ("ready", "startup"):
            assert lines(tree, kind, "root.jobs.a", "root.x") == [
                "[-]root.jobs.a is not there: root.jobs has no children",
                "[-]root.x is not there: root has jobs",
            ]
        pools[0].run("a", idle)
        await wait_all_tasks_blocked()
        assert lines(tree, "ready", "root.jobs.a") == ["[+]root.jobs.a ok"]


async def test_a_node_that_is_not_there_is_told_with_the_oldest_that_are() -> None:
    """S41: a probe does not sort all children of a large pool each time."""
    remotes = {f"n{number}": idle for number in range(99, 9, -1)}
    async with open_harness(partial(start_all, **remotes)) as tree:
        await tree.wait_ready()
        (line,) = lines(tree, "ready", "root.x")
        names = ", ".join(f"n{number}" for number in range(80, 100))
        assert line == f"[-]root.x is not there: root has {names} and 70 more"


async def test_what_is_below_a_node_that_stops_is_not_ready(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41, S25: the node above is named."""

    async def net() -> None:
        supervisor.run("dhcp", idle)
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(5)

    async def root() -> None:
        supervisor.run("net", net, grace=10)

    async with open_harness(root) as tree, trio.open_nursery() as nursery:
        await tree.wait_ready()
        assert lines(tree, "ready", "root.net.dhcp") == ["[+]root.net.dhcp ok"]
        nursery.start_soon(tree.stop_node, "root.net")
        await wait_all_tasks_blocked()
        assert lines(tree, "ready", "root.net.dhcp") == ["[-]root.net HEALTHY, is being stopped"]


async def test_an_answer_agrees_with_ready_wherever_the_tree_is() -> None:
    """S41, S25: through deaths, stops, restarts and children that come and go."""
    remotes = [Remote() for _ in range(3)]
    pools: list[Pool] = []
    dns = ("root", "root.a", "root.a.b", "root.a.c", "root.pool", "root.pool.job", "root.d")

    async def inner() -> None:
        supervisor.run_group({"b": remotes[1], "c": idle}, ordered=True, backoff=AT_ONCE)
        await remotes[0]()

    async def root() -> None:
        supervisor.run("a", inner, backoff=AT_ONCE)
        supervisor.run("d", remotes[2], restart=RestartPolicy.NEVER)
        pools.append(supervisor.run_pool("pool"))

    async with open_harness(root) as tree:

        async def compare() -> None:
            await wait_all_tasks_blocked()
            for dn in dns:
                assert check(tree, "ready", gate=[dn]).ok == tree.ready(dn), dn

        await compare()
        for step in (
            remotes[0].become_healthy,
            remotes[1].become_healthy,
            remotes[2].become_healthy,
            remotes[1].die,
            remotes[1].become_healthy,
            remotes[0].die,
            remotes[0].become_healthy,
            remotes[1].become_healthy,
            partial(tree.stop_node, "root.a.c"),
            partial(tree.stop_node, "root.a"),
            remotes[2].die,
            partial(tree.restart, "root.a"),
            remotes[0].become_healthy,
            remotes[1].become_healthy,
            partial(tree.restart, "root.d"),
            remotes[2].become_healthy,
        ):
            await step()
            await compare()
        job = Remote()
        pools[0].run("job", job)
        await compare()
        await job.become_healthy()
        await compare()
        assert tree.ready()
        await job.die()
        await compare()
        assert tree.ready()
        tree._port.begin_drain("a test")
        await compare()


# Starting


async def test_a_start_is_over_once() -> None:
    """S41: it is well from then on, whatever dies."""
    remote = Remote()
    async with open_harness(partial(start_all, worker=remote)) as tree:
        await wait_all_tasks_blocked()
        assert lines(tree, "startup") == ["[-]root.worker NEW"]
        await remote.become_healthy()
        assert lines(tree, "startup") == ["[+]root ok"]
        await remote.die()
        await wait_all_tasks_blocked()
        assert not tree.ready()
        assert lines(tree, "startup") == ["[+]root ok"]
        tree._port.begin_drain("a test")
        assert lines(tree, "startup") == ["[+]root ok"]


async def test_a_start_that_is_over_between_two_questions_is_seen() -> None:
    """S41: also of a node that was not there at the first one."""
    remote = Remote()
    pools: list[Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("jobs"))

    async with open_harness(root) as tree:
        await tree.wait_ready()
        assert not check(tree, "startup", gate=["root.jobs.a"]).ok
        pools[0].run("a", remote)
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        assert lines(tree, "startup", "root.jobs.a") == ["[+]root.jobs.a ok"]
        assert not check(tree, "ready", gate=["root.jobs.a"]).ok


# The end


async def test_nothing_is_ready_in_the_drain_and_the_stop(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41, S25: one line says so, whatever else is not ready."""

    async def slow() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        await trio.sleep(2)

    async def root() -> None:
        supervisor.run("slow", slow, grace=10)
        supervisor.run("dead", die, backoff=LONG)

    async with open_harness(root) as tree, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        assert len(lines(tree)) == 1
        tree._port.begin_drain("a test")
        assert lines(tree) == ["[-]root will be stopped"]
        nursery.start_soon(tree.stop)
        await wait_all_tasks_blocked()
        assert lines(tree) == ["[-]root is being stopped"]
        assert lines(tree, "ready", "root.slow") == ["[-]root.slow is being stopped"]
        assert lines(tree, "startup") == ["[-]root is being stopped"]
        assert lines(tree, "live") == ["[+]loop ok"]
        await trio.sleep(3)
        assert lines(tree) == ["[-]root has ended"]


# Bounds


async def test_an_answer_has_at_most_100_lines() -> None:
    """S41: those that are left out are counted."""
    remotes = {f"n{number}": Remote() for number in range(250)}
    async with open_harness(partial(start_all, **remotes, well=idle)) as tree:
        await wait_all_tasks_blocked()
        found = lines(tree, "ready", "root", "root.well", "root.x")
        assert len(found) == 99
        assert found[0].startswith("[-]root.x is not there: root has ")
        assert found[1] == "[-]root.n0 NEW"
        assert found[97] == "[-]root.n96 NEW"
        assert found[98] == "[-]and 153 more nodes are not ready"
        for remote in list(remotes.values())[:151]:
            await remote.become_healthy()
        found = lines(tree, "ready", "root", "root.well")
        assert len(found) == 99
        assert found[98] == "[-]root.n249 NEW"
        await remotes["n249"].become_healthy()
        assert lines(tree, "ready", "root", "root.well")[98] == "[+]root.well ok"


async def test_a_line_has_a_bounded_length() -> None:
    """S41: whatever an error, a reason or a DN says."""

    async def unready() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.set_ready(False, "full " * 9999)  # noqa: FBT003  it is what the function is for
        await trio.sleep_forever()

    async def dead() -> None:
        raise OSError("x" * 1_000_000)

    async def level(left: int) -> None:
        if left:
            supervisor.run(f"{left:0>64}", level, left - 1)
        else:
            await start_all(unready=unready, dead=dead)
        await idle()

    async with open_harness(level, 40) as tree:
        await wait_all_tasks_blocked()
        found = lines(tree, "ready", "root", f"root.{'.'.join(['x' * 64] * 40)}")
        assert len(found) == 3
        assert all(600 < len(line) < 1200 for line in found)


async def test_a_question_does_not_walk_through_the_tree() -> None:
    """S41: at 1000 nodes it takes as many calls as at 10."""

    async def calls(many: int) -> int:
        nodes = {f"n{number}": idle for number in range(many)}
        async with open_harness(partial(start_all, **nodes)) as tree:
            await tree.wait_ready()
            assert check(tree, "ready").ok
            return count_calls(partial(check, tree, "ready"))

    assert await calls(1000) == await calls(10)


def count_calls(function: Callable[[], object]) -> int:
    """Return how many functions a call enters."""
    entered = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal entered
        entered += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return entered


async def test_the_last_100_gates_are_followed() -> None:
    """S41: the one that was asked for longest ago makes room, and is right when asked again."""
    remote = Remote()
    async with open_harness(partial(start_all, worker=remote)) as tree:
        await remote.become_healthy()
        before = len(tree._tree._observers)
        assert check(tree, "startup", gate=["root.worker"]).ok
        assert check(tree, "startup").ok
        for number in range(98):
            assert not check(tree, "ready", gate=[f"root.x{number}"]).ok
        assert check(tree, "ready", gate=["root.worker"]).ok
        assert not check(tree, "ready", gate=["root.y"]).ok
        assert len(tree._tree._observers) == before + 100
        await remote.die()
        await wait_all_tasks_blocked()
        assert check(tree, "startup", gate=["root.worker"]).ok
        assert not check(tree, "startup").ok  # it was dropped for root.y
        assert not check(tree, "ready").ok


# Wrong questions


@pytest.mark.parametrize(
    ("kind", "gate", "error", "message"),
    [
        ("alive", (), ValueError, "kind='alive' is no kind of probe: pass 'live', "),
        (None, (), ValueError, "kind=None is no kind of probe"),
        (["ready"], (), ValueError, r"kind=\['ready'\] is no kind of probe"),
        ("ready", "root.api", TypeError, "gate='root.api' is no sequence of DNs: pass one, such"),
        ("ready", 3, TypeError, "gate=3 is no sequence of DNs"),
        ("live", ["api"], InvalidNameError, "dn='api' can be no node's"),
        ("ready", ["root", "root.A"], InvalidNameError, "dn='root.A' can be no node's"),
        ("ready", [None], InvalidNameError, "dn=None can be no node's"),
        ("ready", [f"root.n{i}" for i in range(51)], ValueError, "gate= has 51 DNs, and may have"),
    ],
)
async def test_a_wrong_question_is_refused(
    kind: Any,  # noqa: ANN401  it is wrong
    gate: Any,  # noqa: ANN401  as above
    error: type[Exception],
    message: str,
) -> None:
    """S41, S2: the error names what is wrong; nothing observes the tree."""
    async with open_harness(idle) as tree:
        before = tree._tree._observers
        with pytest.raises(error, match=message):
            check(tree, kind, gate=gate)
        assert tree._tree._observers == before


async def test_no_tree_is_refused() -> None:
    """S41, S2: the error says where to get one."""
    with pytest.raises(TypeError, match=r"tree=3 is not a Supervisor: .* current_supervisor\(\)"):
        check(3, "live")  # type: ignore[arg-type]  # it is wrong


async def test_another_thread_is_refused() -> None:
    """S41, S1: the error has the call that is right there."""
    async with open_harness(idle) as tree:
        message = r"supervisor.health.check\(\) was called in another thread than that of root: "
        with pytest.raises(NotSupervisedError, match=message):
            await trio.to_thread.run_sync(check, tree, "ready")


async def test_an_answer_is_frozen() -> None:
    """S41: it can be passed on."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Check(ok=True, text="").ok = False  # type: ignore[misc]  # it is wrong
