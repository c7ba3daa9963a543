"""``python -m supervisor run package.module:root``, and its options (S22, S33)."""

from __future__ import annotations

import json
import logging
import os
import signal as signals
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import supervisor
from supervisor import Backoff, RestartLimit

from ..helpers.internals import load, main, parse
from ..helpers.services import LIFE

if TYPE_CHECKING:
    from collections.abc import Iterator

# The folder of the package ``services``.
HERE = Path(__file__).parents[2]
# Where this test's own supervisor comes from. What else Python finds is the command's affair.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(supervisor.__file__).parent.parent)}
ENVIRONMENT.pop("PYTHONSAFEPATH", None)

MODULES = {
    "broken/__init__.py": "",
    "broken/typo.py": "import no_such_module\n",
    "broken/inside.py": "import broken.missing\n",
    "broken/raises.py": "raise OSError('the disk is full')\n",
    "odd.py": "number = 42\n\nclass Roots:\n    async def root(): ...\n",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make modules that are importable, or not, in the folder that is returned."""
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def run(*arguments: str, folder: Path = HERE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("root", "status", "lines"), [("finish", 0, 0), ("leave", 7, 1)])
def test_run_is_main_for_a_root_by_name(root: str, status: int, lines: int) -> None:
    """S22: the module is found from the working directory; the status is that of main()."""
    result = run("run", f"services.endings:{root}")
    assert result.returncode == status, result.stderr
    records = [json.loads(line) for line in result.stderr.splitlines()]
    assert len([each for each in records if not LIFE.match(each["message"])]) == lines


def test_timeout_is_the_budget_of_a_stop() -> None:
    """S22: with --timeout, SIGTERM stops the tree within that many seconds."""
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "run", "services.endings:serve", "--timeout", "1.5"],
        cwd=HERE,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        process.send_signal(signals.SIGTERM)
        _, log = process.communicate()
    assert process.returncode == 0
    assert "SIGTERM: stopping, within 1.5 s" in log


def test_level_and_format_of_the_log_are_options() -> None:
    """S22: with --log-level and --log-format, whatever standard error is."""
    options = ("--log-level", "error", "--log-format", "journal", "--limit", "0/1")
    result = run("run", "services.endings:give_up", *options)
    assert result.returncode == 1
    died, *lines, end = result.stderr.splitlines()
    assert died.startswith("<3>root: root died in incarnation 1, ")
    assert all(line.startswith("<3>  | ") for line in lines)
    assert end.startswith("<2>supervisor: root gave up: ")


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("level", ["debug", "DEBUG", "10"])
def test_a_level_is_a_name_or_a_number(level: str) -> None:
    """S22: in letters of either kind."""
    assert parse(["run", "odd:Roots.root", "--log-level", level]).log_level == logging.DEBUG


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--log-level=loud", "argument --log-level: 'loud' is no level, such as INFO"),
        ("--log-format=xml", "argument --log-format: invalid choice: 'xml'"),
    ],
)
def test_a_bad_level_or_format_is_named(
    option: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """S22: the status is 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["run", "odd:Roots.root", option])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("modules")
def test_timeout_is_half_a_minute_by_default() -> None:
    """S22: the default is that of main(), and the help says so."""
    assert parse(["run", "odd:Roots.root"]).timeout == 30.0


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("seconds", ["0", "1.5", "1e3", "inf"])
def test_timeout_may_be_any_number_of_seconds(seconds: str) -> None:
    """S22: from 0 to infinity."""
    assert parse(["run", "odd:Roots.root", "--timeout", seconds]).timeout == float(seconds)


