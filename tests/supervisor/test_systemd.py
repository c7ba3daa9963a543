"""What a service tells systemd by itself, and what it gets from it (S40)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from supervisor.systemd import listen_sockets, notify

from .helpers.folders import tmp_path  # noqa: F401  a short one, for a socket
from .helpers.notifications import Manager, activated, manager, open_manager  # noqa: F401
from .helpers.services import ENVIRONMENT, SERVICES, SIGTERM, next_line

if TYPE_CHECKING:
    from pathlib import Path


# Notifications


@pytest.mark.parametrize("is_abstract", [True, False])
def test_fields_are_sent_in_one_datagram(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,  # noqa: F811  the fixture
    *,
    is_abstract: bool,
) -> None:
    """S40: to a path, or to an abstract address, which begins with @."""
    with open_manager(None if is_abstract else tmp_path / "notify") as opened:
        monkeypatch.setenv("NOTIFY_SOCKET", opened.variable)
        assert opened.variable.startswith("@") is is_abstract
        assert notify(READY=1, STATUS="all is well: 100 % = ✓")
        assert notify(X_LEASES_4=-7)
        assert opened.waiting() == ["READY=1\nSTATUS=all is well: 100 % = ✓", "X_LEASES_4=-7"]


@pytest.mark.parametrize("variable", [None, ""])
def test_without_a_manager_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """S40: which is no error; wrong fields are one all the same."""
    if variable is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", variable)
    assert not notify(READY=1)
    with pytest.raises(ValueError, match="nothing to send"):
        notify()


def test_a_manager_that_does_not_read_blocks_nobody(
    manager: Manager,  # noqa: F811  the fixture
) -> None:
    """S40: when the system keeps no more, nothing is sent; later it is again."""
    sent = 0
    while notify(READY=1):
        sent += 1
    assert manager.waiting() == ["READY=1"] * sent
    assert notify(READY=1)


@pytest.mark.parametrize("variable", ["/nobody/is/here", "@nobody-is-here", "vsock:2:1", "x" * 500])
def test_a_manager_that_is_not_there_is_no_error(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """S40: no service fails of it."""
    monkeypatch.setenv("NOTIFY_SOCKET", variable)
    assert not notify(READY=1)


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({}, ValueError, "nothing to send: pass at least one field"),
        ({"ready": 1}, ValueError, "can't send 'ready': a field has a name such as READY"),
        ({"A=B": 1}, ValueError, "can't send 'A=B'"),
        ({"READY\n": 1}, ValueError, r"can't send 'READY\\n'"),
        ({"READY": True}, TypeError, "can't send READY=True: pass a string or a whole number"),
        ({"READY": 1.0}, TypeError, "can't send READY=1.0"),
        ({"STATUS": b"x"}, TypeError, "can't send STATUS=b'x'"),
        ({"STATUS": "a\nSTOPPING=1"}, ValueError, "can't send STATUS='a.*: pass one line"),
        (
            {"STATUS": "a\rSTOPPING=1"},
            ValueError,
            r"can't send STATUS='a\\rSTOPPING=1': pass one line",
        ),
        ({"STATUS": "a\0b"}, ValueError, "can't send STATUS="),
        ({"STATUS": "\udc80"}, ValueError, "can't send STATUS="),
        ({"STATUS": "x" * 4090}, ValueError, "can send 4096 bytes, and these fields have 4097"),
    ],
)
def test_wrong_fields_are_named(
    manager: Manager,  # noqa: F811  the fixture
    fields: dict[str, str | int],
    error: type[Exception],
    text: str,
) -> None:
    """S2, S40: nothing of them is sent."""
    with pytest.raises(error, match=text):
        notify(**fields)
    assert manager.waiting() == []


def test_as_much_as_systemd_takes_can_be_sent(
    manager: Manager,  # noqa: F811  the fixture
) -> None:
    """S40: 4096 bytes."""
    assert notify(STATUS="x" * 4089)
    assert len(manager.next()) == 4096


# Sockets that are passed


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def port(of: socket.socket) -> int:
    number: int = of.getsockname()[1]
    return number


def test_sockets_come_with_their_names() -> None:
    """S40: the same objects each time, which no program inherits, and not when they are closed."""
    with listener() as one, listener() as other:
        with activated("activated.py", one, other, names="echo:x") as process:
            assert next_line(process) == f"3 {port(one)} False True"
            assert next_line(process) == f"4 {port(other)} False True"
            assert next_line(process) == "[3]"
            assert next_line(process) == "[]"
            assert next_line(process) == "[]"
            assert process.wait() == 0
        with activated("activated.py", one) as process:
            assert next_line(process) == f"3 {port(one)} False True"
            assert next_line(process) == "[]"
            assert next_line(process) == "[3]"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to which its own LISTEN_PID is set, and which has that code."""
    script = f"import os; os.environ['LISTEN_PID'] = str(os.getpid()); {code}"
    return subprocess.run(
        [sys.executable, "-c", script],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_no_socket_is_left_out() -> None:
    """S40: systemd may pass other files, too."""
    ran = run(
        "os.dup2(os.open('/dev/null', os.O_RDONLY), 3);"
        "from supervisor.systemd import listen_sockets; print(listen_sockets()); os.fstat(3)",
        LISTEN_FDS="1",
    )
    assert (ran.stdout, ran.returncode) == ("[]\n", 0), ran.stderr


def test_no_program_inherits_what_was_not_asked_for() -> None:
    """S40: neither another socket nor what is none; the same number is later another file's."""
    ran = run(
        "import socket; server = socket.create_server(('127.0.0.1', 0));"
        "null = os.open('/dev/null', os.O_RDONLY); both = (server.fileno(), null);"
        "high = [os.dup2(fd, number) for number, fd in enumerate(both, 13)];"
        "low = [os.dup2(fd, number) for number, fd in enumerate((13, 13, 14), 3)];"
        "from supervisor.systemd import listen_sockets;"
        "print([each.fileno() for each in listen_sockets('echo')], *map(os.get_inheritable, low));"
        "os.dup2(14, 5); listen_sockets(); print(os.get_inheritable(5))",
        LISTEN_FDS="3",
        LISTEN_FDNAMES="echo:web:log",
    )
    assert ran.stdout == "[3] False False False\nTrue\n", ran.stderr


def test_a_file_that_is_not_open_is_told() -> None:
    """S40: the error has its number."""
    ran = run(
        "from supervisor.systemd import listen_sockets; os.closerange(3, 9); listen_sockets()",
        LISTEN_FDS="1",
    )
    last = ran.stderr.splitlines()[-1]
    assert last == "OSError: [Errno 9] systemd has passed the file descriptor 3, which is not open"


@pytest.mark.parametrize("pid", [None, "", "1", "x"])
def test_sockets_of_another_process_are_not_ours(
    monkeypatch: pytest.MonkeyPatch, pid: str | None
) -> None:
    """S40: a child inherits the variables, and not the sockets."""
    monkeypatch.delenv("LISTEN_PID", raising=False)
    if pid is not None:
        monkeypatch.setenv("LISTEN_PID", pid)
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert listen_sockets() == []


@pytest.mark.parametrize(
    ("count", "names", "text"),
    [
        (None, None, "LISTEN_FDS='' is no number of sockets"),
        ("-1", None, "LISTEN_FDS='-1' is no number of sockets"),
        ("²", None, "LISTEN_FDS='²' is no number of sockets"),
        ("1", "a:b", "LISTEN_FDNAMES='a:b' has 2 names for LISTEN_FDS=1 sockets"),
    ],
)
def test_wrong_variables_are_told(
    monkeypatch: pytest.MonkeyPatch, count: str | None, names: str | None, text: str
) -> None:
    """S40: the error names the variable."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    for name, value in (("LISTEN_FDS", count), ("LISTEN_FDNAMES", names)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=text):
        listen_sockets()


def test_a_wrong_name_is_refused() -> None:
    """S2: also where nothing is passed."""
    with pytest.raises(TypeError, match="name=3 is not a str"):
        listen_sockets(3)  # type: ignore[arg-type]  # it is wrong


def test_servers_use_the_sockets_that_are_passed() -> None:
    """S24, S40: what has connected before the process begins is served, and after its end waits."""
    with listener() as echo, listener() as web:
        for _ in range(2):
            with socket.create_connection(echo.getsockname()) as client:
                client.sendall(b"hello")
                with activated("activated.py", echo, web, names="echo:web") as process:
                    assert client.recv(5) == b"hello"
                    answer = httpx.get(f"http://127.0.0.1:{port(web)}/", timeout=60.0)
                    assert answer.text == "answered"
                    client.close()  # the stop would wait for its handler
                    process.send_signal(SIGTERM)
                    assert process.wait() == 0


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="systemd is not installed"
)
def test_systemd_passes_sockets_as_expected(
    tmp_path: Path,  # noqa: F811  the fixture
) -> None:
    """S40: systemd's own program, which begins at the first connection."""
    path = tmp_path / "echo"
    command = [
        *["systemd-socket-activate", "-l", str(path), "--fdname=echo"],
        *["-E", f"PYTHONPATH={ENVIRONMENT['PYTHONPATH']}"],
        *[sys.executable, str(SERVICES / "activated.py")],
    ]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        socket.socket(socket.AF_UNIX) as client,
    ):
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("Listening on ")
            client.connect(str(path))
            assert next_line(process).endswith(" False True")
            assert next_line(process) == "[3]"
            assert process.wait() == 0
        finally:
            process.kill()
