"""The metrics of a tree as instruments, and what spans know of it (S42)."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from functools import partial
from typing import TYPE_CHECKING, final

import pytest
import trio
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    MeterProvider,
    ObservableCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import NotSupervisedError, Signal
from supervisor.opentelemetry import DnSpanProcessor, new_trace, observe
from supervisor.testing import Remote, RemoteDeathError, open_harness

from ..helpers.backoffs import AT_ONCE
from ..helpers.exposition import Key, registry_of, samples_of, text_of
from ..helpers.family import A, Family
from ..helpers.runnables import finish, idle, start, start_and_idle
from ..helpers.trees import open_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    made = MeterProvider([reader], shutdown_on_exit=False)
    yield made
    made.shutdown()


def read(reader: InMemoryMetricReader) -> tuple[dict[Key, float], dict[str, str]]:
    """Return all samples, and the types of the metrics, as OpenTelemetry gives them to Prometheus.

    A unit other than what is counted, and ``_total``, become parts of the names.
    """
    samples: dict[Key, float] = {}
    types: dict[str, str] = {}
    data = reader.get_metrics_data()
    assert data is not None
    ((scope,),) = [each.scope_metrics for each in data.resource_metrics]
    for metric in scope.metrics:
        name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
        is_counter = isinstance(metric.data, Sum) and metric.data.is_monotonic
        name += "_total" if is_counter else ""
        types[name] = "counter" if is_counter else "gauge"
        assert metric.description
        for point in metric.data.data_points:
            assert isinstance(point, NumberDataPoint)
            labels = {key: str(value) for key, value in (point.attributes or {}).items()}
            key = name, labels.pop("dn", ""), labels.pop("state", "")
            assert not labels
            assert key not in samples
            samples[key] = point.value
    return samples, types


def dns(reader: InMemoryMetricReader) -> list[str]:
    return [dn for name, dn, _ in read(reader)[0] if name == "supervisor_node_starts_total"]


# Instruments


async def test_the_instruments_are_what_prometheus_collects(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    """S42: names, kinds, labels and values; they are read in a thread."""
    remote = Remote()
    async with open_pool() as (tree, pool):
        registry = registry_of(tree)
        observe(tree, provider)
        pool.run("child", remote)
        pool.run("other", idle)
        await remote.become_healthy()
        await remote.die()
        await wait_all_tasks_blocked()
        samples, types = await trio.to_thread.run_sync(read, reader)
        collected = samples_of(registry)
        since = "supervisor_node_last_transition_timestamp_seconds"
        assert samples.keys() == collected.keys()
        for key, value in collected.items():
            # Two tables ask the clock one after the other.
            assert key[0] == since or samples[key] == value
        lines = text_of(registry).splitlines()
        exposed = (line.split()[2:] for line in lines if line.startswith("# TYPE"))
        assert types == dict(exposed)


async def test_series_vanish_from_the_instruments_with_their_nodes(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    """S42: a reader gets what there is at each time."""
    remote, names = Remote(), iter(["old", "new"])

    async def parent() -> None:
        supervisor.run(next(names), idle)
        await remote()

    async with open_harness(
        start_and_idle, supervisor.run, "parent", parent, backoff=AT_ONCE
    ) as tree:
        observe(tree, provider)
        await remote.become_healthy()
        assert dns(reader) == ["root", "root.parent", "root.parent.old"]
        await remote.die()
        await remote.become_healthy()
        assert dns(reader) == ["root", "root.parent", "root.parent.new"]


@final
class Meanwhile(AlwaysOffExemplarFilter):
    """Lets something happen in Trio after the first measurement of a collection in a thread."""

    def __init__(self) -> None:
        self.call: Callable[[], Awaitable[object]] | None = None
        self.error: Exception | None = None

    def should_sample(self, *_: object) -> bool:
        call, self.call = self.call, None
        if call is not None:
            trio.from_thread.run(call)
            if self.error is not None:
                raise self.error
        return False


def healthy(samples: dict[Key, float]) -> tuple[float, float]:
    """Return how many nodes have the state, and how many nodes of the tree are in it."""
    has = [
        value
        for (name, _, state), value in samples.items()
        if (name, state) == ("supervisor_node_state", "HEALTHY")
    ]
    return sum(has), samples["supervisor_nodes", "", "HEALTHY"]


async def test_all_instruments_of_a_collection_show_the_tree_after_one_event() -> None:
    """S42: whatever happens meanwhile; the next collection shows that, after a broken one, too."""
    reader, meanwhile, remote = InMemoryMetricReader(), Meanwhile(), Remote()
    provider = MeterProvider([reader], exemplar_filter=meanwhile, shutdown_on_exit=False)

    async def recover() -> None:
        await remote.become_healthy()
        await wait_all_tasks_blocked()

    async def die() -> None:
        await remote.die()
        await wait_all_tasks_blocked()

    async def root() -> None:
        supervisor.run("remote", remote, backoff=AT_ONCE)
        await idle()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        observe(tree, provider)
        collect = partial(trio.to_thread.run_sync, read, reader)
        meanwhile.call = recover
        assert healthy((await collect())[0]) == (1, 1)
        meanwhile.call = die
        assert healthy((await collect())[0]) == (2, 2)
        meanwhile.call, meanwhile.error = recover, RemoteDeathError()
        with pytest.raises(RemoteDeathError):
            await collect()
        assert healthy((await collect())[0]) == (2, 2)
        await die()
        assert healthy(read(reader)[0]) == (1, 1)
    provider.shutdown()


@pytest.mark.parametrize(
    ("temporality", "shown"),
    [(AggregationTemporality.CUMULATIVE, [2, 1]), (AggregationTemporality.DELTA, [2, -1])],
)
async def test_counters_begin_anew_with_their_nodes(
    temporality: AggregationTemporality, shown: list[int]
) -> None:
    """S42: which is a difference below 0, so the page asks for cumulative temporality."""
    reader = InMemoryMetricReader(preferred_temporality={ObservableCounter: temporality})
    provider = MeterProvider([reader], shutdown_on_exit=False)
    family, got = Family(), []
    async with supervisor.open_supervisor(family, backoff=AT_ONCE) as tree:
        observe(tree, provider)
        await family.become_healthy()
        await family.a.die()
        await family.a.become_healthy()
        got.append(read(reader)[0]["supervisor_node_starts_total", A, ""])
        await family.parent.die()
        await family.become_healthy()
        got.append(read(reader)[0]["supervisor_node_starts_total", A, ""])
    assert got == shown
    provider.shutdown()


async def test_the_number_of_nodes_in_the_instruments_is_bounded(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    """S42: as in a collector."""
    async with open_harness(start_and_idle, supervisor.run, "a", idle) as tree:
        observe(tree, provider, max_nodes=1)
        await tree.wait_ready()
        assert dns(reader) == ["root"]
        assert read(reader)[0]["supervisor_nodes_without_series", "", ""] == 1


async def test_a_runnable_may_observe_its_tree_in_each_incarnation(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    """S42: the further calls do nothing; read() finds nothing twice."""
    remote = Remote()

    async def child() -> None:
        observe(supervisor.current_supervisor(), provider)
        await remote()

    async with open_harness(
        start_and_idle, supervisor.run, "child", child, backoff=AT_ONCE
    ) as tree:
        await remote.become_healthy()
        observers = len(tree._tree._observers)
        await remote.die()
        await remote.become_healthy()
        assert len(tree._tree._observers) == observers
        assert read(reader)[0]["supervisor_node_starts_total", "root.child", ""] == 2


async def test_a_provider_shows_one_tree_at_a_time(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    """S42: of two, series of one DN would be mixed up; that of one that is over is kept."""
    async with open_harness(start, supervisor.run, "a", idle) as first:
        observe(first, provider)
        async with open_harness(start, supervisor.run, "b", idle) as second:
            observers = len(second._tree._observers)
            with pytest.raises(ValueError, match="has the instruments of another tree, that of ro"):
                observe(second, provider)
            assert len(second._tree._observers) == observers
    await wait_all_tasks_blocked()
    assert dns(reader) == ["root", "root.a"]
    async with open_harness(start, supervisor.run, "c", idle) as third:
        observe(third, provider)
        await third.wait_ready()
        assert dns(reader) == ["root", "root.c"]


def test_the_global_provider_may_be_set_later() -> None:
    """S42: it is the default, and instruments are made for it once."""
    program = """
