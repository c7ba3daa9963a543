"""What README.md shows of a running service is what the commands print."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..helpers.screens import open_screen
from ..helpers.services import ENVIRONMENT, keep_handlers, wait_for_log

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
PROMPT = "$ python -m supervisor "
SECTION = re.search(
    r"^### A look at a running service\n(.*?)^##",
    (ROOT / "README.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)
assert SECTION is not None
BLOCKS = re.findall(r"^```text\n(.*?)^```$", SECTION[1], re.MULTILINE | re.DOTALL)
COMMANDS, SCREEN = BLOCKS

SIZE = (90, 22)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Let all sockets be in one folder."""
    others = {name: value for name, value in ENVIRONMENT.items() if name not in FOLDERS}
    return others | {"TMPDIR": str(tmp_path)}


FOLDERS = {"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"}


@pytest.fixture
def netd(tmp_path: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run the example until its node has died."""
    program = shutil.copy(ROOT / "examples" / "netd.py", tmp_path)
    with (
        keep_handlers(),
        subprocess.Popen(
            [sys.executable, program], env=environment, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            waited = {"root.net.dhcp died", "the inspector listens at"}
            while waited:
                message = wait_for_log(process, "")["message"]
                waited = {each for each in waited if not message.startswith(each)}
            yield
        finally:
            process.kill()


def alike(text: str, folder: Path) -> str:
    """Leave out what differs from one run to the next: times, and where the program is."""
    text = text.replace(str(folder), "/srv")
    text = re.sub(r"\d\d:\d\d:\d\d", "hh:mm:ss", text)
    return re.sub(r" *(\d+ min )?\d+(\.\d+)? s\b", " T", text)


@pytest.mark.usefixtures("netd")
def test_the_readme_shows_what_is_printed(tmp_path: Path, environment: dict[str, str]) -> None:
    """S38: what status and logs print."""
    _, *parts = COMMANDS.split(PROMPT)
    assert [part.split()[0] for part in parts] == ["status", "status", "logs"]
    for part in parts:
        arguments, _, expected = part.partition("\n")
        command = [sys.executable, "-m", "supervisor", *shlex.split(arguments)]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        assert alike(done.stdout, tmp_path) == alike(expected, tmp_path)


@pytest.mark.usefixtures("netd")
def test_the_readme_shows_the_screen(tmp_path: Path) -> None:
    """S43: what watch draws."""

    async def main() -> None:
        path = tmp_path / f"supervisor-{os.getuid()}" / "netd.sock"
        async with open_screen(path, SIZE) as screen:
            await screen.until_shown("netd is not ready", "dhcp")
            screen.press("down", "down")
            await screen.until(lambda: alike(screen.text, tmp_path) == expected)

    expected = alike(SCREEN.rstrip("\n"), tmp_path)
    asyncio.run(main())
