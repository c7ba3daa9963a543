"""The examples in docstrings run, with stand-ins for what they call of a user's."""

from __future__ import annotations

import inspect
import logging
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import (
    GroupState,
    NodeState,
    Pool,
    RestartPolicy,
    RestartRequested,
    Signal,
    Supervisor,
    open_supervisor,
)
from supervisor.health import check, health_server
from supervisor.logs import LogBuffer, current_buffer
from supervisor.systemd import listen_sockets, notify
from supervisor.testing import open_harness

from .helpers.buffers import attached, put
from .helpers.notifications import open_manager
from .helpers.runnables import finish, idle
from .helpers.services import status_of

NAMES = {
    "GroupState": GroupState,
    "Pool": Pool,
    "RestartPolicy": RestartPolicy,
    "RestartRequested": RestartRequested,
    "Signal": Signal,
    "logging": logging,
    "partial": partial,
    "supervisor": supervisor,
    "trio": trio,
}


def example(documented: object) -> str:
    """Return the example of a docstring."""
    text = inspect.getdoc(documented)
    assert text is not None
    _, _, after = text.partition("Example::\n\n")
    lines = after.splitlines()
    end = next((i for i, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    return textwrap.dedent("\n".join(lines[:end]))


def defined(documented: object, **stand_ins: object) -> Any:  # noqa: ANN401  what it defines
    """Run the definitions of an example, and return the first function that it defines."""
    source = example(documented)
    names = NAMES | stand_ins
    exec("from __future__ import annotations\n" + source, names)  # noqa: S102  it is our own
    name = source.partition("async def ")[2].partition("(")[0]
    return names[name]


def called(documented: object, **stand_ins: object) -> Callable[[], Awaitable[object]]:
    """Return an async function with the statements of an example, which returns its names."""
    body = textwrap.indent(example(documented), "    ")
    names = NAMES | stand_ins
    exec(f"async def function():\n{body}\n    return locals()\n", names)  # noqa: S102  our own
    function: Callable[[], Awaitable[object]] = names["function"]  # type: ignore[assignment]
    return function


async def test_the_example_of_run() -> None:
    """S26: what is fatal, and what never restarts."""

    async def serve(port: int) -> None:
        assert port == 8080
        await idle()

    root = defined(supervisor.run, serve=serve, fill_cache=finish)
    async with open_supervisor(root) as tree:
        await tree.wait_ready()
        assert list(tree.snapshot().nodes) == ["root", "root.server", "root.warm_up"]


async def test_the_example_of_a_planned_restart(autojump_clock: MockClock) -> None:
    """S26: the worker starts afresh after its requests."""
    requests: list[int] = []

    async def handle_request() -> None:
        requests.append(1)
        if len(requests) > 10_000:
            await trio.sleep_forever()

    worker = defined(RestartRequested, handle_request=handle_request)
    async with open_harness(partial(supervisor.supervise, worker)):
        await wait_all_tasks_blocked()
        assert len(requests) == 10_001
    assert autojump_clock.current_time() == 0.0


async def test_the_example_of_current_supervisor(capsys: pytest.CaptureFixture[str]) -> None:
    """S28: a page of the tree, from inside."""
    status_page = defined(supervisor.current_supervisor)

    async def root() -> None:
        await status_page()
        await finish()

    await supervisor.supervise(root)
    assert "root  NEW" in capsys.readouterr().out


async def test_the_example_of_wait_finished() -> None:
    """S28: the body waits for its jobs."""
    await called(Supervisor.wait_finished, jobs=finish)()


async def test_the_example_of_wait_ended() -> None:
    """S28: a job that has failed is undone."""
    undone: list[bool] = []

    async def fail() -> None:
        raise OSError("no disk")

    async def undo() -> None:
        undone.append(True)
        await trio.lowlevel.checkpoint()

    wait = called(supervisor.Handle.wait_ended, run_job=fail, undo=undo)

    async def root() -> None:
        await wait()
        await finish()

    await supervisor.supervise(root)
    assert undone == [True]


async def test_the_example_of_a_pool() -> None:
    """S29: pool and server in one group."""

    async def serve(clients: Pool) -> None:
        await clients.wait_healthy()
        clients.run(None, idle)
        await idle()

    root = defined(Pool, serve=serve)
    async with open_supervisor(root) as tree:
        await tree.wait_ready("root.clients.1")
        assert "root.server" in tree.snapshot().nodes


async def test_the_example_of_run_pool() -> None:
    """S29: a job for each order, as long as there is a slot."""
    handled: list[int] = []

    async def orders() -> AsyncIterator[int]:
        for order in range(250):
            yield order
        await trio.sleep_forever()

    async def handle(order: int) -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.lowlevel.checkpoint()
        handled.append(order)
        supervisor.signal(Signal.DONE)

    server = defined(supervisor.run_pool, orders=orders, handle=handle)
    async with open_supervisor(server):
        await wait_all_tasks_blocked()
    assert sorted(handled) == list(range(250))


async def test_the_example_of_set_ready() -> None:
    """S30: the connection comes and goes."""
    cuts: list[trio.Event] = [trio.Event()]
    back = trio.Event()

    @asynccontextmanager
    async def connect() -> AsyncIterator[str]:
        if cuts[0].is_set():
            await back.wait()
        yield "broker"

    async def consume(_: str) -> None:
        await (trio.Event() if back.is_set() else cuts[0]).wait()

    consumer = defined(supervisor.set_ready, connect=connect, consume=consume)
    async with open_supervisor(consumer) as tree:
        await tree.wait_ready()
        cuts[0].set()
        await wait_all_tasks_blocked()
        assert tree.snapshot().nodes["root"].unready_reason == "no connection to the broker"
        back.set()
        await tree.wait_ready()


async def test_the_example_of_beat(autojump_clock: MockClock) -> None:
    """S31: a poller that goes on lives."""

    async def poll_once() -> None:
        await trio.sleep(0.9)

    poller = defined(supervisor.beat, poll_once=poll_once)

    async def root() -> None:
        supervisor.run("poller", poller, heartbeat=1.0)
        await idle()

    async with open_supervisor(root) as tree:
        await trio.sleep(100.0)
        assert tree.snapshot().nodes["root.poller"].state is NodeState.HEALTHY
    assert autojump_clock.current_time() >= 100.0


async def test_the_example_of_stop_scope(autojump_clock: MockClock) -> None:
    """S32: progress is saved within the grace."""
    saved: list[float] = []
    handled: list[str] = []

    async def handle(order: str) -> None:
        handled.append(order)
        await trio.lowlevel.checkpoint()

    async def save_progress() -> None:
        await trio.sleep(1.0)
        saved.append(trio.current_time())

    worker = defined(supervisor.stop_scope, handle=handle, save_progress=save_progress)
    send, receive = trio.open_memory_channel[str](1)
    async with open_supervisor(worker, receive, grace=5.0):
        await send.send("one")
        await trio.sleep(1.0)
    assert (handled, saved) == (["one"], [2.0])
    assert autojump_clock.current_time() == 2.0


async def test_the_example_of_check() -> None:
    """S41: a page of a web server."""

    def respond(text: str, status: int) -> tuple[str, int]:
        return text, status

    async with open_supervisor(idle) as tree:
        stand_ins = {"Request": object, "PlainTextResponse": respond, "tree": tree, "check": check}
        readyz = defined(check, **stand_ins)
        assert await readyz(None) == ("[-]root NEW\nreadyz check failed\n", 503)
        await tree.wait_ready()
        assert await readyz(None) == ("[+]root ok\nreadyz check passed\n", 200)


def test_the_example_of_health_server() -> None:
    """S41: the process is that of any root."""

    def serve(tree: Supervisor, *, port: int, gate: list[str]) -> Callable[[], Awaitable[None]]:
        assert (port, gate) == (8080, ["root.api"])
        return health_server(tree, port=0, gate=gate)

    def run() -> NoReturn:
        exec(example(health_server), NAMES | {"root": finish, "health_server": serve})  # noqa: S102  our own
        raise AssertionError

    assert status_of(run) == 0


async def test_the_example_of_read(capsys: pytest.CaptureFixture[str]) -> None:
    """S36: what a subtree has warned of."""
    with attached(logging.getLogger("tests.read")) as buffer:
        put(buffer, "root.net.dns", "no answer", level=logging.WARNING)
        put(buffer, "root.net.dns", "asked", level=logging.INFO)
        await called(LogBuffer.read, current_buffer=lambda: buffer)()
    assert capsys.readouterr().out == "root.net.dns no answer\n"


async def test_the_example_of_follow(capsys: pytest.CaptureFixture[str]) -> None:
    """S36: until the buffer is closed."""
    with attached(logging.getLogger("tests.follow")) as buffer:
        put(buffer, "root.net", "before")
        follow = called(LogBuffer.follow, current_buffer=lambda: buffer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            put(buffer, "root.net", "after")
            buffer.close()
    assert capsys.readouterr().out == "before\nafter\n"


def test_the_example_of_current_buffer(capsys: pytest.CaptureFixture[str]) -> None:
    """S36: a page of what a node has logged, in a process."""
    page = defined(current_buffer, current_buffer=current_buffer)

    async def net() -> None:
        supervisor.logger().warning("no lease")
        await finish()

    async def root() -> None:
        supervisor.run("net", net)
        await supervisor.current_supervisor().wait_ready("root.net")
        await page()
        await finish()

    assert status_of(lambda: supervisor.main(root, dump_signal=None)) == 0
    assert capsys.readouterr().out == "no lease\n"


async def test_the_example_of_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    """S40: two fields at once."""
    with open_manager() as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.variable)
        await called(notify, notify=notify)()
        assert manager.next() == "STATUS=reading 200 000 leases\nEXTEND_TIMEOUT_USEC=30000000"


async def test_the_example_of_listen_sockets() -> None:
    """S40: without sockets there is a port."""
    told: list[dict[str, object]] = []
    await called(
        listen_sockets,
        listen_sockets=listen_sockets,
        echo=idle,
        tcp=lambda _, **where: told.append(where),
    )()
    assert told == [{"port": 8007, "sockets": None}]
