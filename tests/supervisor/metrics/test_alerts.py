"""The page of the metrics, and its rules for alerts, have the metrics that there are (S42)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, NodeState

from ..helpers.exposition import registry_of, samples_of, text_of
from ..helpers.runnables import idle
from ..helpers.trees import open_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry
    from trio.testing import MockClock

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
(RULES,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXPRESSIONS = re.findall(r"^ +expr: (.*)$", RULES, re.MULTILINE)


async def a_registry() -> CollectorRegistry:
    """Return a registry in which each metric has samples."""
    async with open_pool() as (tree, pool):
        pool.run(None, idle)
        await wait_all_tasks_blocked()
        return registry_of(tree)


async def test_the_page_has_all_metrics() -> None:
    """S42: with their types and labels, in the same order."""
    shown = [
        (name, kind, tuple(re.findall(r"\w+", labels)))
        for name, kind, labels in re.findall(
            r"^\| `(supervisor_\w+)` \| (\w+) \| (.*?) ?\| ", PAGE, re.MULTILINE
        )
    ]
    exposed = [
        (
            metric.name + ("_total" if metric.type == "counter" else ""),
            metric.type,
            tuple(metric.samples[0].labels),
        )
        for metric in (await a_registry()).collect()
    ]
    assert shown == exposed


async def test_each_alert_is_about_what_is_exposed() -> None:
    """S42: names, labels and states; a wrong one would make a rule that never fires."""
    text = text_of(await a_registry())
    assert len(EXPRESSIONS) == RULES.count("- alert: ") == RULES.count("summary: ")
    names = {name for each in EXPRESSIONS for name in re.findall(r"supervisor_\w+", each)}
    assert len(names) == len(EXPRESSIONS)
    for name in names:
        assert re.search(rf"^{name}\{{.*dn=", text, re.MULTILINE), name
    matchers = re.findall(r"(\w+)=~?\"(.*?)\"", " ".join(EXPRESSIONS))
    assert matchers == [("state", "HEALTHY|DONE")]
    for state in matchers[0][1].split("|"):
        assert state in NodeState.__members__
    assert set(re.findall(r"\$labels\.(\w+)", RULES)) == {"dn"}


def of_backoff() -> tuple[int, float]:
    """Return the range, in minutes, and the threshold of the alert about the longest backoffs."""
    (found,) = re.findall(
        r"max_over_time\(supervisor_node_backoff_seconds\[(\d+)m\]\) > (\d+)", RULES
    )
    return int(found[0]), float(found[1])


@pytest.mark.parametrize("start_seconds", [0, 400])
@pytest.mark.parametrize(
    "random",
    [Random(1).random, lambda: 0.0, lambda: 1.0],  # noqa: S311  it is the default
    ids=["random", "shortest", "longest"],
)
async def test_the_alert_holds_while_backoffs_are_at_the_maximum(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
    random: Callable[[], float],
    start_seconds: float,
) -> None:
    """S9, S42: with the default jitter, and however long the node takes to start."""
    minutes, threshold = of_backoff()

    async def failing() -> None:
        await trio.sleep(start_seconds)
        raise OSError

    async def root() -> None:
        supervisor.run("node", failing, backoff=Backoff(random=random))
        await idle()

    shown: list[float] = []
    async with supervisor.open_supervisor(root, report_after=None) as tree:
        await wait_all_tasks_blocked()
        registry = registry_of(tree)
        for _ in range(300):
            await trio.sleep(30.0)
            samples = samples_of(registry)
            if samples["supervisor_node_deaths_total", "root.node", ""] >= 13:
                shown.append(samples["supervisor_node_backoff_seconds", "root.node", ""])
    in_range = minutes * 2
    assert len(shown) > 3 * in_range
    for end in range(in_range, len(shown)):
        assert max(shown[end - in_range : end]) > threshold


def test_the_alert_does_not_fire_before_the_eleventh_failure() -> None:
    """S9, S42: whatever the jitter does."""
    _, threshold = of_backoff()
    longest = Backoff(random=lambda: 1.0)
    assert [longest.delay(failures) > threshold for failures in (10, 11)] == [False, True]
    shortest = Backoff(random=lambda: 0.0)
    assert [shortest.delay(failures) > threshold for failures in (12, 13)] == [False, True]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reads_the_rules(tmp_path: Path) -> None:
    """S42: the program itself, where there is one."""
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    subprocess.run(["promtool", "check", "rules", path], check=True)  # noqa: S607  it is on PATH
