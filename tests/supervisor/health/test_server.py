"""What a server of probes answers to real clients, and what they can't do to it."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest
import trio
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import InvalidNameError, NotSupervisedError, Signal, SignalError
from supervisor._http._limits import CLIENTS
from supervisor.health import RENDER_TIME, SCRAPES, HealthServer, check, health_server
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import LONG, STEADY
from ..helpers.probed import WHERE, Answer, ask, open_beside, open_probed
from ..helpers.runnables import idle, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

PAGES = ("/livez", "/readyz", "/startupz")
DOCS = Path(__file__).parents[3] / "docs" / "probes.md"


# Probes


async def test_a_tree_that_is_ready_is_told_in_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """S41: or in full, on demand, as Kubernetes does."""
    async with open_probed(idle, caplog) as (tree, port):
        await tree.wait_ready()
        for page in PAGES:
            answer = await ask(port, page)
            assert (answer.status, answer.text) == (200, "ok")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            answer = await ask(port, f"{page}?verbose")
            assert answer.status == 200
            kind: Any = {"/livez": "live", "/readyz": "ready", "/startupz": "startup"}[page]
            assert answer.text == check(tree, kind).text


async def test_a_dead_leaf_is_named_and_the_process_lives(
    caplog: pytest.LogCaptureFixture,
    mock_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S41: /livez is never 503 for a node, and /startupz stays 200."""
    remote = Remote()

    async def net() -> None:
        supervisor.run("dhcp", remote, backoff=STEADY)
        await idle()

    async with open_probed(partial(start, supervisor.run, "net", net), caplog) as (_, port):
        await wait_all_tasks_blocked()
        assert (await ask(port, "/startupz")).status == 503
        await remote.become_healthy()
        assert [(await ask(port, page)).status for page in PAGES] == [200, 200, 200]
        await remote.die(OSError("no lease"))
        await wait_all_tasks_blocked()
        assert [(await ask(port, page)).status for page in PAGES] == [200, 503, 200]
        assert (await ask(port, "/readyz")).text == (
            "[-]root.net.dhcp DEAD, restarts in 1.0 s: OSError: no lease\nreadyz check failed\n"
        )


async def test_the_start_is_seen_between_the_probes(caplog: pytest.LogCaptureFixture) -> None:
    """S41: the server follows its gate before the first one comes."""
    remote = Remote()
    root = partial(start, partial(supervisor.run, "a", remote, backoff=LONG))
    async with open_probed(root, caplog, gate=["root.a"]) as (_, port):
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        assert [(await ask(port, page)).status for page in PAGES] == [200, 503, 200]


async def test_the_gates_of_a_server_are_followed_whatever_else_is_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S41: the start that was seen is not forgotten; check() has the same answer."""
    remote = Remote()
    root = partial(start, partial(supervisor.run, "a", remote, backoff=LONG))
    async with open_probed(root, caplog, gate=["root.a"]) as (tree, port):
        before = len(tree._tree._observers)
        assert not check(tree, "startup", gate=["root.a"]).ok
        assert len(tree._tree._observers) == before
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        for number in range(100):
            assert not check(tree, "startup", gate=[f"root.x{number}"]).ok
        assert (await ask(port, "/startupz")).status == 200
        assert check(tree, "startup", gate=["root.a"]).ok


async def test_a_server_goes_on_with_the_gate_that_a_question_has_begun() -> None:
    """S41: with what was seen since; two servers have one gate."""
    remote = Remote()
    async with open_harness(start, supervisor.run, "a", remote, backoff=LONG) as tree:
        assert not check(tree, "startup").ok
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        before = len(tree._tree._observers)
        for _ in range(2):
            health_server(tree, port=0)
            assert check(tree, "startup").ok
        assert len(tree._tree._observers) == before


async def test_only_the_gate_has_to_be_ready(caplog: pytest.LogCaptureFixture) -> None:
    """S41: a DN that is not there is not ready."""
    root = partial(start, supervisor.run_group, {"a": idle, "b": trio.sleep_forever})
    async with open_probed(root, caplog, gate=["root.a"]) as (_, port):
        await wait_all_tasks_blocked()
        assert (await ask(port, "/readyz")).text == "ok"
    caplog.clear()
    async with open_probed(root, caplog, gate=["root.a", "root.c"]) as (_, port):
        await wait_all_tasks_blocked()
        answer = await ask(port, "/readyz")
        assert answer.status == 503
        assert answer.text == (
            "[-]root.c is not there: root has a, b\n[+]root.a ok\nreadyz check failed\n"
        )


async def test_a_head_has_the_status_and_no_body(caplog: pytest.LogCaptureFixture) -> None:
    """S41: as for a GET."""
    async with open_probed(trio.sleep_forever, caplog) as (_, port):
        for page, status in (("/livez", 200), ("/readyz", 503)):
            get, head = await ask(port, page), await ask(port, page, method="HEAD")
            assert (get.status, head.status, head.text) == (status, status, "")
            assert head.headers["content-length"] == str(len(get.text))


async def test_there_is_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """S41: nor another method."""
    async with open_probed(idle, caplog) as (_, port):
        for target in ("/", "/metrics", "/readyz/", "/readyz/root", "/v1/tree", "/healthz"):
            assert (await ask(port, target)).status == 404
        for page in PAGES:
            answer = await ask(port, page, method="POST")
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_clients_that_only_connect_or_send_garbage_harm_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S41, S37: each ends itself only; no connection is kept that has been answered."""
    async with open_probed(idle, caplog) as (tree, port):
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(CLIENTS - 1)]
        for stream in streams:
            await stream.send_all(b"\x00 garbage \xff\r\n\r\n")
        for _ in range(CLIENTS):
            assert (await ask(port, "/livez")).status == 200
        assert tree.ready()
    # The server has been stopped while it waited for what else they send.
    for stream in streams:
        await stream.aclose()
    assert not [each for each in caplog.records if each.levelno > logging.INFO]