import trio
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
import supervisor
from supervisor.opentelemetry import observe

async def root():
    supervisor.signal(supervisor.Signal.HEALTHY)
    await trio.sleep_forever()

async def main():
    async with supervisor.open_supervisor(root) as tree:
        observe(tree)
        reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([reader]))
        observe(tree)
        ((scope,),) = [each.scope_metrics for each in reader.get_metrics_data().resource_metrics]
        names = [metric.name for metric in scope.metrics]
        assert len(names) == len(set(names)) == 8, names

trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("passed_first", [False, True])
def test_the_global_provider_is_one_whether_it_is_passed_or_not(*, passed_first: bool) -> None:
    """S42: it shows one tree at a time, and has each instrument once."""
    program = f"""
import trio
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
import supervisor
from supervisor.opentelemetry import observe

async def root():
    supervisor.signal(supervisor.Signal.HEALTHY)
    await trio.sleep_forever()

async def above():
    supervisor.run("child", root)
    await root()

async def main():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    async with supervisor.open_supervisor(root) as tree:
        if {passed_first}:
            observe(tree, provider)
        metrics.set_meter_provider(provider)
        observe(tree)
        async with supervisor.open_supervisor(root) as other:
            for passed in (None, provider):
                try:
                    observe(other, passed)
                except ValueError as error:
                    assert "instruments of another tree" in str(error)
                else:
                    raise AssertionError(passed)
    async with supervisor.open_supervisor(above) as last:
        await last.wait_ready()
        observe(last)
        ((scope,),) = [each.scope_metrics for each in reader.get_metrics_data().resource_metrics]
        shown = {{each.name: each.data.data_points for each in scope.metrics}}
        assert len(shown) == len(scope.metrics)
        assert [point.value for point in shown["supervisor.node.starts"]] == [1, 1]

trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_a_tree_that_is_over_is_kept_nor_its_provider() -> None:
    """S42: a runnable may hold its provider; what was true last is there as long as that is."""
    reader = InMemoryMetricReader()
    made: list[weakref.ref[object]] = []

    def run(reader: InMemoryMetricReader) -> MeterProvider:
        provider = MeterProvider([reader], shutdown_on_exit=False)

        async def root() -> None:
            observe(supervisor.current_supervisor(), provider)
            await finish()

        trio.run(supervisor.supervise, root)
        made.append(weakref.ref(root))
        return provider

    provider = run(reader)
    gc.collect()
    assert made.pop()() is None
    assert read(reader)[0]["supervisor_node_state", "root", "DONE"] == 1
    made.append(weakref.ref(provider))
    provider.shutdown()
    del provider, reader
    gc.collect()
    assert made.pop()() is None


async def test_what_is_wrong_with_a_call_is_told(provider: MeterProvider) -> None:
    """S2, S42: at the call, and nothing observes the tree."""
    async with open_harness(start, supervisor.run, "a", idle) as tree:
        observers = len(tree._tree._observers)
        with pytest.raises(TypeError, match="tree='root' is not a Supervisor: pass one, such as"):
            observe("root")  # type: ignore[arg-type]  # that is the point
        with pytest.raises(TypeError, match="meter_provider=1 is not a MeterProvider: pass one"):
            observe(tree, 1)  # type: ignore[arg-type]  # likewise
        with pytest.raises(ValueError, match="max_nodes=-1 is not a whole number of at least 0"):
            observe(tree, provider, max_nodes=-1)
        with pytest.raises(NotSupervisedError, match=r"supervisor.opentelemetry.observe\(\) was"):
            await trio.to_thread.run_sync(observe, tree, provider)
        assert len(tree._tree._observers) == observers


# Spans


class Spans:
    """A tracer, and the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(DnSpanProcessor())
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def make(self, name: str) -> None:
        with self.tracer.start_as_current_span(name):
            pass

    def ended(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def parent(self, name: str) -> str | None:
        """Return the name of the span above another one."""
        ended = self.ended()
        parent = ended[name].parent
        if parent is None:
            return None
        (found,) = [
            each.name
            for each in ended.values()
            if each.context is not None and each.context.span_id == parent.span_id
        ]
        return found


async def test_a_span_has_the_dn_of_its_runnable() -> None:
    """S42: in tasks and worker threads of it; outside there is none."""
    spans = Spans()

    async def task() -> None:
        spans.make("in a task")

    async def child() -> None:
        spans.make("in the runnable")
        await trio.to_thread.run_sync(spans.make, "in a thread")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
        await finish()

    async def root() -> None:
        supervisor.run("child", child)
        await finish()

    spans.make("outside")
    await supervisor.supervise(root)
    shown = {name: dict(span.attributes or {}) for name, span in spans.ended().items()}
    assert shown == {
        "outside": {},
        "in the runnable": {"supervisor.dn": "root.child"},
        "in a thread": {"supervisor.dn": "root.child"},
        "in a task": {"supervisor.dn": "root.child"},
    }
    assert spans.provider.force_flush()
    spans.provider.shutdown()


@pytest.mark.parametrize("is_new", [True, False])
async def test_incarnations_of_new_trace_begin_without_a_parent(*, is_new: bool) -> None:
    """S42: others are below the span in which they were started, which has ended."""
    spans, remote, numbers = Spans(), Remote(), iter("12")

    async def child() -> None:
        number = next(numbers)
        with spans.tracer.start_as_current_span(f"run {number}"):
            spans.make(f"in run {number}")
        await remote()

    async def root() -> None:
        with spans.tracer.start_as_current_span("set-up"):
            supervisor.run("child", new_trace(child) if is_new else child)
        await idle()

    async with supervisor.open_supervisor(root, backoff=AT_ONCE):
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
    above = None if is_new else "set-up"
    assert [spans.parent(name) for name in ("run 1", "run 2")] == [above, above]
    assert [spans.parent(f"in run {number}") for number in "12"] == ["run 1", "run 2"]


async def test_new_trace_leaves_the_rest_of_the_context() -> None:
    """S42: baggage stays, and a runnable that calls it has its own span again."""
    spans = Spans()

    async def inner() -> None:
        assert baggage.get_baggage("tenant") == "x"
        assert trace.get_current_span() is trace.INVALID_SPAN

    token = context.attach(baggage.set_baggage("tenant", "x"))
    try:
        with spans.tracer.start_as_current_span("outer") as outer:
            await new_trace(inner)()
            assert trace.get_current_span() is outer
    finally:
        context.detach(token)


async def test_new_trace_is_as_the_runnable_is() -> None:
    """S21, S42: its grace, its arguments, and how it ends."""
    got: list[object] = []
    remote = Remote()

    async def polite(number: int, *, name: str) -> None:
        got.extend((number, name))
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()
        got.append("asked")
        await trio.lowlevel.checkpoint()
        got.append("stopped")

    class Polite:
        grace = 5.0

        async def __call__(self) -> None:
            await polite(1, name="a")

    async def root() -> None:
        supervisor.run("polite", new_trace(Polite()))
        supervisor.run("other", partial(new_trace(polite), name="b"), 2, grace=1.0)
        supervisor.run("remote", new_trace(remote))
        await idle()

    async with supervisor.open_supervisor(root, backoff=AT_ONCE) as tree:
        await remote.become_healthy()
        await tree.wait_ready()
        assert sorted(map(str, got)) == ["1", "2", "a", "b"]
        await remote.die()
        await remote.become_healthy()
        (crash,) = tree.snapshot().nodes["root.remote"].crashes
        assert crash.error == "RemoteDeathError: died on request"
        assert "opentelemetry.py" not in crash.traceback
        await tree.stop_node("root.polite")
        assert got[4:] == ["asked", "stopped"]
    assert got[6:] == ["asked", "stopped"]


async def test_new_trace_can_be_cancelled() -> None:
    """S42: nothing of it is left in the context."""
    spans = Spans()
    with spans.tracer.start_as_current_span("outer") as outer:
        with trio.CancelScope() as scope:
            scope.cancel()
            await new_trace(trio.sleep_forever)()
        assert scope.cancelled_caught
        assert trace.get_current_span() is outer
        with pytest.raises(RemoteDeathError):
            await new_trace(partial(_raise, RemoteDeathError()))()
        assert trace.get_current_span() is outer


async def _raise(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error


def test_new_trace_takes_an_async_function() -> None:
    """S2, S42: the error is raised where it is called."""
    with pytest.raises(TypeError, match=r"new_trace\(\) got 3, which is not an async function"):
        new_trace(3)  # type: ignore[arg-type]  # that is the point

    async def bad() -> None:
        raise NotImplementedError

    bad.grace = -1.0  # type: ignore[attr-defined]  # that is the point
    with pytest.raises(ValueError, match=r"grace=-1\.0 is not a number of seconds of at least 0"):
        new_trace(bad)


# The extra


def test_without_the_extra_each_call_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """S42: at the call."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name, call in (
        ("observe", partial(observe, None)),  # type: ignore[arg-type]  # it is not looked at
        ("DnSpanProcessor", DnSpanProcessor),
        ("new_trace", partial(new_trace, idle)),
    ):
        with pytest.raises(ImportError) as caught:
            call()
        assert str(caught.value) == (
            f"{name}() needs OpenTelemetry: python -m pip install 'trio-supervisor[opentelemetry]'"
        )


def test_the_module_of_opentelemetry_can_be_imported_without_the_extra() -> None:
    """S42: and without the SDK, where nothing takes a processor."""
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from supervisor.opentelemetry import DnSpanProcessor\n"
        "assert DnSpanProcessor.__mro__ == (DnSpanProcessor, object)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
