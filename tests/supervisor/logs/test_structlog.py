"""The DN in what structlog logs."""

from __future__ import annotations

from typing import Any

import structlog
import trio

import supervisor
from supervisor.logs import add_dn

from ..helpers.runnables import finish


async def test_each_event_has_the_dn_of_its_runnable() -> None:
    """S17: in tasks and worker threads; a dn that is there stays, and outside there is none."""
    kept = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(None, processors=[add_dn, kept])

    async def child() -> None:
        logger.info("in a task")
        await trio.to_thread.run_sync(logger.info, "in a thread")
        logger.info("its own", dn="cn=x")
        await finish()

    async def root() -> None:
        supervisor.run("child", child)
        await finish()

    logger.info("outside")
    await supervisor.supervise(root)
    shown: list[dict[str, Any]] = [
        {key: value for key, value in entry.items() if key != "log_level"} for entry in kept.entries
    ]
    assert shown == [
        {"event": "outside"},
        {"event": "in a task", "dn": "root.child", "incarnation": 1},
        {"event": "in a thread", "dn": "root.child", "incarnation": 1},
        {"event": "its own", "dn": "cn=x", "incarnation": 1},
    ]
