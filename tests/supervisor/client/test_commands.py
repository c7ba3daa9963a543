"""The commands that ask a running service: what they print, and their exit statuses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from supervisor import _instances
from supervisor.client import _choice
from supervisor.client._commands import PATIENCE, PAUSE, status_of
from supervisor.client._connection import Service

from ..helpers.answers import answer, answering, stream
from ..helpers.internals import parse
from ..helpers.services import ENVIRONMENT, SIGTERM, next_line, service

if TYPE_CHECKING:
    from collections.abc import Iterator


PAGE = Path(__file__).parents[3] / "docs" / "inspector.md"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which instances are looked for."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (home,) = _instances.folders()
    home.mkdir(mode=0o700)
    return home


@pytest.fixture
def netd(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A service that is called netd."""
    with service("inspected.py", home / "netd.sock", stderr=subprocess.DEVNULL) as process:
        assert next_line(process) == "ready"
        yield process


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return the exit status of a command, and what it printed; times are left out."""
    status = status_of(parse(list(arguments)))
    out, err = capsys.readouterr()
    return status, re.sub(r" *\d+\.\d s", " T", out), err


STATUS = """\
netd is not ready; 5 nodes: 3 HEALTHY, 1 DEAD, 1 CANCELED
root      HEALTHY  T
  net     HEALTHY  T
    dhcp  DEAD T  restarts in 16 min 39 s; died of OSError: no lease
    dns   CANCELED T  restarts in 16 min 39 s
  obey    HEALTHY  T
"""


def in_one_space(text: str) -> str:
    return re.sub(r" +", " ", text)


@pytest.mark.usefixtures("netd")
def test_status_shows_the_tree(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: 3 says that it is not ready."""
    status, out, err = ask(capsys, "status")
    assert (status, in_one_space(out), err) == (3, in_one_space(STATUS), "")


