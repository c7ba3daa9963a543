"""Readiness that is withdrawn and given back by a healthy runnable (S30)."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import NodeState, Signal, SignalError, open_supervisor
from supervisor.testing import Remote

from ..helpers.loggers import of_package
from ..helpers.runnables import idle

REASON = "no connection to the broker"


def withdraw() -> None:
    supervisor.set_ready(False, REASON)  # noqa: FBT003  it is what the function is for


class Service:
    """A runnable that tests tell what to say."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[tuple[Any, ...]](100)

    async def __call__(self) -> None:
        supervisor.signal(Signal.HEALTHY)
        async for arguments in self.receive:
            supervisor.set_ready(*arguments)

    async def withdraw(self, reason: str) -> None:
        await self.send.send((False, reason))
        await wait_all_tasks_blocked()

    async def give_back(self) -> None:
        await self.send.send((True,))
        await wait_all_tasks_blocked()


async def test_a_node_that_is_not_ready_makes_its_ancestors_not_ready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S30, S25: any number of times; the node stays HEALTHY, and the reason is shown."""
    caplog.set_level(logging.INFO)
    service = Service()

    async def parent() -> None:
        supervisor.run("service", service)
        await idle()

    async def root() -> None:
        supervisor.run("parent", parent)
        supervisor.run("other", idle)
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_ready()
        for _ in range(3):
            await service.withdraw(REASON)
            ready = {dn: tree.ready(dn) for dn in tree.snapshot().nodes}
            assert ready == {
                "root": False,
                "root.parent": False,
                "root.parent.service": False,
                "root.other": True,
            }
            node = tree.snapshot().nodes["root.parent.service"]
            assert (node.state, node.unready_reason) == (NodeState.HEALTHY, REASON)
            assert f"not ready: {REASON}" in str(tree.snapshot())
            await service.give_back()
            assert tree.ready()
            assert tree.snapshot().nodes["root.parent.service"].unready_reason is None
    told = [
        (each.levelname, each.getMessage())
        for each in of_package(caplog)
        if each.name == "supervisor.node.root.parent.service"
    ]
    assert (
        told
        == [
            ("WARNING", f"root.parent.service is not ready: {REASON}"),
            ("INFO", "root.parent.service is ready again"),
        ]
        * 3
    )


async def test_what_is_said_again_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """S30: another reason is."""
    service = Service()
    async with open_supervisor(service) as tree:
        await tree.wait_settled()
        for reason in ("one", "one", "two", "two"):
            await service.withdraw(reason)
    assert [each.getMessage() for each in of_package(caplog)] == [
        "root is not ready: one",
        "root is not ready: two",
    ]


async def test_a_wait_for_readiness_sees_it_withdrawn_and_given_back() -> None:
    """S30, S25: wait_ready() waits while a node says that it is not ready."""
    service = Service()
    ready = trio.Event()
    async with open_supervisor(service) as tree, trio.open_nursery() as nursery:
        await tree.wait_ready()
        await service.withdraw(REASON)

        async def wait() -> None:
            await tree.wait_ready()
            ready.set()

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await service.withdraw("another one")
        assert not ready.is_set()
        await service.give_back()
        assert ready.is_set()


async def test_a_wait_for_health_does_not_look_at_readiness() -> None:
    """S30, S19: the node is HEALTHY."""
    handles: list[supervisor.Handle] = []

    async def service() -> None:
        supervisor.signal(Signal.HEALTHY)
        withdraw()
        await trio.sleep_forever()

    async def root() -> None:
        handles.append(supervisor.run("service", service))
        await handles[0].wait_healthy()
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_settled()
        assert tree.snapshot().nodes["root"].state is NodeState.HEALTHY


async def test_the_next_incarnation_is_ready() -> None:
    """S30: what was said ends with the incarnation."""
    service, one = Service(), Remote()

    async def root() -> None:
        supervisor.run_group({"service": service, "one": one}, backoff=None)
        await idle()

    async with open_supervisor(root) as tree:
        await one.become_healthy()
        await service.withdraw(REASON)
        await tree.restart("root.one")
        await one.become_healthy()
        await tree.wait_ready()


async def test_a_node_that_is_done_is_ready() -> None:
    """S30, S25: it has done its work, and nobody could give its readiness back."""

    async def job() -> None:
        supervisor.signal(Signal.HEALTHY)
        withdraw()
        await go_on.wait()
        supervisor.signal(Signal.DONE)

    async def root() -> None:
        supervisor.run("job", job)
        await idle()

    go_on = trio.Event()
    async with open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        assert not tree.ready()
        go_on.set()
        await tree.wait_ready()
        node = tree.snapshot().nodes["root.job"]
        assert (node.state, node.unready_reason) == (NodeState.DONE, None)


async def test_a_node_that_is_not_healthy_can_not_say_whether_it_is_ready() -> None:
    """S30: the error says what to do, and nothing changes."""

    async def root() -> None:
        message = r"root called set_ready\(\) when NEW: signal HEALTHY before"
        with pytest.raises(SignalError, match=message):
            withdraw()
        await idle()

    async with open_supervisor(root) as tree:
        await tree.wait_ready()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, REASON), TypeError, r"ready=0 is not a bool"),
        ((False, 5), TypeError, r"reason=5 is no text: say in a few words why"),
        ((False,), ValueError, r"set_ready\(False, ''\): pass a reason with False, and none with"),
        ((True, REASON), ValueError, r"set_ready\(True, 'no connection.*'\): pass a reason with"),
    ],
)
async def test_wrong_arguments_are_named(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    """S30, S2: and nothing changes."""

    async def root() -> None:
        supervisor.signal(Signal.HEALTHY)
        with pytest.raises(error, match=message):
            supervisor.set_ready(*arguments)
        await trio.sleep_forever()

    async with open_supervisor(root) as tree:
        await tree.wait_ready()


async def test_a_reason_is_one_line() -> None:
    """S30, S17: it can't be taken for another line of the picture or the log."""
    service = Service()
    async with open_supervisor(service) as tree:
        await tree.wait_settled()
        await service.withdraw("no broker\nroot.fake  HEALTHY\x1b[2J")
        node = tree.snapshot().nodes["root"]
        assert node.unready_reason == r"no broker root.fake HEALTHY\x1b[2J"
        assert len(str(tree.snapshot()).splitlines()) == 1


async def test_a_long_reason_is_cut() -> None:
    """S30: what is kept of it is bounded."""
    service = Service()
    async with open_supervisor(service) as tree:
        await tree.wait_settled()
        await service.withdraw("x" * 10**6)
        reason = tree.snapshot().nodes["root"].unready_reason
        assert reason is not None
        assert len(reason) < 1000
