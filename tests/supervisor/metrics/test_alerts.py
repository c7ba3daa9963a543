"""The page of the metrics, and its rules for alerts, have the metrics that there are (S42)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from trio.testing import wait_all_tasks_blocked

from supervisor import NodeState

from ..helpers.exposition import registry_of, text_of
from ..helpers.runnables import idle
from ..helpers.trees import open_pool

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

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


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reads_the_rules(tmp_path: Path) -> None:
    """S42: the program itself, where there is one."""
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    subprocess.run(["promtool", "check", "rules", path], check=True)  # noqa: S607  it is on PATH
