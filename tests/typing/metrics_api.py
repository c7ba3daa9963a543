"""How the types of what shows metrics look from outside: for type checkers, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

from prometheus_client import REGISTRY, CollectorRegistry, Metric

import supervisor
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
