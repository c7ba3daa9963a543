"""One sentence says why a node is as it is, and names the culprit."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import RestartPolicy, Signal
from supervisor._calls._supervisor import port_of
from supervisor.inspector._api import _find_unready
from supervisor.inspector._why import why
from supervisor.testing import open_harness

from ..helpers.backoffs import STEADY
from ..helpers.runnables import hold_on, idle, root_of_group

if TYPE_CHECKING:
    from supervisor import Supervisor


async def explained(tree: Supervisor, dn: str) -> str:
    port = port_of(tree)
    path = port.path(dn)
    assert path is not None
    sentence = why(port, path[-1], await _find_unready(path[-1]))
    return re.sub(r"[^ ]*/(\w+\.py):\d+", r"\1:LINE", sentence)


async def die() -> None:
    """Die three seconds after the start."""
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep(3)
    msg = "no lease"
    raise OSError(msg)


async def wait_in_setup() -> None:
    await trio.sleep_forever()


tree_of = partial(root_of_group, STEADY)


async def test_a_member_is_explained_by_the_one_that_died(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: its group's culprit is named, and when the group restarts."""
    async with open_harness(tree_of(dhcp=die, dns=idle), patience=60.0) as tree:
        await trio.sleep(3.1)
        assert await explained(tree, "root.dns") == (
            "root.dns is CANCELED since its group's root.dhcp died 0.1 s ago (OSError: no lease); "
            "the group restarts in 0.9 s"
        )
        assert await explained(tree, "root.dhcp") == (
            "root.dhcp died 0.1 s ago (OSError: no lease); the group restarts in 0.9 s"
        )


async def test_a_node_above_is_explained_by_the_one_below(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: it is HEALTHY itself, and not ready."""
    async with open_harness(tree_of(dhcp=die), patience=60.0) as tree:
        await trio.sleep(3.1)
        assert await explained(tree, "root") == (
            "root is DONE, but below it, "
            "root.dhcp died 0.1 s ago (OSError: no lease); the group restarts in 0.9 s"
        )


async def test_a_restart_that_hangs_is_explained_by_what_still_runs(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: with the time since it was asked to stop, and the line where it waits."""
    async with open_harness(tree_of(dhcp=die, slow=hold_on), patience=60.0) as tree:
        await trio.sleep(13)
        remains = (
            "; root.slow still runs, 10.0 s after it was asked to stop, and waits at "
            "runnables.py:LINE in hold_on"
        )
        assert await explained(tree, "root.dhcp") == (
            f"root.dhcp died 10.0 s ago (OSError: no lease){remains}"
        )
        assert await explained(tree, "root.slow") == (
            "root.slow is HEALTHY, and is being stopped since its group's root.dhcp died 10.0 s "
            f"ago (OSError: no lease){remains}"
        )


async def test_a_node_that_is_new_is_explained_by_where_it_waits(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: a start that hangs has no other culprit."""
    async with open_harness(tree_of(setup=wait_in_setup), patience=60.0) as tree:
        await trio.sleep(70)
        assert await explained(tree, "root.setup") == (
            "root.setup is NEW for 1 min 10 s, and waits at test_why.py:LINE in wait_in_setup"
        )


async def test_an_operator_is_named(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: who stopped it, and that it stays so."""
    async with open_harness(tree_of(one=idle, two=idle), patience=60.0) as tree:
        await wait_all_tasks_blocked()
        await tree.stop_node("root.one")
        assert await explained(tree, "root.two") == (
            "root.two is CANCELED since its group was stopped on demand; "
            "the group stays stopped until it is restarted"
        )


async def test_a_child_is_explained_by_what_its_parent_ended_of(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: the way goes up the tree."""

    async def parent() -> None:
        supervisor.run("child", idle)
        await die()

    async with open_harness(tree_of(net=parent, other=idle), patience=60.0) as tree:
        await trio.sleep(3.1)
        assert await explained(tree, "root.net.child") == (
            "root.net.child is CANCELED since root.net died 0.1 s ago (OSError: no lease); "
            "the group is stopped for good"
        )


async def test_a_group_that_is_not_restarted_says_why(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: its policy, or its limit."""

    async def root() -> None:
        supervisor.run("job", die, restart=RestartPolicy.NEVER)
        supervisor.run("other", idle)

    async with open_harness(root, patience=60.0) as tree:
        await trio.sleep(4)
        sentence = await explained(tree, "root.job")
        assert sentence.startswith(
            "root.job died 1.0 s ago (OSError: no lease); the group is not restarted: "
        )


async def test_a_member_that_waits_for_its_turn_names_the_one_before(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: in an ordered group."""

    async def root() -> None:
        supervisor.run_group({"first": wait_in_setup, "second": idle}, ordered=True)

    async with open_harness(root, patience=60.0) as tree:
        await trio.sleep(2)
        assert await explained(tree, "root.second") == (
            "root.second waits for its turn, and root.first is NEW for 2.0 s, "
            "and waits at test_why.py:LINE in wait_in_setup"
        )


async def test_readiness_that_was_withdrawn_has_its_reason(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: that of set_ready()."""

    async def unready() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.set_ready(False, "no peer")  # noqa: FBT003  as users write it
        await trio.sleep_forever()

    async with open_harness(tree_of(peer=unready), patience=60.0) as tree:
        await wait_all_tasks_blocked()
        assert await explained(tree, "root.peer") == (
            "root.peer is HEALTHY, and is not ready: no peer"
        )


async def test_a_node_that_works_says_since_when(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: and how it died last, if it did."""
    async with open_harness(tree_of(dhcp=die, dns=idle), patience=60.0) as tree:
        await trio.sleep(1)
        assert await explained(tree, "root.dns") == "root.dns is HEALTHY for 1.0 s"
        await trio.sleep(4)
        assert await explained(tree, "root.dhcp") == (
            "root.dhcp is HEALTHY for 1.0 s in run 2; it died 2.0 s ago (OSError: no lease)"
        )


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_the_end_of_the_tree_is_named(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    *,
    is_cancelled: bool,
) -> None:
    """S37: a stop in order, and a cancellation."""

    async def root() -> None:
        supervisor.run("slow", hold_on)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        if is_cancelled:
            port_of(tree).cancel("a test")
        else:
            tree.request_stop("a test")
        await trio.sleep(2)
        sentence = await explained(tree, "root")
        cause = (
            "the tree was cancelled"
            if is_cancelled
            else "the tree is being stopped, which began 2.0 s ago"
        )
        assert sentence.startswith(f"root is CANCELED since {cause}; root.slow still runs")