async def test_clients_that_only_connect_make_room_for_a_probe(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S41: otherwise they would have the process killed."""
    async with open_probed(idle, caplog) as (_, port), contextlib.AsyncExitStack() as stack:
        for _ in range(2 * CLIENTS):
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
        await wait_all_tasks_blocked()
        for page in PAGES:
            assert (await ask(port, page)).status == 200


async def test_a_request_has_to_come_within_5_seconds(
    caplog: pytest.LogCaptureFixture,
    mock_clock: MockClock,
) -> None:
    """S41: and not within 30, as for an inspector."""
    async with (
        open_probed(idle, caplog) as (_, port),
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        await wait_all_tasks_blocked()
        mock_clock.jump(5.0)
        assert await stream.receive_some() == b""


# Metrics


class Scraped:
    """A collector of the test's."""

    def __init__(self) -> None:
        self.called: list[threading.Thread] = []
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def collect(self) -> Iterator[Metric]:
        self.called.append(threading.current_thread())
        assert self.go.wait(60)
        if self.error is not None:
            raise self.error
        family = GaugeMetricFamily("leases", "How many", labels=["of"])
        family.add_metric(["é"], 3)
        yield family


@pytest.fixture
def scraped() -> Scraped:
    return Scraped()


@pytest.fixture
def registry(scraped: Scraped) -> prometheus_client.CollectorRegistry:
    registry = prometheus_client.CollectorRegistry()
    registry.register(scraped)
    scraped.called.clear()
    return registry


async def test_metrics_are_rendered_in_a_thread(
    caplog: pytest.LogCaptureFixture,
    scraped: Scraped,
    registry: prometheus_client.CollectorRegistry,
) -> None:
    """S41: in the format that the package says, also for HEAD; nothing else changes."""
    async with open_probed(idle, caplog, registry=registry) as (_, port):
        answer = await ask(port, "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"] == prometheus_client.CONTENT_TYPE_LATEST
        (family,) = text_string_to_metric_families(answer.text)
        (sample,) = family.samples
        assert (sample.name, sample.labels, sample.value) == ("leases", {"of": "é"}, 3.0)
        assert (await ask(port, "/metrics", method="HEAD")).text == ""
        assert (await ask(port, "/metrics", method="PUT")).status == 405
        assert (await ask(port, "/livez")).status == 200
    assert len(scraped.called) == 2
    assert threading.main_thread() not in scraped.called


async def test_a_collector_that_fails_is_told_and_harms_nothing(
    caplog: pytest.LogCaptureFixture,
    scraped: Scraped,
    registry: prometheus_client.CollectorRegistry,
) -> None:
    """S41: the probes go on."""
    scraped.error = ZeroDivisionError()
    async with open_probed(idle, caplog, registry=registry) as (tree, port):
        assert (await ask(port, "/metrics", closes=True)).status == 500
        assert (await ask(port, "/readyz")).status == 200
        assert tree.ready()
    (told,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert told.getMessage() == "a request to the health server failed"
    assert told.exc_info is not None
    assert told.exc_info[1] is scraped.error


async def test_a_collector_that_hangs_takes_no_place_for_long(
    caplog: pytest.LogCaptureFixture,
    mock_clock: MockClock,
    scraped: Scraped,
    registry: prometheus_client.CollectorRegistry,
) -> None:
    """S41: nor does a second thread begin; when it goes on there are metrics again."""
    scraped.go.clear()
    async with open_harness(idle) as tree, contextlib.AsyncExitStack() as stack:
        server = HealthServer(tree, host="127.0.0.1", port=0, gate=(), registry=registry)
        _, port = await stack.enter_async_context(open_beside(server, caplog))
        for _ in range(2):
            answers: list[Answer] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scrape, port, answers)
                await wait_all_tasks_blocked()
                mock_clock.jump(RENDER_TIME)
            assert answers[0].status == 503
            assert answers[0].text == "the metrics were not there within 10 s\n"
        assert (await ask(port, "/livez")).status == 200
        scraped.go.set()
        assert server._render is not None
        async with server._render._limiter:
            pass  # the thread has gone
        assert len(scraped.called) == 1
        assert (await ask(port, "/metrics")).status == 200


async def test_few_clients_wait_for_the_metrics(
    caplog: pytest.LogCaptureFixture,
    scraped: Scraped,
    registry: prometheus_client.CollectorRegistry,
) -> None:
    """S41: the others are told at once, and a probe is answered."""
    scraped.go.clear()
    async with open_probed(idle, caplog, registry=registry) as (_, port):
        answers: list[Answer] = []
        async with trio.open_nursery() as nursery:
            for _ in range(SCRAPES):
                nursery.start_soon(scrape, port, answers)
            await wait_all_tasks_blocked()
            for _ in range(CLIENTS):
                answer = await ask(port, "/metrics")
                assert answer.status == 503
                assert answer.text == "3 clients wait for the metrics already\n"
            assert (await ask(port, "/livez")).status == 200
            scraped.go.set()
        assert [answer.status for answer in answers] == [200] * SCRAPES


async def scrape(port: int, answers: list[Answer]) -> None:
    answers.append(await ask(port, "/metrics"))


def test_prometheus_client_is_imported_when_there_is_a_registry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S24: where it is missing, the error has the command that installs it."""
    program = (
        "import sys, supervisor.health\n"
        "assert not {'h11', 'prometheus_client'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    async def make() -> None:
        async with open_harness(idle) as tree:
            health_server(tree, port=0)
            with pytest.raises(ImportError) as caught:
                health_server(tree, port=0, registry=prometheus_client.CollectorRegistry())
            assert str(caught.value) == (
                "health_server() needs prometheus_client: "
                "python -m pip install 'trio-supervisor[prometheus]'"
            )

    trio.run(make)


# Its life


async def test_a_port_that_is_taken_is_named() -> None:
    """S41: the server dies of it, and the tree does not know."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with open_harness(idle) as tree:
            await tree.wait_ready()
            runnable = health_server(tree, port=port)
            assert repr(runnable) == f"<health server at 127.0.0.1:{port}>"
            with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{port}: "):
                await runnable()
            assert tree.ready()


@pytest.mark.parametrize("host", ["..", "x" * 64, "x\0", "::1::"])
async def test_a_host_that_can_not_be_is_named(host: str) -> None:
    """S41: by the same error as a port that is taken."""
    async with open_harness(idle) as tree:
        with pytest.raises(OSError, match="can't listen on ") as caught:
            await health_server(tree, host=host, port=0)()
        assert host in str(caught.value)


async def test_an_ipv6_address_is_told_in_brackets(caplog: pytest.LogCaptureFixture) -> None:
    """S41: as in a URL."""
    caplog.set_level(logging.INFO, "supervisor")
    async with open_harness(idle) as tree, open_harness(health_server(tree, host="::1", port=0)):
        await wait_all_tasks_blocked()
    assert any(re.fullmatch(r"probes are answered at \[::1\]:\d+", m) for m in caplog.messages)


async def test_nothing_listens_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """S41: such as that of a runnable that has signalled before."""
    caplog.set_level(logging.INFO, "supervisor")
    kept: list[SignalError] = []

    async def signal_twice() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await health_server(tree, port=0)()
        except SignalError as error:
            kept.append(error)  # its traceback keeps all that was open
        await trio.sleep_forever()

    async with open_harness(idle) as tree, open_harness(signal_twice):
        await wait_all_tasks_blocked()
        assert len(kept) == 1
        (where,) = [found for text in caplog.messages if (found := WHERE.match(text))]
        with pytest.raises(OSError, match="all attempts to connect to"):
            await trio.open_tcp_stream("127.0.0.1", int(where[1]))


@pytest.mark.parametrize("where", ["listening", "idle", "reading", "rendering"])
async def test_a_cancellation_ends_it_at_once(
    mock_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    scraped: Scraped,
    registry: prometheus_client.CollectorRegistry,
    where: str,
) -> None:
    """S41: whatever its clients do; nothing listens then, and it can run again."""
    scraped.go.clear()
    async with open_harness(idle) as tree:
        runnable = health_server(tree, port=0, registry=registry)

        if where == "listening":
            with trio.CancelScope() as scope:
                scope.cancel()
                await runnable()
            assert scope.cancelled_caught
        async with open_beside(runnable, caplog) as (beside, port):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                if where == "reading":
                    await stream.send_all(b"GET /livez")
                if where == "rendering":
                    await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                await wait_all_tasks_blocked()
                began = mock_clock.current_time()
                await beside.stop()
                assert mock_clock.current_time() == began
            with pytest.raises(OSError, match="all attempts to connect to"):
                await trio.open_tcp_stream("127.0.0.1", port)
        assert tree.ready()
    scraped.go.set()


# Wrong arguments


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"port": "80"}, TypeError, "port='80' is not the number of a port, from 0 to 65535"),
        ({"port": True}, TypeError, "port=True is not the number of a port"),
        ({"port": 65536}, ValueError, "port=65536 is not the number of a port"),
        ({"port": -1}, ValueError, "port=-1 is not the number of a port"),
        ({"port": 0, "host": 80}, TypeError, "host=80 is not a str: pass one, such as '0.0.0.0'"),
        ({"port": 0, "host": ""}, ValueError, "host='' is no host: pass one, such as '0.0.0.0'"),
        ({"port": 0, "gate": "root"}, TypeError, "gate='root' is no sequence of DNs"),
        ({"port": 0, "gate": ["x"]}, InvalidNameError, "dn='x' can be no node's"),
        ({"port": 0, "registry": 3}, TypeError, "registry=3 is no registry: pass a Collector"),
    ],
)
async def test_a_wrong_argument_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """S41, S2: at the call; nothing observes the tree."""
    async with open_harness(idle) as tree:
        before = tree._tree._observers
        with pytest.raises(error, match=message):
            health_server(tree, **options)
        assert tree._tree._observers == before


async def test_no_tree_and_another_thread_are_refused() -> None:
    """S41, S1, S2: the errors say what is right."""
    with pytest.raises(TypeError, match=r"tree=None is not a Supervisor: .* current_supervisor"):
        health_server(None, port=0)  # type: ignore[arg-type]  # it is wrong
    async with open_harness(idle) as tree:
        message = r"supervisor.health.health_server\(\) was called in another thread"
        with pytest.raises(NotSupervisedError, match=message):
            await trio.to_thread.run_sync(partial(health_server, tree, port=0))


# The page


async def test_the_manifest_in_the_docs_asks_for_pages_that_there_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S41: one for each kind of probe, at one port."""
    _, _, rest = DOCS.read_text("utf-8").partition("\n```yaml\n")
    manifest, end, _ = rest.partition("\n```\n")
    assert end
    probes = re.findall(
        r"^( +)(\w+)Probe:\n\1  httpGet: \{path: (\S+), port: probes\}", manifest, re.MULTILINE
    )
    assert {name: path for _, name, path in probes} == {
        "startup": "/startupz",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    async with open_probed(idle, caplog) as (tree, port):
        await tree.wait_ready()
        for _, _, path in probes:
            assert (await ask(port, path)).status == 200
