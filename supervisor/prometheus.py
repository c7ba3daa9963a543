"""The states, starts and deaths of a tree's nodes, for Prometheus (S42).

See ``docs/metrics.md``. It needs the extra ``[prometheus]``::

    registry.register(SupervisorCollector(supervisor.current_supervisor()))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final, overload

from ._calls._supervisor import Supervisor, port_of
from ._core._arguments import check_count, check_kind
from ._extras import needs
from ._observing._node_series import ALL_SERIES, Kind, Series
from ._observing._node_table import NodeTable
from ._tasks._current import check_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample

    from ._observing._node_table import Picture
else:
    Collector = object  # a registry takes whatever has the methods of one

__all__ = ("SupervisorCollector",)


@final
class SupervisorCollector(Collector):
    """Collects the metrics of a tree for a registry of ``prometheus_client`` (S42).

    It follows the tree from when it is made. A registry may collect it in any thread, also after
    the end of the tree, when it has what was true last. When nobody has the collector any more, it
    costs the tree nothing.

    Args:
        tree: The tree.
        max_nodes: At most so many nodes have series of their own: those that have been there
            longest. ``supervisor_nodes_without_series`` counts the others.

    Raises:
        ImportError: if ``prometheus_client`` is not installed.
        TypeError: if an argument is of a wrong kind.
        ValueError: if ``max_nodes`` is below 0.
        NotSupervisedError: if another thread than the tree's calls, or another run of Trio.

    Checkpoints:
        Never. To make one takes time in proportion to the number of nodes.

    Example::

        registry = CollectorRegistry()
        registry.register(SupervisorCollector(supervisor.current_supervisor()))
        start_http_server(9100, registry=registry)
    """

    def __init__(self, tree: Supervisor, *, max_nodes: int = 1000) -> None:
        """Follow the tree from now on."""
        with needs("SupervisorCollector()", "prometheus_client", extra="prometheus"):
            import prometheus_client  # noqa: F401, PLC0415  it is an extra
        check_kind("tree", tree, Supervisor, "current_supervisor()", optional=False)
        max_nodes = check_count("max_nodes", max_nodes, least=0)
        port = port_of(tree)
        name = "prometheus.SupervisorCollector"
        check_run(port.tree, port.group, "supervisor", name, waits=False)
        self._table: NodeTable = NodeTable(port, max_nodes=max_nodes)

    def __repr__(self) -> str:
        """Name the root of the tree."""
        return f"<SupervisorCollector of {self._table.root_dn}>"

    def describe(self) -> Iterator[Metric]:
        """Return the metrics without samples, by which a registry refuses a second collector.

        Checkpoints:
            Never. Any thread may call it.
        """
        return map(_family, ALL_SERIES)

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are after one event of the tree.

        Checkpoints:
            Never. Any thread may call it. It takes time in proportion to the number of series: so
            not Trio's thread, if there are thousands.
        """
        picture = self._table.picture()
        for series in ALL_SERIES:
            family = _family(series)
            # A metric is filled by means of a list, and then only read.
            family.samples = _Samples(series, picture)  # type: ignore[assignment]
            yield family


@final
class _Samples(Sequence["Sample"]):
    """The samples of a metric, each made when it is read.

    A list would keep tens of thousands of objects alive while they are rendered. That makes CPython
    look for garbage in the whole process, and nothing else runs meanwhile: in a tree of ten
    thousand nodes it takes 30 to 60 ms.
    """

    def __init__(self, series: Series, picture: Picture) -> None:
        self._series: Series = series
        self._picture: Picture = picture

    def __iter__(self) -> Iterator[Sample]:
        from prometheus_client.samples import Sample  # noqa: PLC0415  it is an extra

        series = self._series
        suffix = "_total" if series.kind is Kind.COUNTER else ""
        name = series.prometheus_name + suffix
        for labels, value in series.samples(self._picture):
            yield Sample(name, dict(zip(series.labels, labels, strict=True)), value)

    def __len__(self) -> int:
        return sum(1 for _ in self._series.samples(self._picture))

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        return list(self)[index]


def _family(series: Series) -> CounterMetricFamily | GaugeMetricFamily:
    from prometheus_client.metrics_core import (  # noqa: PLC0415  it is an extra
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    make = CounterMetricFamily if series.kind is Kind.COUNTER else GaugeMetricFamily
    return make(series.prometheus_name, series.text, labels=series.labels)
