"""The metrics of a tree, and the DNs of spans, for OpenTelemetry (S42).

See ``docs/metrics.md``. It needs the extra ``[opentelemetry]``, which has the interface. The SDK,
and what exports, is for the service to choose.

No span stands for an incarnation. A span is exported when it ends, and an incarnation may end after
months. Until then the spans below it would have a parent that nobody has seen.
"""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, final

import attrs

from ._calls._supervisor import Supervisor, port_of
from ._core._arguments import check_count, check_kind, own_grace
from ._extras import needs
from ._observing._logging import runnable_of_caller
from ._observing._node_series import ALL_SERIES, Kind, Series
from ._observing._node_table import NodeTable
from ._tasks._current import check_run
from ._tasks._members import check_runnable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.sdk.trace import Span, SpanProcessor

    from ._observing._node_table import Picture
    from ._tasks._port import Port
else:
    try:
        from opentelemetry.sdk.trace import SpanProcessor
    except ModuleNotFoundError:  # then there is nothing that takes a processor
        SpanProcessor = object

__all__ = ("DnSpanProcessor", "new_trace", "observe")

ParamsT = ParamSpec("ParamsT")

SCOPE: Final = "supervisor"
"""The name of the meter."""

_needs: Final = partial(needs, package="OpenTelemetry", extra="opentelemetry")


def observe(
    tree: Supervisor, meter_provider: MeterProvider | None = None, *, max_nodes: int = 1000
) -> None:
    """Show the metrics of a tree as observable instruments (S42).

    They are those that :class:`supervisor.prometheus.SupervisorCollector` has, and are observed in
    the thread of whatever reads them. When the tree has ended, they show what was true last, and
    nothing else of it is kept. A further call with the same tree and provider does nothing,
    so a runnable may make it in each of its incarnations.

    Args:
        tree: The tree.
        meter_provider: What makes the instruments; by default the global one.
        max_nodes: At most so many nodes have series of their own: those that have been there
            longest. ``supervisor.nodes_without_series`` counts the others.

    Raises:
        ImportError: if OpenTelemetry is not installed.
        TypeError: if an argument is of a wrong kind.
        ValueError: if ``max_nodes`` is below 0, or the provider has instruments of another tree,
            which has not ended.
        NotSupervisedError: if another thread than the tree's calls, or another run of Trio.

    Checkpoints:
        Never. It takes time in proportion to the number of nodes.

    Example::

        supervisor.opentelemetry.observe(supervisor.current_supervisor())
    """
    with _needs("observe()"):
        from opentelemetry import metrics  # noqa: PLC0415  it is an extra
    check_kind("tree", tree, Supervisor, "current_supervisor()", optional=False)
    example = "that of opentelemetry.sdk.metrics, or None for the global one"
    check_kind("meter_provider", meter_provider, metrics.MeterProvider, example)
    max_nodes = check_count("max_nodes", max_nodes, least=0)
    port = port_of(tree)
    check_run(port.tree, port.group, "supervisor", "opentelemetry.observe", waits=False)
    _instruments_of(meter_provider).show(port, max_nodes)


@final
class _Collection(threading.local):
    """What the collection that goes on in this thread shows: one picture, in all instruments.

    OpenTelemetry does not tell the instruments when a collection begins. But the SDK asks all of
    them in each, one after the other in one thread. So a picture is shown in each instrument once:
    one that is asked again is so by another collection, even if the last one was broken off.
    """

    def __init__(self) -> None:
        self._table: NodeTable | None = None
        self._picture: Picture | None = None
        self._shown_in: set[Series] = set()

    def picture_for(self, series: Series, table: NodeTable) -> Picture:
        """Return what is to be shown in an instrument."""
        picture = self._picture
        if picture is None or self._table is not table or series in self._shown_in:
            picture = table.picture()
            self._shown_in.clear()
        self._shown_in.add(series)
        # When all have been asked, nothing is kept for the thread until it collects again.
        going_on = len(self._shown_in) < len(ALL_SERIES)
        self._table, self._picture = (table, picture) if going_on else (None, None)
        return picture


