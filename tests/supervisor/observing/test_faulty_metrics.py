"""Metrics that raise (S16, S11)."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio

import supervisor
from supervisor import NodeState
from supervisor.testing import Remote

from ..helpers.backoffs import AT_ONCE
from ..helpers.family import PARENT, A, Family
from ..helpers.runnables import idle, start_and_idle


class Broken:
    """Metrics of which every call fails."""

    def __init__(self) -> None:
        self.calls = 0

    def __repr__(self) -> str:
        return "<Broken>"

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        self.calls += 1
        raise ValueError(dn, state)

    def notify_node_gone(self, dn: str) -> None:
        self.calls += 1
        raise KeyError(dn)


async def test_metrics_that_raise_are_logged_and_harm_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S16: a node starts, dies, restarts and ends as without metrics."""
    broken, family = Broken(), Family()
    async with supervisor.open_supervisor(family, metrics=broken, backoff=AT_ONCE) as tree:
        await family.become_healthy()
        await family.parent.die()
        await family.become_healthy()
        assert tree.snapshot().nodes[PARENT].incarnation == 2
    failures = [record for record in caplog.records if record.name == "supervisor"]
    assert len(failures) == broken.calls
    assert all(record.levelno == logging.ERROR and record.exc_info for record in failures)
    messages = {record.getMessage() for record in failures}
    assert f"<Broken> failed at the transition of {PARENT} to DEAD" in messages
    assert f"<Broken> failed at the removal of {A}" in messages


@attrs.frozen
class LeavingMetrics:
    """Raises SystemExit when root.child gets into ``at``."""

    at: NodeState

    def notify_node_state(self, dn: str, state: NodeState) -> None:
        if dn == "root.child" and state is self.at:
            raise SystemExit(7)

    def notify_node_gone(self, dn: str) -> None:
        if self.at is NodeState.DONE:
            raise SystemExit(7, dn)


@pytest.mark.parametrize("state", [NodeState.NEW, NodeState.HEALTHY, NodeState.DEAD])
async def test_a_base_exception_of_metrics_leaves(state: NodeState) -> None:
    """S11: it leaves supervise() as it is, at any transition, when all tasks are gone."""
    remote = Remote()

    async def script() -> None:
        await remote.become_healthy()
        await remote.die()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(script)
        with pytest.raises(SystemExit) as caught:
            await supervisor.supervise(
                start_and_idle, supervisor.run, "child", remote, metrics=LeavingMetrics(state)
            )
        assert caught.value.code == 7
        assert remote.running == 0
        nursery.cancel_scope.cancel()


async def test_a_base_exception_of_metrics_leaves_at_the_first_transition() -> None:
    """S11: also when the tree is made; nothing is started."""

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


async def test_a_base_exception_of_metrics_leaves_when_a_node_is_gone() -> None:
    """S11: notify_node_gone() is no different from a transition."""
    remote = Remote()

    async def parent() -> None:
        supervisor.run("below", idle)
        await remote()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.die)
        with pytest.raises(SystemExit):
            await supervisor.supervise(
                start_and_idle,
                supervisor.run,
                "child",
                parent,
                metrics=LeavingMetrics(NodeState.DONE),
                backoff=AT_ONCE,
            )
        assert remote.running == 0
