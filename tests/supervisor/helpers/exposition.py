"""Reads what a registry exposes, and judges it by the rules of ``promtool check metrics``."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from supervisor.prometheus import SupervisorCollector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor import Supervisor

Key = tuple[str, str, str]
"""A sample's name, its DN and its state; what it has not is empty."""

# As promtool has them: it wants base units, and none of them shortened.
ABBREVIATED: Final = re.compile(r"[kmgtp]?b|[mun]?s|sec|[mhd]")
OTHER_UNITS: Final = re.compile(
    "(milli|micro|nano)seconds|minutes|hours|days|weeks|(kilo|mega|giga|kibi|mebi|gibi)bytes|bits|"
    "percent|milliamperes|fahrenheit"
)
TYPES: Final = {"gauge", "counter", "histogram", "summary", "untyped"}


def registry_of(tree: Supervisor, *, max_nodes: int = 1000) -> CollectorRegistry:
    """Make a registry that collects a tree, and nothing else."""
    registry = CollectorRegistry()
    registry.register(SupervisorCollector(tree, max_nodes=max_nodes))
    return registry


def text_of(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def samples_of(registry: CollectorRegistry) -> dict[Key, float]:
    """Return all samples, which have to be different ones."""
    samples = [
        ((sample.name, sample.labels.get("dn", ""), sample.labels.get("state", "")), sample.value)
        for family in text_string_to_metric_families(text_of(registry))
        for sample in family.samples
    ]
    assert len(dict(samples)) == len(samples)
    return dict(samples)


def dns_of(registry: CollectorRegistry) -> list[str]:
    """Return the DNs that have series of their own."""
    return [dn for name, dn, _ in samples_of(registry) if name == "supervisor_node_starts_total"]


def faults_of(text: str) -> Iterator[str]:
    """Say what promtool would find fault with, and what breaks the format itself."""
    helped: set[str] = set()
    typed: dict[str, str] = {}
    seen: Counter[str] = Counter()
    order: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, *words = line.split(" ")
            if words:
                helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if name in typed:
                yield f"{name} has two types"
            typed[name] = kind
        else:
            series, _, values = line.rpartition("}") if "}" in line else line.partition(" ")
            name = series.partition("{")[0]
            seen[series] += 1
            if not order or order[-1] != name:
                order.append(name)
            if len(values.split()) != 1:
                yield f"{name} has a timestamp"
            yield from _faults_of_labels(name, re.findall(r"[{,](\w+)=", series))
    yield from (f"{series} is there twice" for series, count in seen.items() if count > 1)
    yield from (f"{name} is in two places" for name, count in Counter(order).items() if count > 1)
    for name in sorted(set(order) - typed.keys()):
        yield f"{name} has no type"
    for name, kind in typed.items():
        if name not in helped:
            yield f"{name} has no help text"
        yield from _faults_of_name(name, kind)


def _faults_of_name(name: str, kind: str) -> Iterator[str]:
    words = name.split("_")
    if kind == "counter" and words[-1] != "total":
        yield f"{name} is a counter and does not end in _total"
    if kind != "counter" and words[-1] == "total":
        yield f"{name} is no counter and ends in _total"
    if words[-1] in {"bucket", "count", "sum"}:
        yield f"{name} ends as a part of a histogram does"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield f"{name} is not in snake case"
    for word in words[1:]:
        if ABBREVIATED.fullmatch(word):
            yield f"{name} has the shortened unit {word}"
        if OTHER_UNITS.fullmatch(word):
            yield f"{name} has the unit {word}, which is no base unit"
        if word in TYPES:
            yield f"{name} has a type in its name"


def _faults_of_labels(name: str, labels: list[str]) -> Iterator[str]:
    for label in labels:
        if label in {"le", "quantile"}:
            yield f"{name} has the label {label} of a histogram or summary"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", label):
            yield f"{name} has the label {label}, which is not in snake case"
