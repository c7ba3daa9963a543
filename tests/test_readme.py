"""Each code block of README.md and the pages under docs/ does what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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
COMMANDS = [
    text.removeprefix("$ ").rstrip() for _, language, text in BLOCKS if language == "console"
]


def test_there_is_no_block_of_another_kind() -> None:
    """A block in another language would be run by nobody."""
    assert {language for _, language, _ in BLOCKS} == {"python", "text", "console"}
    assert len(COMMANDS) == 2
    assert not any("\n" in command for command in COMMANDS)


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_prints_what_the_readme_shows(program: str, output: str, tmp_path: Path) -> None:
    """Each program runs as it is and prints the block that follows it."""
    script = tmp_path / "program.py"
    script.write_text(program)
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
    result = subprocess.run(
        ["/bin/bash", "-c", COMMANDS[0]], cwd=copy, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert re.search(
        r"DEAD      root\.hosts\n.*CANCELED  root\.pipe\n"
        r".*NEW       root\.pipe\n.*NEW       root\.hosts",
        result.stdout,
    )


def test_ci_runs_the_second_command() -> None:
    """The second command is what .ci/run calls, so it passes wherever that does."""
    assert COMMANDS[1] in (ROOT / ".ci" / "run").read_text().splitlines()
