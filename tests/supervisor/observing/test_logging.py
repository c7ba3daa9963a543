"""The loggers of runnables, and the DNs on log records (S17)."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Signal
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.loggers import of_package, run_to_the_end
from ..helpers.runnables import finish, idle, start

library = logging.getLogger("somebody.elses.library")


def dn_of(record: logging.LogRecord) -> object:
    return record.__dict__["dn"]


async def test_a_runnables_loggers_are_named_after_its_dn() -> None:
    """S17: supervisor.node.<dn>, and below it the sub-loggers."""
    names: list[str] = []

    async def child() -> None:
        names.append(supervisor.logger().name)
        names.append(supervisor.sub_logger("wire").name)
        await finish()

    await run_to_the_end(child)
    assert names == ["supervisor.node.root.child", "supervisor.node.root.child.wire"]


async def test_records_made_inside_of_a_runnable_carry_its_dn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: from any library, in its nurseries and its worker threads as well."""

    async def task() -> None:
        library.warning("in a nursery")

    async def child() -> None:
        library.warning("in the runnable")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
        await trio.to_thread.run_sync(library.warning, "in a thread")
        supervisor.logger().warning("by its logger")
        await finish()

    await run_to_the_end(child)
    library.warning("outside")
    assert {record.getMessage(): dn_of(record) for record in caplog.records} == {
        "in the runnable": "root.child",
        "in a nursery": "root.child",
        "in a thread": "root.child",
        "by its logger": "root.child",
        "outside": "-",
    }


async def test_the_records_of_deaths_and_stop_errors_carry_the_dn_of_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: what the package logs about a node has the node's DN."""
    remote = Remote()

    async def loud() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("flush failed")

    members = {"remote": remote, "loud": loud}
    async with open_harness(start, supervisor.run_group, members, backoff=LONG):
        await remote.die()
        await wait_all_tasks_blocked()
    found = {record.name: dn_of(record) for record in of_package(caplog)}
    assert found == {
        "supervisor.node.root.remote": "root.remote",
        "supervisor.node.root.loud": "root.loud",
    }


async def test_a_clean_stop_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """S17: the stop of a healthy tree is no reason for a warning."""
    caplog.set_level(logging.WARNING)
    members = {"a": idle, "b": idle}
    async with open_harness(start, supervisor.run_group, members) as tree:
        await tree.wait_settled()
    assert of_package(caplog) == []


async def test_other_nodes_keep_their_loggers_through_restarts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: a level that is set for a node holds for its next incarnation."""
    caplog.set_level(logging.DEBUG, "supervisor.node.root.parent.child")
    child, parent = Remote(), Remote()

    async def family() -> None:
        supervisor.run("child", child)
        await parent()

    async def root() -> None:
        supervisor.run("parent", family)

    async with open_harness(root, backoff=AT_ONCE):
        await child.become_healthy()
        await parent.die()
        await wait_all_tasks_blocked()
        await child.become_healthy()
        logger = logging.getLogger("supervisor.node.root.parent.child")
        assert logger.level == logging.DEBUG


async def test_a_logger_that_the_end_of_another_tree_has_removed_is_found_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S17: what is configured by its name then holds for the tree that runs."""
    go_on = trio.Event()

    async def root() -> None:
        supervisor.logger().warning("begin")
        supervisor.signal(Signal.HEALTHY)
        await go_on.wait()
        supervisor.logger().debug("end")
        supervisor.signal(Signal.DONE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.supervise, root)
        await wait_all_tasks_blocked()
        await supervisor.supervise(root_that_logs)
        caplog.set_level(logging.DEBUG, "supervisor.node.root")
        go_on.set()
    assert caplog.messages == ["begin", "another", "end"]


async def root_that_logs() -> None:
    supervisor.logger().warning("another")
    await finish()