@final
class _Instruments:
    """The instruments of a meter provider, which are made once, and the tree that they show."""

    def __init__(self, provider: MeterProvider) -> None:
        self._table: NodeTable | None = None
        self._collection = _Collection()
        meter = provider.get_meter(SCOPE)
        makers = {
            Kind.COUNTER: meter.create_observable_counter,
            Kind.SUM: meter.create_observable_up_down_counter,
            Kind.GAUGE: meter.create_observable_gauge,
        }
        for series in ALL_SERIES:
            callback = partial(self._observe, series)
            makers[series.kind](series.name, [callback], series.unit, series.text)

    def show(self, port: Port, max_nodes: int) -> None:
        """Show a tree from now on, unless another one is shown, and has not ended."""
        shown = self._table
        if shown is not None and shown.is_of(port):
            return
        if shown is not None and not shown.is_over:
            msg = (
                f"the tree of {port.group.dn} can't be observed: the meter provider has the "
                f"instruments of another tree, that of {shown.root_dn}; pass another provider"
            )
            raise ValueError(msg)
        self._table = NodeTable(port, max_nodes=max_nodes)

    def _observe(self, series: Series, _: CallbackOptions) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation  # noqa: PLC0415  it is an extra

        table = self._table
        if table is not None:
            for labels, value in series.samples(self._collection.picture_for(series, table)):
                yield Observation(value, dict(zip(series.labels, labels, strict=True)))


# Those of each provider, and of the global one, which may be set after it is used, or be passed.
_instruments: Final = weakref.WeakKeyDictionary["MeterProvider", _Instruments]()
_of_global: Final[list[_Instruments]] = []
_making: Final = threading.Lock()


def _instruments_of(provider: MeterProvider | None) -> _Instruments:
    """Return the instruments of a provider; ``None`` for the global one."""
    from opentelemetry.metrics import get_meter_provider  # noqa: PLC0415  it is an extra

    current = get_meter_provider()
    with _making:
        if provider is None or provider is current:
            if not _of_global:
                # It may have been passed before it was set.
                _of_global.append(_instruments.get(current) or _Instruments(current))
            return _of_global[0]
        if provider not in _instruments:
            _instruments[provider] = _Instruments(provider)
        return _instruments[provider]


@final
class DnSpanProcessor(SpanProcessor):
    """Puts the DN of the runnable that starts a span on it, as ``supervisor.dn`` (S42).

    Add it to a tracer provider of the SDK. A span that is started in a worker thread of a runnable,
    or in a task that it has started, gets the DN as well. Outside of runnables, none is put on.

    Raises:
        ImportError: if OpenTelemetry is not installed.

    Example::

        provider = TracerProvider()
        provider.add_span_processor(DnSpanProcessor())
    """

    def __init__(self) -> None:
        """Make one for any number of providers."""
        with _needs("DnSpanProcessor()"):
            import opentelemetry.trace  # noqa: F401, PLC0415  it is an extra

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  the SDK passes it
        """Put the DN on a span that has just started.

        Checkpoints:
            Never. Any thread may call it.
        """
        dn, _ = runnable_of_caller()
        if dn is not None:
            span.set_attribute("supervisor.dn", dn)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  the SDK passes it
        """Return ``True``: no span waits here.

        Checkpoints:
            Never. Any thread may call it.
        """
        return True  # older versions of the SDK have no such default


def new_trace(
    runnable: Callable[ParamsT, Awaitable[object]],
) -> Callable[ParamsT, Awaitable[None]]:
    """Make a runnable whose incarnations begin without a parent span (S42).

    A runnable finds the context variables that were set where it was started, in each of its
    incarnations anew. So if it was started within a span, the spans of all its incarnations would
    be below that one, which has ended long ago. The rest of OpenTelemetry's context stays.

    Args:
        runnable: What runs. Its grace is that of the new one.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`.

    Raises:
        ImportError: if OpenTelemetry is not installed.
        TypeError: if ``runnable`` is not callable, or its attribute ``grace`` is no number.
        ValueError: if its grace is out of its range.

    Checkpoints:
        Never; the runnable where that which runs does.

    Cancellation:
        Of the runnable: that of what runs.

    Example::

        with tracer.start_as_current_span("set-up"):
            supervisor.run("server", new_trace(serve))
    """
    with _needs("new_trace()"):
        import opentelemetry.trace  # noqa: F401, PLC0415  it is an extra
    check_runnable(runnable, "new_trace()")
    return _NewTrace(runnable, own_grace("of new_trace()", runnable))


@final
@attrs.frozen
class _NewTrace:
    """A runnable that runs another one without a parent span."""

    runnable: Callable[..., Awaitable[object]]
    grace: float | None
    """How long it gets to stop, if the other one says so."""

    async def __call__(self, *args: object, **kwargs: object) -> None:
        """Run."""
        from opentelemetry import context, trace  # noqa: PLC0415  it is an extra

        token = context.attach(trace.set_span_in_context(trace.INVALID_SPAN))
        try:
            await self.runnable(*args, **kwargs)
        finally:
            context.detach(token)
