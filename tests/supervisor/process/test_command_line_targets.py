"""What ``python -m supervisor run`` refuses to run: one line that names it, and status 2 (S22)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from ..helpers.internals import load, main, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOTS = """
import functools

async def root(): ...
async def needs(port): ...
async def takes_all(*args): ...
async def many(): yield
def plain(): ...
def returns(): return root()

@functools.wraps(root)
def wrapped(*args): return root(*args)

class Service:
    async def __call__(self): ...
    async def serve(self): ...
    def __repr__(self): return "a\\nservice"

class Awaitable:
    def __await__(self): yield

class Shy:
    def __repr__(self): raise OSError

service = Service()
shy = Shy()
with_port = functools.partial(needs, 80)
plain_partial = functools.partial(plain)
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make ``roots`` importable."""
    (tmp_path / "roots.py").write_text(ROOTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("roots", None)


def refusal(target: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what is said of a target, in its one line below the usage."""
    with pytest.raises(SystemExit) as exit_:
        main(["run", target, *arguments])
    assert exit_.value.code == 2
    *usage, line = capsys.readouterr().err.splitlines()
    assert usage[0].startswith("usage: ")
    assert "Traceback" not in usage
    return line.removeprefix("python -m supervisor run: error: ")


@pytest.mark.parametrize(
    "name", ["root", "service", "service.serve", "Awaitable", "with_port", "wrapped"]
)
def test_what_is_called_like_an_async_function_runs(name: str) -> None:
    """S22: a partial, a method, an object with an async __call__ and a wrapper are as good."""
    assert callable(load(f"roots:{name}"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain", "<function plain at "),
        ("returns", "<function returns at "),
        ("many", "<function many at "),
        ("Service", "<class 'roots.Service'>"),
        ("plain_partial", "functools.partial(<function plain at "),
        ("shy", "<Shy instance at "),
        ("functools.wraps", "<function wraps at "),
    ],
)
def test_what_is_not_async_is_refused(
    name: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """S22: without a call, which may do anything, it is known not to be an async function."""
    line = refusal(f"roots:{name}", capsys)
    assert line.startswith(f"'roots:{name}' is {shown}")
    assert line.endswith(", and not an async function")


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("needs", [], "without arguments: missing a required argument: 'port'"),
        ("needs", ["--"], "without arguments: missing a required argument: 'port'"),
        ("root", ["--", "80"], "with 1 argument: too many positional arguments"),
        ("needs", ["--", "80", "--"], "with 2 arguments: too many positional arguments"),
    ],
)
def test_a_function_that_takes_other_arguments_is_refused(
    name: str, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """S22, S33: it would die of them in each incarnation."""
    shown = refusal(f"roots:{name}", capsys, *arguments)
    assert shown == f"'roots:{name}' is called {line}; what follows -- is passed to it"


def test_a_function_gets_what_follows_the_dashes() -> None:
    """S33: as strings, options and further dashes as well."""
    assert parse(["run", "roots:takes_all", "--", "80", "--drain", "--"]).arguments == [
        "80",
        "--drain",
        "--",
    ]


def test_a_name_of_several_lines_is_shown_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    """S22: what an object's repr() says does not break the line."""
    line = refusal("roots:service.absent", capsys)
    assert line == "there is no 'absent' in a service, for 'roots:service.absent'"


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("./roots:root", "'./roots' is not the name of a module: write 'roots'"),
        ("./roots.py:root", "'./roots.py' is not the name of a module: write 'roots'"),
        ("net/roots.py:root", "'net/roots.py' is not the name of a module: write 'net.roots'"),
        ("net/__init__.py:root", "'net/__init__.py' is not the name of a module: write 'net'"),
        ("/srv/roots.py:root", "'/srv/roots.py' is not the name of a module"),
        ("../roots.py:root", "'../roots.py' is not the name of a module"),
        (".roots:root", "'.roots' is not the name of a module"),
        ("roots.:root", "'roots.' is not the name of a module"),
        ("my-roots:root", "'my-roots' is not the name of a module"),
    ],
)
def test_a_path_is_refused(target: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """S22: a file is not a module; what to write instead is said where that is known."""
    assert refusal(target, capsys) == line


def test_the_name_of_a_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """S22: 'roots.py' could be a module 'py' in a package; if it is none, the file is meant."""
    line = refusal("roots.py:root", capsys)
    assert line.startswith("there is no module 'roots.py' to import 'roots.py:root' from, in [")
    assert line.endswith("]: write 'roots'")


def test_a_coroutine_is_refused_and_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S22: a root that was called already is named, without a warning that it was not awaited."""
    (tmp_path / "roots.py").write_text(f"{ROOTS}\ncalled = root()")
    line = refusal("roots:called", capsys)
    assert line.startswith("'roots:called' is <coroutine object root at ")
    assert line.endswith(", and not an async function")
