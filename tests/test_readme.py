"""Each code block of README.md and the pages under docs/ does what they say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    (page.name, language, text)
    for page in PAGES
    for language, text in re.findall(
        r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
]
FOLLOWING = [*BLOCKS[1:], ("", "", "")]  # a program's output is the next block of its page
PROGRAMS = [
    pytest.param(text, output if following == [page, "text"] else "", id=f"{page} block {number}")
    for number, ((page, language, text), (*following, output)) in enumerate(
        zip(BLOCKS, FOLLOWING, strict=True), 1
    )
    if language == "python"
]
JUMPING = """\
import trio.testing
trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
"""
# What these wait for is outside of Trio, where no clock jumps.
REAL = re.compile(r"\b(asgi|command|restart_on_change|tcp|thread)\(")
COMMANDS = [
    text.removeprefix("$ ").rstrip() for _, language, text in BLOCKS if language == "console"
]


def test_there_is_no_block_of_another_kind() -> None:
    """A block in another language would be run by nobody."""
    drawn = {"mermaid"}  # tests/test_states_page.py compares these with the tables
    # tests/supervisor/metrics/test_alerts.py compares these with the metrics, and
    # tests/supervisor/health/test_server.py with the pages of probes.
    others = {"yaml"}
    assert {language for _, language, _ in BLOCKS} == {"python", "text", "console"} | drawn | others
    assert len(COMMANDS) == 2
    assert not any("\n" in command for command in COMMANDS)


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_prints_what_the_readme_shows(program: str, output: str, tmp_path: Path) -> None:
    """Each program prints the block after it, on a clock that does not depend on the machine."""
    script = tmp_path / "program.py"
    jumping = program if REAL.search(program) else program.replace("trio.run(main)", JUMPING)
    script.write_text(jumping)
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, output), result.stderr


def test_the_first_command_shows_the_main_job(tmp_path: Path) -> None:
    """In a copy of the repository, with nothing installed, the group is seen to restart."""
    copy = tmp_path / "copy"
    shutil.copytree(
        ROOT,
        copy,
        ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info"),
    )
    restart = re.compile(
        r"DEAD      root\.hosts\n.*CANCELED  root\.pipe\n"
        r".*NEW       root\.pipe\n.*NEW       root\.hosts"
    )
    command, seconds, end = COMMANDS[0].rpartition("--seconds 8")
    assert (seconds, end) == ("--seconds 8", "")
    with (
        (tmp_path / "stderr").open("w+") as stderr,
        # Without an end, for the time until the restart depends on the machine.
        subprocess.Popen(
            ["/bin/bash", "-c", command],
            cwd=copy,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            shown = ""
            while not restart.search(shown):
                line = process.stdout.readline()
                assert line, (tmp_path / "stderr").read_text()
                shown += line
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_ci_runs_the_second_command() -> None:
    """The second command is what .ci/run calls, so it passes wherever that does."""
    assert COMMANDS[1] in (ROOT / ".ci" / "run").read_text().splitlines()
