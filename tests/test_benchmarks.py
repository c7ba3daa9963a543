"""The benchmarks work: each case runs once, at a small size."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import __main__ as command, against, page, pictures, results, table
from benchmarks.goals import Goal, Verdict
from benchmarks.harness import TINY, Comparison, Spread, above, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent
COMPARISONS = list(command.comparisons(TINY))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Some cases log dozens of deaths."""
    caplog.set_level("CRITICAL", logger="supervisor")


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.name)
def test_each_case_measures_what_its_rows_read(comparison: Comparison) -> None:
    """Each row of the table finds its figures, and is judged if it has a goal."""
    lines = list(results.judged(comparison, comparison.measure(rounds=1)))
    assert [line.measure for line in lines] == [row.measure for row in comparison.rows]
    assert [line.verdict is None for line in lines] == [row.goal is None for row in comparison.rows]


def test_a_row_is_the_median_of_the_ratios_within_the_rounds() -> None:
    """A slow round counts no more than any other."""
    row = ratio("ours against theirs", "ours: cost", "theirs: cost")
    samples = {"ours: cost": [1.0, 30.0, 2.0], "theirs: cost": [1.0, 10.0, 4.0]}
    assert Spread.of(row.read(samples)) == Spread(0.75, 1.0, 2.0)


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (0.9, Verdict.AIM),
        (1.0, Verdict.AIM),
        (1.01, Verdict.MUST),
        (2.0, Verdict.MUST),
        (2.1, Verdict.NOISE),
        (2.3, Verdict.MISSED),
    ],
)
def test_a_figure_is_judged_by_must_and_aim(figure: float, verdict: Verdict) -> None:
    """A must is missed beyond the noise only, and the table says where that was needed."""
    assert Goal(must=2.0, aim=1.0).judge(figure) is verdict


def test_a_goal_without_a_must_can_not_be_missed() -> None:
    """The aim can, and nothing fails."""
    assert Goal(aim=1.0).judge(9.0) is Verdict.SHORT


CASES = Comparison(
    "made up",
    {"slow": lambda: {"cost": 3.0}, "fast": lambda: {"cost": 1.0}},
    [
        ratio("slow against fast", "slow: cost", "fast: cost", Goal(must=2.0)),
        ratio("fast against slow", "fast: cost", "slow: cost", Goal(must=2.0)),
    ],
)


def measured(*comparisons: Comparison) -> results.Results:
    found = results.Results(results.circumstances("tiny", 2, 0), [], {})
    for comparison in comparisons:
        samples = found.samples[comparison.name] = comparison.measure(rounds=2)
        found.lines.extend(results.judged(comparison, samples))
    return found


def test_the_session_fails_if_a_must_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    """All rows are printed, and the exit status is 1."""
    assert command.report(measured(CASES)) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["measure", "slow", "fast"]
    assert [line.rsplit("  ")[-1] for line in out.splitlines()[1:]] == ["MISSED", "must met"]
    assert err == "missed: slow against fast\n"


def test_results_survive_being_saved(tmp_path: Path) -> None:
    """The page is generated from the file, so the file keeps everything."""
    found = measured(CASES)
    found.save(tmp_path / "results.json")
    loaded = results.load(tmp_path / "results.json")
    assert list(table.text(loaded.lines)) == list(table.text(found.lines))
    assert loaded.circumstances == found.circumstances
    assert loaded.samples == found.samples


def test_the_pictures_find_their_lines() -> None:
    """A line shows the medians of the samples by size."""
    drawn = [comparison for comparison in COMPARISONS if comparison.name in pictures.GROWTH]
    assert len(drawn) == 3
    for comparison in drawn:
        samples = comparison.measure(rounds=1)
        assert list(pictures.series("ours", pictures.GROWTH[comparison.name], samples)) == [1, 10]
    made_up = {"ours, 10: set": [1e-6, 3e-6, 2e-6], "ours, 10: last": [4e-6]}
    assert pictures.series("ours", "set", made_up) == {10: pytest.approx(2.0)}


def test_what_was_measured_can_be_judged_again() -> None:
    """Goals may change without a new measurement."""
    found = measured(*COMPARISONS[:2])
    forgotten = results.Results(found.circumstances, [], found.samples)
    assert command.judge_again(forgotten, COMPARISONS) == found