@pytest.mark.parametrize("option", ["timeout", "drain", "grace"])
@pytest.mark.parametrize("seconds", ["-1", "nan", "soon", ""])
def test_a_bad_time_is_named(option: str, seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """S22, S33: the error shows what is no number of seconds, and the status is 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["run", "odd:Roots.root", f"--{option}={seconds}"])
    assert exit_.value.code == 2
    message = f"argument --{option}: {seconds!r} is not a number of seconds of at least 0"
    assert capsys.readouterr().err.endswith(f"error: {message}\n")


@pytest.mark.usefixtures("modules")
def test_options_are_those_of_main() -> None:
    """S33: by default, and where they are given."""
    given = parse(["run", "odd:Roots.root"])
    assert (given.drain, given.grace, given.backoff, given.arguments) == (0.0, 0.0, None, [])
    assert given.limit == RestartLimit(5, within=60.0)
    assert given.blocked_after == 5.0
    assert (given.log_level, given.log_format) == (logging.INFO, "auto")
    options = "--drain 5 --grace 10 --limit 3/1.5 --backoff 1/30 --blocked-after 0.5"
    given = parse(["run", "odd:Roots.root", *options.split()])
    assert (given.drain, given.grace) == (5.0, 10.0)
    assert given.limit == RestartLimit(3, within=1.5)
    assert given.blocked_after == 0.5
    assert given.backoff == Backoff(initial=1.0, maximum=30.0)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("text", "backoff"),
    [("2", Backoff(initial=2.0)), ("90", Backoff(initial=90.0, maximum=90.0))],
)
def test_one_delay_is_the_first(text: str, backoff: Backoff) -> None:
    """S33: the longest is that of Backoff(), or the first one if that is longer."""
    assert parse(["run", "odd:Roots.root", "--backoff", text]).backoff == backoff


@pytest.mark.usefixtures("modules")
def test_the_root_may_restart_without_end() -> None:
    """S33: with --limit none."""
    assert parse(["run", "odd:Roots.root", "--limit", "none"]).limit is None


@pytest.mark.usefixtures("modules")
def test_a_blocked_loop_may_be_nobodys_business() -> None:
    """S18: with --blocked-after none."""
    assert parse(["run", "odd:Roots.root", "--blocked-after", "none"]).blocked_after is None


@pytest.mark.parametrize("text", ["0", "-1", "nan", "soon", ""])
def test_a_bad_time_of_a_blocked_loop_is_named(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """S18: the error shows it, and the status is 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["run", "odd:Roots.root", f"--blocked-after={text}"])
    assert exit_.value.code == 2
    message = f"argument --blocked-after: {text!r} is not a number of seconds above 0, nor 'none'"
    assert capsys.readouterr().err.endswith(f"error: {message}\n")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(("limit", text) for text in ("", "5", "5/", "/60", "x/60", "-1/60", "5/0", "5/60/2")),
        *(("limit", text) for text in ("1.5/60", "5/inf", "5/nan", "None")),
        *(("backoff", text) for text in ("", "/", "1/", "-1", "nan", "inf", "x", "5/1", "1/2/3")),
    ],
)
def test_a_bad_limit_or_backoff_is_named(
    option: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """S33: the error shows the value and an example in one line, and the status is 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["run", "odd:Roots.root", f"--{option}={text}"])
    assert exit_.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    begin = f"python -m supervisor run: error: argument --{option}: {text!r} is not a number of "
    assert line.startswith(begin)
    assert "such as" in line


def test_the_root_gets_the_arguments_and_its_options() -> None:
    """S33: arguments as strings; the grace is the root's, the limit ends what can't work."""
    result = run(
        *("run", "services.arguments:root", "--grace", "3600", "--drain", "0.1"),
        *("--limit", "1/60", "--backoff", "0/0", "--", "--first", "2"),
    )
    assert result.returncode == 1, result.stderr
    assert result.stdout.splitlines() == ["('--first', '2')"] * 2
    assert "root gave up: 1 restarts within 60 s are allowed" in result.stderr


@pytest.mark.parametrize(
    ("root", "status", "begin"),
    [("leave", 7, "{"), ("absent", 2, "trio-supervisor run: error: there is no 'absent' in ")],
)
def test_the_installed_command_is_the_same(
    root: str, status: int, begin: str, tmp_path: Path
) -> None:
    """S33: trio-supervisor finds modules in the working directory, and says its own name."""
    script = tmp_path / "trio-supervisor"  # as pip makes it
    script.write_text(
        "import sys\nfrom supervisor._process._command_line import command\nsys.exit(command())\n"
    )
    result = subprocess.run(
        [sys.executable, script, "run", f"services.endings:{root}"],
        cwd=HERE,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, result.stderr
    assert result.stderr.splitlines()[-1].startswith(begin)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("odd", "'odd' does not have the form package.module:root"),
        ("odd:", "'odd:' does not have the form package.module:root"),
        (":root", "':root' does not have the form package.module:root"),
        ("", "'' does not have the form package.module:root"),
        ("no_such:root", "there is no module 'no_such' to import 'no_such:root' from, in ["),
        (
            "no_such.module:root",
            "there is no module 'no_such' to import 'no_such.module:root' from, in [",
        ),
        (
            "broken.absent:root",
            "there is no module 'broken.absent' to import 'broken.absent:root' from, in [",
        ),
        (
            "odd.module:root",
            "there is no module 'odd.module' to import 'odd.module:root' from, in [",
        ),
        ("odd:root", "there is no 'root' in <module 'odd' from "),
        ("odd:Roots.toor", "there is no 'toor' in <class 'odd.Roots'>, for 'odd:Roots.toor'"),
        ("odd:number", "'odd:number' is 42, and not an async function"),
    ],
)
def test_a_target_that_does_not_exist_is_named(
    target: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """S22: the error says what could not be imported, without a traceback; the status is 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["run", target])
    assert exit_.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("usage: python -m supervisor run ")
    assert f"\npython -m supervisor run: error: {message}" in shown
    assert "Traceback" not in shown


@pytest.mark.usefixtures("modules")
def test_a_target_may_be_nested() -> None:
    """S22: what is after the colon may have dots, as in an entry point."""
    assert load("odd:Roots.root").__qualname__ == "Roots.root"


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("typo", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("inside", "ModuleNotFoundError: No module named 'broken.missing'"),
        ("raises", "OSError: the disk is full"),
    ],
)
def test_an_error_inside_the_module_shows_as_itself(modules: Path, module: str, error: str) -> None:
    """S22: the traceback shows the line of the module, and not that the module is missing."""
    result = run("run", f"broken.{module}:root", folder=modules)
    assert result.returncode == 1
    assert f"{module}.py" in result.stderr
    assert result.stderr.endswith(f"{error}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["run"], "the following arguments are required: MODULE:ROOT"),
        (["walk"], "invalid choice: 'walk'"),
    ],
)
def test_a_missing_argument_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """S22: without a command or a root, the error says which argument is required."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_shows_commands_options_and_statuses(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """S22: the help shows the command, or its options and exit statuses, with status 0."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    if "run" in arguments:
        assert "--timeout S how long a stop may take (30)" in shown
        assert "Exit status: 0 stopped or finished, 1 gave up, 2 wrong arguments, 3 the" in shown
    else:
        assert "run run a root runnable until it ends, or until SIGTERM or Ctrl-C" in shown
