"""Whether a process has an inspector, and where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import supervisor
from supervisor.inspector._inspector import Inspector
from supervisor.testing import open_harness

from ..helpers.folders import tmp_path  # noqa: F401  a short one, for a socket
from ..helpers.internals import inspect_of, inspection, parse
from ..helpers.runnables import idle
from ..helpers.services import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HERE = Path(__file__).parents[2]
ROOT = "services.endings:finish"


@pytest.mark.parametrize(
    ("given", "variable", "path"),
    [
        (True, "", None),
        ("/tmp/x", "", "/tmp/x"),  # noqa: S108  nothing is made there
        (Path("/tmp/x"), "1", "/tmp/x"),  # noqa: S108  as above
        (None, "1", None),
        (None, "/tmp/y", "/tmp/y"),  # noqa: S108  as above
    ],
)
async def test_main_has_one_on_demand(
    monkeypatch: pytest.MonkeyPatch, given: object, variable: str, path: str | None
) -> None:
    """S38: by its argument, or else by the environment."""
    monkeypatch.setenv("SUPERVISOR_INSPECT", variable)
    make = inspection(given)
    assert make is not None
    async with open_harness(idle) as tree:
        made = make(tree)
    assert isinstance(made, Inspector)
    assert made._path == (None if path is None else Path(path))


@pytest.mark.parametrize(
    ("given", "variable"), [(False, "1"), (None, ""), (None, "0"), (False, "")]
)
def test_main_has_none_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: object, variable: str
) -> None:
    """S38: nor if the variable is not there."""
    monkeypatch.setenv("SUPERVISOR_INSPECT", variable)
    assert inspection(given) is None
    monkeypatch.delenv("SUPERVISOR_INSPECT")
    assert inspection(None) is None


async def test_a_function_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """S38: with what options it likes."""
    monkeypatch.delenv("SUPERVISOR_INSPECT", raising=False)

    def make_one(tree: supervisor.Supervisor) -> Callable[[], Awaitable[object]]:
        made_of.append(tree)
        return idle

    made_of: list[supervisor.Supervisor] = []
    make = inspection(make_one)
    assert make is not None
    async with open_harness(idle) as tree:
        assert make(tree) is idle
    assert made_of == [tree]


def test_what_is_no_place_is_refused() -> None:
    """S2: before anything starts."""
    with pytest.raises(TypeError, match="inspect=3 is no place for a socket"):
        supervisor.main(idle, inspect=3)  # type: ignore[arg-type]  # it is wrong


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "services.endings"),
        (["--inspect"], "services.endings"),
        (["--name", "netd"], "netd"),
        (["--inspect", "x.sock"], "services.endings"),
        (["--http", "127.0.0.1:0"], "services.endings"),
    ],
)
async def test_run_has_one_of_the_name_of_the_module(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str
) -> None:
    """S38: or of the name that is given."""
    monkeypatch.syspath_prepend(HERE)
    make = inspect_of(parse(["run", ROOT, *arguments]))
    assert callable(make)
    async with open_harness(idle) as tree:
        assert repr(make(tree)) == f"<inspector of {name}>"


def test_run_has_none_without_h11(monkeypatch: pytest.MonkeyPatch) -> None:
    """S38: unless it was asked for; then the error says what to install."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setitem(sys.modules, "h11", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert inspect_of(parse(["run", ROOT])) is False
    assert callable(inspect_of(parse(["run", ROOT, "--inspect"])))
    assert inspect_of(parse(["run", ROOT, "--no-inspect"])) is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--http", "0.0.0.0:80"], "the loopback interface only"),
        (["--http", "80"], "is not of the form HOST:PORT"),
        (["--inspect", "x" * 108], "may have 107"),
        (["--name", "a/b"], "can't name an instance"),
        (["--no-inspect", "--name", "x"], "which --no-inspect leaves out"),
        (["--no-inspect", "--http", "127.0.0.1:0"], "which --no-inspect leaves out"),
        (["--no-inspect", "--inspect"], "not allowed with argument"),
    ],
)
def test_wrong_options_of_run_are_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """S33: with status 2, before anything starts."""
    monkeypatch.syspath_prepend(HERE)
    with pytest.raises(SystemExit) as caught:
        parse(["run", ROOT, *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_run_is_seen_by_its_name(tmp_path: Path) -> None:  # noqa: F811  the fixture
    """S38: and not when it has ended."""
    places = {"XDG_RUNTIME_DIR": str(tmp_path), "RUNTIME_DIRECTORY": "", "TMPDIR": str(tmp_path)}
    environment = {**ENVIRONMENT, **places}
    environment.pop("PYTHONSAFEPATH", None)  # the module is found from the working directory
    command = [sys.executable, "-m", "supervisor"]
    with subprocess.Popen(
        [*command, "run", "services.asked:idle", "--name", "netd"],
        cwd=HERE,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "the tree is ready" in line:
                break
        listed = subprocess.run(
            [*command, "list"], env=environment, capture_output=True, text=True, check=True
        )
        assert listed.stdout.split() == ["netd", "ready", f"{tmp_path}/supervisor/netd.sock"]
        process.terminate()
        process.stderr.read()
    assert list((tmp_path / "supervisor").iterdir()) == []
