"""What those see who stay: the tree as it changes, and log records as they come."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Signal
from supervisor._calls._supervisor import port_of
from supervisor.inspector import inspector
from supervisor.inspector._api import PING
from supervisor.inspector._changes import GATHERED, Changes
from supervisor.logs import LogBuffer
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.inspected import Asker, open_inspected
from ..helpers.records import record
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from supervisor import Supervisor

    from ..helpers.inspected import Events, Json


@contextlib.asynccontextmanager
async def open_watched(
    root: Callable[[], Awaitable[object]],
    path: Path,
    *,
    target: str = "/v1/stream",
    logs: LogBuffer | None = None,
) -> AsyncIterator[tuple[Supervisor, Asker, Events]]:
    """Run a tree with an inspector, and a client that stays."""
    async with (
        open_inspected(root, path, logs=logs) as (tree, asker),
        asker.stream(target) as events,
    ):
        yield tree, asker, events


async def picture(events: Events) -> dict[str, Json]:
    """Read the first picture of a stream, up to where it is complete."""
    seen: dict[str, Json] = {}
    while True:
        name, data, _ = await events.next()
        if name == "synced":
            return seen
        seen.update((row["dn"], row) for row in data["nodes"])


async def test_a_viewer_gets_the_tree_and_then_its_changes(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: what happens within 0.1 s comes at once, each node with its newest state."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("one", remote, backoff=LONG)
        supervisor.run("two", idle)

    async with open_watched(root, tmp_path / "s") as (_, _, events):
        assert list(await picture(events)) == ["root", "root.one", "root.two"]
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await remote.become_healthy()
        await remote.die()
        name, data, _ = await events.next()
        assert trio.current_time() - began == GATHERED
        (row,) = data["nodes"]
        assert (name, row["dn"], row["state"]) == ("nodes", "root.one", "DEAD")


async def test_what_vanishes_is_told(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: the children of a node that starts again; one that is there again is not gone."""
    names = ["old", "both"]
    remote = Remote()

    async def parent() -> None:
        for name in names:
            supervisor.run(name, idle)
        await remote()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=AT_ONCE)

    async with open_watched(root, tmp_path / "s") as (_, _, events):
        await picture(events)
        names[:] = ["both", "new"]
        await remote.die()
        _, data, _ = await events.next()
        assert {row["dn"]: row["run"] for row in data["nodes"]} == {
            "root.parent": 2,
            "root.parent.both": 1,
            "root.parent.new": 1,
        }
        name, data, _ = await events.next()
        assert (name, data["dns"]) == ("gone", ["root.parent.old"])


