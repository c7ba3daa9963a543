"""How the types of what shows metrics look from outside: for type checkers, never run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import assert_type

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry, Metric

import supervisor
from supervisor.opentelemetry import DnSpanProcessor, new_trace, observe
from supervisor.prometheus import SupervisorCollector


def prometheus(tree: supervisor.Supervisor) -> None:
    collector = SupervisorCollector(tree, max_nodes=100)
    REGISTRY.register(SupervisorCollector(tree))
    registry = CollectorRegistry()
    registry.register(collector)
    registry.unregister(collector)
    assert_type(collector.describe(), Iterator[Metric])
    assert_type(collector.collect(), Iterator[Metric])
    SupervisorCollector(tree, 100)  # type: ignore[call-arg]  # it is keyword-only
    SupervisorCollector("root")  # type: ignore[arg-type]  # no DN, but a tree


async def serve(port: int, *, name: str) -> None: ...


def open_telemetry(tree: supervisor.Supervisor) -> None:
    assert_type(observe(tree), None)
    observe(tree, MeterProvider(), max_nodes=100)
    observe(tree, TracerProvider())  # type: ignore[arg-type]  # it makes no meters
    TracerProvider().add_span_processor(DnSpanProcessor())
    supervisor.run("a", partial(new_trace(serve), name="a"), 80)
    supervisor.run("b", new_trace(supervisor.Pool()))
    new_trace(serve)("80", name="a")  # type: ignore[arg-type]  # a port is an int
    new_trace(supervisor.beat)  # type: ignore[arg-type]  # it is not async