@pytest.mark.usefixtures("netd")
def test_status_of_a_node_begins_with_why(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: then come the nodes of its subtree."""
    status, out, _ = ask(capsys, "status", "root.net")
    first, *rest = out.splitlines()
    assert status == 3
    assert first.startswith("root.net is HEALTHY, but below it, root.net.dhcp died T ago")
    assert [line.split()[0] for line in rest] == ["root.net", "dhcp", "dns"]


@pytest.mark.usefixtures("netd")
def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: but for the times."""
    found = re.search(r"```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    prompt = "$ python -m supervisor "
    for part in found[1].split(prompt)[1:]:
        command, _, expected = part.partition("\n")
        status_of(parse(command.split()))
        assert timeless(capsys.readouterr().out) == timeless(expected)


def timeless(text: str) -> str:
    return re.sub(r" *(\d+ min )?\d+(\.\d)? s", " T", text)


@pytest.mark.usefixtures("netd")
def test_a_ready_part_of_a_tree_has_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: whatever the rest does."""
    status, out, _ = ask(capsys, "status", "root.obey")
    assert status == 0
    assert out.startswith("root.obey is HEALTHY for T\n")


@pytest.mark.usefixtures("netd")
def test_status_shows_what_is_not_ready_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: with whole DNs."""
    status, out, _ = ask(capsys, "status", "--failed")
    assert status == 3
    first, *rest = out.splitlines()
    assert first == STATUS.splitlines()[0]
    assert [line.split()[0] for line in rest] == ["root.net.dhcp", "root.net.dns"]


@pytest.mark.usefixtures("netd")
def test_status_is_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: the answer of the inspector, with why where a node was asked for."""
    status = status_of(parse(["status", "root.net.dns", "--json"]))
    answer = json.loads(capsys.readouterr().out)
    assert status == 3
    assert answer["nodes"][0]["state"] == "CANCELED"
    assert answer["why"].startswith("root.net.dns is CANCELED since its group's root.net.dhcp died")


@pytest.mark.usefixtures("netd")
def test_a_node_that_is_not_there_is_4(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: with the nearest names."""
    for arguments in (["status"], ["logs"], ["stack"], ["restart"], ["stop"]):
        status, out, err = ask(capsys, *arguments, "root.net.dhpc")
        assert (status, out) == (4, "")
        assert err == "the tree has no node root.net.dhpc; root.net has dhcp, dns\n"


@pytest.mark.usefixtures("netd")
def test_a_wrong_argument_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: whether the command line sees it, or the inspector."""
    for arguments in (["status", "net"], ["logs", "root", "--level", "loud"], ["stop", "root"]):
        status, out, err = ask(capsys, *arguments)
        assert (status, out) == (2, "")
        assert err
    for arguments in (["logs"], ["logs", "root", "-n", "x"], ["status", "--name", "a/b"]):
        with pytest.raises(SystemExit) as caught:
            parse(arguments)
        assert caught.value.code == 2


@pytest.mark.usefixtures("netd")
def test_stack_shows_where_tasks_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: by default those of the whole tree."""
    assert "in obey" in ask(capsys, "stack")[1]
    assert ask(capsys, "stack", "root.obey")[1].startswith("task root.obey:\n")
    assert ask(capsys, "stack", "root.net.dns")[1] == "nothing of root.net.dns runs\n"


@pytest.mark.usefixtures("netd")
def test_restart_and_stop_act_on_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: they print the DNs of its members."""
    expected = (0, "stops: root.net.dhcp, root.net.dns\n", "")
    assert ask(capsys, "stop", "root.net.dns") == expected
    assert ask(capsys, "restart", "root.obey") == (0, "restarts: root.obey\n", "")


def test_logs_are_shown_and_followed(netd: subprocess.Popen[str], home: Path) -> None:
    """S38: across a restart of the inspector nothing is lost, and nothing comes twice."""
    assert netd.stdin is not None

    def log(text: str) -> None:
        assert netd.stdin is not None
        netd.stdin.write(f"{text}\n")
        netd.stdin.flush()
        assert next_line(netd) == "done"

    for text in ("one", "two", "three"):
        log(text)
    command = [sys.executable, "-m", "supervisor", "logs", "root.obey", "--socket"]
    command.append(str(home / "netd.sock"))
    shown = subprocess.run(
        [*command, "-n", "2"], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert [line.split()[1:] for line in shown.stdout.splitlines()] == [
        ["INFO", "root.obey:", "two"],
        ["INFO", "root.obey:", "three"],
    ]
    with subprocess.Popen(
        [*command, "-f", "-n", "1"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as follower:
        assert next_line(follower).endswith(" three")
        log("restart the inspector")
        for text in ("four", "five"):
            log(text)
        assert next_line(follower).endswith(" four")
        log("six")
        assert next_line(follower).endswith(" five")
        assert next_line(follower).endswith(" six")
        follower.kill()


def test_a_follower_ends_when_the_service_has_ended(
    netd: subprocess.Popen[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
) -> None:
    """S38: it tries again for 10 seconds."""
    told = Service.events

    @contextlib.contextmanager
    def first_of(service: Service, target: str, after: str | None) -> Iterator[Iterator[object]]:
        """Break off after one event; the service ends then."""
        with told(service, target, after) as events:
            yield iter([next(events)])
            netd.send_signal(SIGTERM)
            netd.wait()

    monkeypatch.setattr(Service, "events", first_of)
    status, _, err = ask(capsys, "logs", "root", "-f")
    assert status == 1
    assert "no answer from" in err
    assert ends_in_time(pauses)


def ends_in_time(pauses: list[float]) -> bool:
    """Return whether pauses end with the first one, but for rounding, that is too late."""
    return 0 <= len(pauses) - PATIENCE / PAUSE <= 1


def record(text: str) -> tuple[str, object]:
    """Return an event of the log."""
    return "log", {"time": 1.0, "level": 20, "dn": "root", "text": text}


@pytest.mark.parametrize("status", [404, 503])
def test_a_follower_waits_for_a_node_that_was_there(
    home: Path, capsys: pytest.CaptureFixture[str], pauses: list[float], status: int
) -> None:
    """S38: a service that has just begun may not have it yet; it is waited for for 10 seconds."""
    refusal = answer({"error": "not yet"}, status)
    answers = [stream(record("one")), *[refusal] * 20, stream(record("two")), *[refusal] * 60]
    with answering(home / "netd.sock", answers):
        exit_status, out, err = ask(capsys, "logs", "root", "-f")
    assert (exit_status, err) == (4 if status == 404 else 1, "not yet\n")
    assert [line.split()[-1] for line in out.splitlines()] == ["one", "two"]
    assert ends_in_time(pauses[21:])


def test_what_a_follower_could_not_reach_before_does_not_count(
    home: Path, capsys: pytest.CaptureFixture[str], pauses: list[float]
) -> None:
    """S38: the 10 seconds begin anew with each stream, also with one that has no event."""
    answers = [*([stream()] + [b""] * 20) * 5, stream(record("late"))]
    with answering(home / "netd.sock", answers):
        status, out, err = ask(capsys, "logs", "root", "-f")
    assert status == 1
    assert out.endswith("root: late\n")
    assert "no answer from" in err
    assert ends_in_time(pauses[105:])


def test_what_is_refused_at_first_is_not_waited_for(
    home: Path, capsys: pytest.CaptureFixture[str], pauses: list[float]
) -> None:
    """S38: there is no such node."""
    with answering(home / "netd.sock", [answer({"error": "none"}, 404)]):
        assert ask(capsys, "logs", "root", "-f") == (4, "", "none\n")
    assert pauses == []


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of a command, which take no time but that of its clock."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(pauses))
    return pauses


def test_list_shows_all_instances(
    netd: subprocess.Popen[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S38: those that run, and sockets that were left behind."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home / "gone.sock"))
    with service("inspected.py", home / "web.sock", "well", stderr=subprocess.DEVNULL) as other:
        assert next_line(other) == "ready"
        status, out, _ = ask(capsys, "list")
        assert (status, [line.split()[:-1] for line in out.splitlines()]) == (
            0,
            [["gone", "gone"], ["netd", "not", "ready"], ["web", "ready"]],
        )
        status, out, err = ask(capsys, "status")
        assert status == 1
        assert err == "there are 2 instances: choose one by --name: netd, web\n"
        assert ask(capsys, "status", "--name", "web")[0] == 0
        assert ask(capsys, "status", "--socket", str(home / "netd.sock"))[0] == 3
    assert netd.poll() is None


def test_without_an_instance_each_path_is_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S38: with the instances there are, and the line that turns it on."""
    status, _, err = ask(capsys, "status")
    assert status == 1
    assert f"  tried {home}/*.sock\n" in err
    assert "supervisor.main(root, inspect=True)" in err
    status, _, err = ask(capsys, "status", "--name", "netd")
    assert status == 1
    assert f"  tried {home}/netd.sock\n  tried /run/netd/netd.sock\n" in err
    status, _, err = ask(capsys, "status", "--socket", f"{home}/x")
    assert status == 1
    assert "No such file or directory" in err
    status, _, err = ask(capsys, "list")
    assert status == 1
    assert f"  looked into {home}\n" in err


@pytest.mark.parametrize("fault", ["link", "mode", "owner"])
def test_a_folder_that_may_be_anybodys_is_left_out(
    netd: subprocess.Popen[str],
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """S38: what listens there could be another user's, who is shown what is asked for."""
    told = "no folder of this user's"
    if fault == "link":
        home.rename(home.with_name("elsewhere"))
        home.symlink_to(home.with_name("elsewhere"))
    elif fault == "mode":
        home.chmod(0o770)
        told = "a folder to which others may write"
    else:
        user = os.getuid() + 1
        home = home.rename(home.with_name(f"supervisor-{user}"))
        monkeypatch.setattr(os, "getuid", lambda: user)
    for arguments in (["status"], ["status", "--name", "netd"], ["list"]):
        status, out, err = ask(capsys, *arguments)
        assert (status, out) == (1, "")
        assert f"\n  {home} is {told}\n" in err
    assert ask(capsys, "status", "--socket", str(home / "netd.sock"))[0] == 3
    assert netd.poll() is None


@pytest.mark.usefixtures("netd")
@pytest.mark.parametrize(("asker", "owner"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_folder_below_run_may_be_roots(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    asker: int,
    owner: int,
) -> None:
    """S38: only root makes it there, also for another user, whose service root may ask."""
    if os.getuid() != 0:
        pytest.skip("only root gives a folder to another user")
    folder = home.rename(home.with_name("netd"))
    os.chown(folder, owner, -1)
    monkeypatch.setattr(_choice, "RUN", folder.parent)
    monkeypatch.setattr(os, "getuid", lambda: asker)
    assert ask(capsys, "status", "--name", "netd")[0] == 3
    monkeypatch.setattr(os, "getuid", lambda: 2)
    assert ask(capsys, "status", "--name", "netd")[0] == (3 if owner == 0 else 1)
    folder.chmod(0o777)
    assert ask(capsys, "status", "--name", "netd")[0] == 1


def test_an_instance_that_does_not_answer_is_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S38: something else listens there, or the service has just ended."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(home / "other.sock"))
        other.listen()
        other.shutdown(socket.SHUT_RDWR)
        status, _, err = ask(capsys, "status")
        assert status == 1
        assert err


def test_what_is_printed_steers_no_terminal(
    netd: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """S38: whatever a service logs."""
    assert netd.stdin is not None
    netd.stdin.write("\x1b[2J\n")
    netd.stdin.flush()
    assert next_line(netd) == "done"
    assert ask(capsys, "logs", "root.obey")[1].endswith(" root.obey: \\x1b[2J\n")


@pytest.mark.parametrize(
    "arguments", ["status", "status root", "logs root", "logs root -f", "stack", "restart root"]
)
@pytest.mark.parametrize("body", [{}, [], "text"])
def test_another_server_is_no_inspector(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    pauses: list[float],
    body: object,
    arguments: str,
) -> None:
    """S38: whatever it answers, that is no connection."""
    path = home / "other.sock"
    with answering(path, [answer(body)] * 60):
        expected = (1, "", f"what listens at {path} is no inspector\n")
        assert ask(capsys, *arguments.split(), "--socket", str(path)) == expected
        assert ask(capsys, "list")[1].startswith("other  no answer  ")
    assert bool(pauses) == ("-f" in arguments)


def test_a_path_that_is_too_long_is_no_instance(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S38: as one at which nothing is."""
    monkeypatch.setattr("tempfile.tempdir", str(home / ("x" * 100)))
    (folder,) = _instances.folders()
    folder.mkdir(mode=0o700, parents=True)
    (folder / "netd.sock").touch()
    assert ask(capsys, "status")[0] == 1
    assert ask(capsys, "status", "--name", "netd")[0] == 1
    assert ask(capsys, "list") == (0, f"netd  gone       {folder}/netd.sock\n", "")
    status, _, err = ask(capsys, "status", "--socket", str(folder / "netd.sock"))
    assert status == 1
    assert "path too long" in err


@pytest.mark.usefixtures("netd")
def test_what_is_no_text_is_refused_by_the_inspector(capsys: pytest.CaptureFixture[str]) -> None:
    """S38: the arguments of a process are bytes."""
    for arguments in (
        ["status", "\udcff"],
        ["logs", "\udcff"],
        ["logs", "root", "--level", "\udcff"],
    ):
        status, out, err = ask(capsys, *arguments)
        assert (status, out) == (2, "")
        assert "\ufffd" in err


def test_what_the_encoding_of_the_output_has_not_is_escaped(
    netd: subprocess.Popen[str], home: Path
) -> None:
    """S38: and what comes after it is printed as well."""
    assert netd.stdin is not None
    for text in ("€", "after"):
        netd.stdin.write(f"{text}\n")
        netd.stdin.flush()
        assert next_line(netd) == "done"
    command = [sys.executable, "-m", "supervisor", "logs", "root.obey", "--socket"]
    done = subprocess.run(
        [*command, str(home / "netd.sock")],
        env=ENVIRONMENT | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        encoding="latin-1",
        check=True,
    )
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["\\u20ac", "after"]


CLEAR = "\x1b[2J"

ROW = {
    "dn": f"root.{CLEAR}",
    "state": CLEAR,
    "since": 0.5,
    "run": 1,
    "deaths": 1,
    "error": CLEAR,
    "not_ready": CLEAR,
    "group_state": CLEAR,
    "deadline": None,
}


@pytest.mark.parametrize(
    "arguments", ["status", "status root", "status --failed", "logs root", "stack", "restart root"]
)
def test_no_field_of_an_answer_steers_a_terminal(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    """S38: what listens may be anything."""
    body = {
        **dict.fromkeys(["name", "why", "stack"], CLEAR),
        "time": 1.0,
        "ready": True,
        "nodes": [ROW],
        "dns": [CLEAR],
        "entries": [{"time": 1.0, "level": CLEAR, "dn": CLEAR, "text": CLEAR}],
    }
    with answering(home / "netd.sock", [answer(body)] * 2):
        status, out, err = ask(capsys, *arguments.split())
    assert (status, err) == (0, "")
    assert "\\x1b[2J" in out
    assert "\x1b" not in out


def test_no_name_of_a_file_steers_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S38: that of a folder is escaped, and what is no name of an instance left out."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / CLEAR))
    home = tmp_path / CLEAR / "supervisor"
    home.mkdir(mode=0o700, parents=True)
    for name in ("left", CLEAR):
        (home / f"{name}.sock").touch()
    line = f"left  gone       {tmp_path}/\\x1b[2J/supervisor/left.sock\n"
    assert ask(capsys, "list") == (0, line, "")


def test_a_reader_that_has_seen_enough_is_no_error(netd: subprocess.Popen[str], home: Path) -> None:
    """S38: as with head."""
    command = f"{sys.executable} -m supervisor stack --socket {home}/netd.sock | head -n 1"
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert netd.poll() is None


def test_a_command_imports_no_inspector(tmp_path: Path) -> None:
    """S38: what it takes to answer is mostly imports."""
    program = (
        "import sys\n"
        "from supervisor._process._command_line import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        "    print(*sorted(sys.modules))\n"
    )
    command = [sys.executable, "-c", program, "status", "--socket", str(tmp_path / "s")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    modules = set(done.stdout.split())
    assert "supervisor.client._commands" in modules
    assert not modules & {"h11", "supervisor.inspector", "textual"}