async def test_children_of_a_pool_come_and_go(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: a group of a node that is gone brings it not back."""
    pools: list[supervisor.Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep(1)
        supervisor.signal(Signal.DONE)

    async with open_inspected(root, tmp_path / "s") as (_, asker):
        await wait_all_tasks_blocked()
        async with asker.stream("/v1/stream") as events:
            await picture(events)
            pools[0].run("x", child)
            _, data, _ = await events.next()
            assert "root.pool.x" in {row["dn"] for row in data["nodes"]}
            assert (await events.until("gone"))["dns"] == ["root.pool.x"]
            tree = await asker.get("/v1/tree")
            assert "root.pool.x" not in {row["dn"] for row in tree["nodes"]}


async def test_the_drain_is_told(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: no node has moved, and nothing is ready any more."""

    async def root() -> None:
        supervisor.run("one", idle)

    async with open_watched(root, tmp_path / "s") as (tree, _, events):
        await picture(events)
        port_of(tree).begin_drain("a test")
        assert (await events.until("synced"))["draining"]


async def test_a_viewer_that_is_behind_gets_the_newest_states_only(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: what waits for it does not grow with what happens."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("one", remote, backoff=AT_ONCE)

    async with open_harness(root, patience=60.0) as tree, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        changes = Changes(port_of(tree))
        nursery.start_soon(changes.run)
        viewer = changes.join()
        for _ in range(20):
            await remote.die()
            await trio.sleep(1)
        assert list(viewer.rows) == ["root.one"]
        row = viewer.take()["root.one"]
        assert row is not None
        assert b'"run":21' in row
        assert viewer.rows == {}
        nursery.cancel_scope.cancel()


async def test_without_a_viewer_nothing_is_observed(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: the observer is added for the first viewer, and removed with the last."""

    async def root() -> None:
        supervisor.run("one", idle)

    async with open_inspected(root, tmp_path / "s") as (tree, asker):
        before = len(tree._tree._observers)
        async with asker.stream("/v1/stream") as one, asker.stream("/v1/stream") as two:
            await picture(one)
            await picture(two)
            assert len(tree._tree._observers) == before + 1
            await two.stream.aclose()
            await wait_all_tasks_blocked()
            assert len(tree._tree._observers) == before + 1
        await wait_all_tasks_blocked()
        assert len(tree._tree._observers) == before


async def test_many_changes_are_rendered_a_few_at_a_time(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: all of them come."""
    remote = Remote()

    async def parent() -> None:
        for number in range(250):
            supervisor.run(f"n{number}", idle)
        await remote()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=AT_ONCE)

    async with open_watched(root, tmp_path / "s") as (_, _, events):
        assert len(await picture(events)) == 252
        await remote.die()
        assert len((await events.until("nodes"))["nodes"]) == 251


@pytest.mark.parametrize("target", ["/v1/stream", "/v1/nodes/root/logs?follow"])
async def test_a_stream_without_news_says_so(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    target: str,
) -> None:
    """S37: so a client can tell it from one that is broken."""
    logs = LogBuffer()
    async with open_watched(idle, tmp_path / "s", logs=logs, target=target) as (_, _, events):
        await wait_all_tasks_blocked()
        began = trio.current_time()
        data = b""
        while b": nothing new" not in data:
            data += await events.stream.receive_some()
        assert trio.current_time() - began == PING


def logged(buffer: LogBuffer, *texts: str) -> None:
    for text in texts:
        buffer.handle(record("root.one", text))


async def texts(events: Events, count: int) -> list[str]:
    found = [await events.next() for _ in range(count)]
    assert {name for name, _, _ in found} == {"log"}
    return [data["text"] for _, data, _ in found]


async def one() -> None:
    supervisor.run("one", idle)


async def test_log_records_are_followed(tmp_path: Path) -> None:
    """S37: what is there comes first, then what is new."""
    buffer = LogBuffer()
    logged(buffer, "a", "b", "c")
    async with open_watched(
        one, tmp_path / "s", logs=buffer, target="/v1/nodes/root.one/logs?follow&n=2"
    ) as (_, _, events):
        assert await texts(events, 2) == ["b", "c"]
        logged(buffer, "d")
        assert await texts(events, 1) == ["d"]


async def test_a_follower_goes_on_across_a_restart_of_the_inspector(tmp_path: Path) -> None:
    """S37: nothing is lost, and nothing comes twice."""
    buffer = LogBuffer()
    logged(buffer, "a", "b")
    async with open_harness(one, patience=60.0) as tree:
        runnable = inspector(tree, path=tmp_path / "s", logs=buffer)

        async def beside() -> None:
            supervisor.run("inspector", runnable)
            await idle()

        async with supervisor.open_supervisor(beside) as other:
            await other.wait_ready()
            asker, target = Asker(tmp_path / "s"), "/v1/nodes/root/logs?follow"
            async with asker.stream(target) as events:
                assert await texts(events, 1) == ["a"]
                _, _, number = await events.next()
            logged(buffer, "c")
            await other.restart("root.inspector")
            await other.wait_ready()
            logged(buffer, "d")
            async with asker.stream(target, last_event_id=str(number)) as events:
                assert await texts(events, 2) == ["c", "d"]


async def test_a_follower_is_told_what_it_has_missed(tmp_path: Path) -> None:
    """S37: the buffer has dropped it meanwhile."""
    buffer = LogBuffer(per_node=3)
    logged(buffer, "a")
    target = "/v1/nodes/root.one/logs?follow"
    async with open_watched(one, tmp_path / "s", logs=buffer, target=target) as (_, asker, first):
        _, _, number = await first.next()
        logged(buffer, *"bcdefg")
        async with asker.stream(target, last_event_id=str(number)) as events:
            assert (await events.next())[:2] == ("missed", {"missed": 3})
            assert await texts(events, 3) == ["e", "f", "g"]


@pytest.mark.parametrize("number", ["0badcafe-7", "7", "x", "0badcafe-"])
async def test_a_number_of_another_process_is_told_apart(tmp_path: Path, number: str) -> None:
    """S37: it is not known how much is missing; what is there comes."""
    buffer = LogBuffer()
    logged(buffer, "a")
    async with open_inspected(one, tmp_path / "s", logs=buffer) as (_, asker):
        stream = asker.stream("/v1/nodes/root.one/logs?follow", last_event_id=str(number))
        async with stream as events:
            assert (await events.next())[:2] == ("missed", {"missed": None})
            assert await texts(events, 1) == ["a"]


async def test_a_viewer_that_never_reads_holds_up_no_stop(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: neither that of the tree, nor that of the inspector."""
    buffer = LogBuffer()
    logged(buffer, *["x" * 10_000] * 200)
    target = "/v1/nodes/root/logs?follow&n=1000"
    async with open_watched(one, tmp_path / "s", target=target, logs=buffer) as (tree, _, _):
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await tree.stop()
        assert trio.current_time() == began
    assert trio.current_time() == began


async def test_the_inspector_shows_a_stop_that_hangs(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S37: it runs on beside the tree, and says who holds it up."""

    async def slow() -> None:
        supervisor.signal(Signal.HEALTHY)
        with trio.CancelScope(shield=True):
            await trio.sleep(20)

    async def root() -> None:
        supervisor.run("slow", slow)
        await idle()

    async with open_inspected(root, tmp_path / "s") as (tree, asker):
        await wait_all_tasks_blocked()
        tree.request_stop("a test")
        await trio.sleep(7)
        why = (await asker.get("/v1/nodes/root"))["why"]
        assert "root.slow still runs, 7.0 s after it was asked to stop" in why
        assert "test_streams.py" in why
