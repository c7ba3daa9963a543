"""The examples do what they say, as processes of their own."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_hostsfile_holds_the_addresses_of_this_machine(tmp_path: Path) -> None:
    """The file has a line for each address that the operating system reports."""
    path = tmp_path / "hosts"
    result = run("hostsfile.py", "--seconds", 1, "--every", 0.1, "--file", path)
    assert result.returncode == 0, result.stderr
    written = {line.split()[0] for line in path.read_text().splitlines()[1:]}
    assert written == {
        entry.address.partition("%")[0]
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in {socket.AF_INET, socket.AF_INET6}
    }
    assert list(tmp_path.iterdir()) == [path]


def test_hostsfile_restarts_pipe_and_writer_together(tmp_path: Path) -> None:
    """With --crash-every the writer dies, and its group restarts; nobody else does."""
    result = run(
        "hostsfile.py", "--crash-every", 2, "--every", 0.05, "--seconds", 3,
        "--file", tmp_path / "hosts",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    changes = re.findall(r"s  (\w+) +root\.(\w+)", result.stdout)
    assert changes.count(("DEAD", "hosts")) == changes.count(("NEW", "hosts")) - 1 >= 2 or (
        changes.count(("DEAD", "hosts")) == changes.count(("NEW", "hosts")) >= 2
    )
    assert changes.count(("NEW", "pipe")) == changes.count(("NEW", "hosts"))
    assert changes.count(("NEW", "network")) == changes.count(("NEW", "status")) == 1
    assert "crash after 2 writes, as --crash-every demands" in result.stderr


def test_hostsfile_answers_with_the_present_state(tmp_path: Path) -> None:
    """A TCP connection gets the state and is closed; Ctrl-C ends the example in good order."""
    path = tmp_path / "hosts"
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "hostsfile.py", "--file", path],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("status on "):
                break
        host, _, port = line.split()[-1].partition(":")
        with socket.create_connection((host, int(port))) as connection:
            answer = connection.makefile().read()
        assert answer.startswith("# read at ")
        assert "127.0.0.1" in answer
        process.send_signal(2)
        assert process.stdout.read().endswith("stopped by Ctrl-C\n")
    assert process.returncode == 0


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
    """Three deaths, three growing delays, and an end."""
    result = run("crash_and_backoff.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "start 1, after 0 units",
        "start 2, after 1 units",
        "start 3, after 2 units",
        "start 4, after 4 units",
        "all done",
    ]


def test_select_two_values_shows_the_newest_of_each() -> None:
    """Sets that were replaced before they could be shown are skipped."""
    result = run("select_two_values.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "it is 21.0 degrees",
        "it is 19.5 degrees",
        "the door is closed",
        "the door is locked",
    ]


def test_echo_service_says_goodbye_to_each_client() -> None:
    """At SIGTERM nobody can connect any more, and those who are connected are not cut off."""
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "echo_service.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        host, _, port = process.stdout.readline().split()[-1].partition(":")
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(3)
            ]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
                assert client.recv(1) == b"%d" % number
            process.terminate()
            assert [client.makefile().read() for client in clients] == ["goodbye\n"] * 3
        log = process.stderr.read()
    assert process.returncode == 0, log
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_thermostat_heats_and_rests() -> None:
    """The load of the process goes up and down, as derived values say."""
    result = run("thermostat.py", "--seconds", 3, "--limit", 10)
    assert result.returncode == 0, result.stderr
    changes = [line for line in result.stdout.splitlines() if line in {"heat", "rest"}]
    assert changes[:3] == ["heat", "rest", "heat"]