def test_the_blocks_of_the_page_are_replaced(tmp_path: Path) -> None:
    """Text written by hand stays; generated text is replaced."""
    path = tmp_path / "performance.md"
    blocks = (f"<!-- begin {name} -->\nold\n<!-- end {name} -->" for name in page.BLOCKS)
    path.write_text("\n".join(["# By hand", *blocks, "by hand"]))
    page.write(measured(CASES), path)
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("# By hand", "by hand")
    assert "old" not in lines
    assert "| slow against fast | 3.00 x | 3.00 … 3.00 | 2.00 x | MISSED |" in lines
    unmet = "- *What it takes:* not known. *For:* slow against fast (3.00 x, wanted 2.00 x)."
    assert unmet in lines


def test_a_page_without_a_block_is_left_alone(tmp_path: Path) -> None:
    """The error names the block and where it belongs."""
    path = tmp_path / "performance.md"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="has no block <!-- begin circumstances -->"):
        page.write(measured(CASES), path)
    assert path.read_text() == "nothing"


COST = Comparison("made up", {}, [above("ours above the floor", "ours: cost", "floor: cost", "µs")])


def test_two_builds_are_compared_within_the_rounds() -> None:
    """Figures of ours are flagged if they are worse by more than 5 %; controls show the noise."""
    base = {"ours: cost": [2e-6, 20e-6, 2e-6], "floor: cost": [1e-6, 10e-6, 1e-6]}
    new = {"ours: cost": [2.2e-6, 22e-6, 2e-6], "floor: cost": [1.2e-6, 8e-6, 1e-6]}
    found = list(against.changes(COST, base, new))
    assert [(each.figure, round(each.ratio.median, 3)) for each in found] == [
        ("made up: ours: cost", 1.1),
        ("made up: floor: cost", 1.0),
        ("ours above the floor", 1.0),
    ]
    assert [against.flag(each, 1.0) for each in found] == ["worse by more than 5%", "control", ""]
    *_, noise = against.text(found)
    assert noise == "noise: new/base of the controls is from 1.00 to 1.00"


def test_a_figure_that_is_worse_in_few_rounds_is_flagged_as_noise() -> None:
    """The median is beyond 5 %, but a quarter of the rounds found the new build to be better."""
    base, new = [1.0, 1.0, 1.0, 1.0], [0.8, 0.9, 1.3, 1.4]
    found = against.change("a figure", "x", base, new, is_control=False)
    assert against.flag(found, 1.0) == "worse by more than 5%, within noise"


def test_a_figure_that_is_worse_by_less_than_a_control_is_flagged_as_noise() -> None:
    """What does not use the packages was slower by as much."""
    found = against.change("a figure", "x", [1.0], [1.1], is_control=False)
    assert against.flag(found, 1.09) == "worse by more than 5%"
    assert against.flag(found, 1.11) == "worse by more than 5%, within noise"


def test_cases_that_only_one_build_has_are_not_compared() -> None:
    """Cases are matched by name."""
    samples = {"ours: cost": [1.0]}
    assert list(against.changes(COST, samples, {"ours: other": [1.0]})) == []


def test_a_build_is_compared_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Each build is measured in processes of its own, with its own packages."""
    against.run(str(ROOT), TINY, [each for each in COMPARISONS if each.name == "pipe"])
    out, err = capsys.readouterr()
    assert err == "round 1 of 1\n"
    head, *rows, noise = out.splitlines()
    assert head.split() == ["figure", "base", "new", "new/base", "spread"]
    assert noise.startswith("noise: new/base of the controls is from ")
    assert sorted(row.split("  ")[0] for row in rows) == [
        "pipe: floor, consumer is late: item",
        "pipe: floor, consumer waits: item",
        "pipe: ours, consumer is late: item",
        "pipe: ours, consumer waits: item",
    ]


def test_what_is_no_build_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the argument, and what git says about it."""
    assert command.compare("no-such-revision", TINY, "") == 2
    _, err = capsys.readouterr()
    assert err.startswith(f"'no-such-revision' is neither a folder nor a revision of {ROOT}: ")


def test_builds_are_not_compared_with_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    """The error says what to leave out."""
    with pytest.raises(SystemExit):
        command.parse(["--etcd", "--against", "main"])
    assert "leave out --against, --core" in capsys.readouterr().err


def test_benchmarks_import_public_names_only() -> None:
    """So they can measure builds with other internals."""
    for path in (ROOT / "benchmarks").rglob("*.py"):
        for name in imported_names(ast.parse(path.read_text("utf-8"))):
            package, *parts = name.split(".")
            if package in {"supervisor", "trio_event"}:
                assert not any(part.startswith("_") for part in parts), f"{path} imports {name}"


def imported_names(module: ast.Module) -> Iterator[str]:
    """Iterate over the full names that a module imports from other packages."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
