"""One line says why a node is not ready (S25)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import RestartPolicy, Signal
from supervisor._calls._supervisor import port_of
from supervisor._observing._reasons import unready_line
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import LONG, STEADY
from ..helpers.runnables import hold_on, idle, root_of_group

if TYPE_CHECKING:
    from supervisor import Supervisor


def line(tree: Supervisor, dn: str, *, brief: bool = False) -> str:
    port = port_of(tree)
    path = port.path(dn)
    assert path is not None
    assert not path[-1].is_ready
    return unready_line(path[-1], port.time(), brief=brief)


async def die() -> None:
    """Die three seconds after the start."""
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep(3)
    msg = "no lease\nfrom anybody: \x1b[31m"
    raise OSError(msg)


async def never() -> None:
    await trio.sleep_forever()


tree_of = partial(root_of_group, STEADY)


async def test_a_death_has_its_error_and_when_the_group_restarts(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S25: what comes from outside is one line of printable text, and no error is another's."""
    async with open_harness(tree_of(dhcp=die, dns=idle), patience=60.0) as tree:
        await trio.sleep(3.25)
        assert line(tree, "root.dhcp") == (
            "root.dhcp DEAD, restarts in 0.8 s: OSError: no lease from anybody: \\x1b[31m"
        )
        assert line(tree, "root.dhcp", brief=True) == "root.dhcp DEAD, restarts in 1 s (OSError)"
        assert line(tree, "root.dns") == "root.dns CANCELED, restarts in 0.8 s"


async def test_a_group_that_is_being_stopped_is_told(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S25: of the member that has ended, and of the one that has not."""
    async with open_harness(tree_of(dhcp=die, slow=hold_on), patience=120.0) as tree:
        await trio.sleep(4)
        assert line(tree, "root.dhcp", brief=True) == (
            "root.dhcp DEAD, its group is being stopped (OSError)"
        )
        assert line(tree, "root.slow") == "root.slow HEALTHY, is being stopped"


async def test_a_node_that_starts_anew_keeps_its_error_until_it_is_healthy(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S25: with the number of its run."""
    one = Remote()
    async with open_harness(tree_of(one=one), patience=60.0) as tree:
        await wait_all_tasks_blocked()
        assert line(tree, "root.one") == "root.one NEW"
        await one.die(OSError("no lease"))
        await trio.sleep(2)
        assert line(tree, "root.one") == "root.one NEW in run 2: OSError: no lease"
        await one.become_healthy()
        await tree.stop_node("root.one")
        assert line(tree, "root.one") == "root.one CANCELED, stopped until it is restarted"


async def test_what_is_not_restarted_says_so(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S25, S26: by its policy."""

    async def root() -> None:
        supervisor.run("job", die, restart=RestartPolicy.NEVER)
        supervisor.run("other", idle)

    async with open_harness(root, patience=60.0) as tree:
        await trio.sleep(4)
        assert line(tree, "root.job", brief=True) == "root.job DEAD, not restarted (OSError)"


async def test_a_member_that_waits_for_its_turn_has_not_started(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S20, S25: in an ordered group, also in a later round."""

    async def root() -> None:
        supervisor.run_group({"first": one, "second": idle}, ordered=True, backoff=LONG)

    one = Remote()
    async with open_harness(root, patience=60.0) as tree:
        await wait_all_tasks_blocked()
        assert line(tree, "root.second") == "root.second not started"
        await one.become_healthy()
        await tree.wait_ready()
        await one.die()
        await trio.sleep(1001)
        assert line(tree, "root.second") == "root.second not started"


async def test_readiness_that_was_withdrawn_has_its_reason(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S25, S30: that of set_ready()."""

    async def unready() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.set_ready(False, "no peer")  # noqa: FBT003  as users write it
        await trio.sleep_forever()

    async with open_harness(tree_of(peer=unready), patience=60.0) as tree:
        await wait_all_tasks_blocked()
        assert line(tree, "root.peer") == "root.peer HEALTHY, not ready: no peer"


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_the_end_of_the_tree_is_told(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    *,
    is_cancelled: bool,
) -> None:
    """S25, S33: in the drain, in the stop, and when it was cancelled."""

    async def root() -> None:
        supervisor.run("slow", hold_on)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        port = port_of(tree)
        port.begin_drain("a test")
        assert line(tree, "root.slow") == "root.slow HEALTHY, the tree will be stopped"
        if is_cancelled:
            port.cancel("a test")
        else:
            tree.request_stop("a test")
        await trio.sleep(2)
        assert line(tree, "root.slow") == "root.slow HEALTHY, is being stopped"
        assert line(tree, "root") == "root CANCELED, its group is being stopped"
