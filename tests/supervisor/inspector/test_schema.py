"""Answers and events are what docs/inspector.schema.json says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastjsonschema
import pytest
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor._calls._supervisor import port_of
from supervisor.logs import LogBuffer
from supervisor.testing import Remote
from trio_event import MemoryValue

from ..helpers.backoffs import LONG
from ..helpers.inspected import open_inspected
from ..helpers.records import record
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[3] / "docs" / "inspector.schema.json"


@pytest.fixture(scope="module")
def check() -> Callable[[str, object], None]:
    """Check that something is what the page defines under a name."""
    schema: dict[str, Any] = json.loads(PAGE.read_text("utf-8"))
    validators = {
        name: fastjsonschema.compile({**schema, "$ref": f"#/$defs/{name}"})
        for name in schema["$defs"]
    }

    def check(name: str, what: object) -> None:
        validators[name](what)

    return check


async def test_answers_have_the_form_that_the_page_has(
    tmp_path: Path, check: Callable[[str, object], None]
) -> None:
    """S37: of nodes that work, have died, and wait for their turn; of logs and values."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("dhcp", remote, backoff=LONG)
        supervisor.run_group({"first": wait, "second": idle}, ordered=True)

    async def wait() -> None:
        await Remote()()

    buffer = LogBuffer()
    buffer.handle(record("root.dhcp", "lost"))
    values = {"set": MemoryValue(1), "unset": MemoryValue[int]()}
    options = {"logs": buffer, "values": values}
    async with open_inspected(root, tmp_path / "s", **options) as (tree, asker):
        await remote.die()
        await wait_all_tasks_blocked()
        check("tree", await asker.get("/v1/tree"))
        for dn in ("root", "root.dhcp", "root.second"):
            check("node", await asker.get(f"/v1/nodes/{dn}"))
        (entry,) = (await asker.get("/v1/nodes/root/logs"))["entries"]
        check("entry", entry)
        for value in (await asker.get("/v1/values"))["values"]:
            check("value", value)
        assert list(await asker.get("/v1/nodes/root/stack")) == ["dn", "stack"]
        async with asker.stream("/v1/nodes/root/logs?follow", last_event_id="x") as events:
            for expected in ("event_missed", "entry"):
                check(expected, (await events.next())[1])
        async with asker.stream("/v1/stream") as events:
            check("event_nodes", await events.until("nodes"))
            check("event_synced", await events.until("synced"))
            port_of(tree).begin_drain("a test")
            check("event_synced", await events.until("synced"))


async def test_the_page_refuses_what_is_different(check: Callable[[str, object], None]) -> None:
    """S37: the check can fail."""
    check("event_gone", {"time": 1.0, "dns": ["root.a"]})
    with pytest.raises(fastjsonschema.JsonSchemaException):
        check("event_gone", {"time": 1.0, "dns": ["root.a"], "more": 1})
