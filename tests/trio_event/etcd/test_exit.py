"""A process ends although its client, its calls and its streams are open; and after Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .helpers.servers import HANG

if TYPE_CHECKING:
    from pathlib import Path

    from .helpers.servers import Cluster

pytestmark = pytest.mark.processes

PROGRAM = """\
import sys

import trio
from trio_event.etcd import EtcdClient, Text

endpoint, how = sys.argv[1:]


async def main():
    client = EtcdClient([endpoint])
    value, lease = client.value("exit", Text()), client.lease(5)
    async with client, value, lease, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(client.put, "exit", b"2")
        await trio.lowlevel.checkpoint()
        if how == "raises":
            raise ValueError("of the user")
        if how == "exits":
            sys.exit()
        if how == "cancels":
            nursery.cancel_scope.cancel()


try:
    trio.run(main)
except* (SystemExit, ValueError):
    pass
"""


@pytest.mark.parametrize("how", ["raises", "exits", "cancels", "waits"])
def test_a_process_ends_with_everything_open(node: Cluster, tmp_path: Path, how: str) -> None:
    """E9: status 0, nothing on stderr, and no wait for a thread; fifty times in all."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    for _ in range(13):
        ended = subprocess.run(
            [sys.executable, script, node.endpoints[0], how],
            check=False,
            capture_output=True,
            text=True,
            timeout=HANG,
        )
        assert (ended.returncode, ended.stderr) == (0, "")


INTERRUPTED = """\
import signal
import sys

import trio
from trio_event.etcd import EtcdClient, Text


async def main():
    client = EtcdClient([sys.argv[1]], timeout=60)
    async with client, client.value("exit", Text()) as value:
        while True:
            async with client.lease(5) as lease:
                await value.wait_revision(await value.put("2", lease=lease))
                print("put", flush=True)


signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where tests run
try:
    trio.run(main)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_a_call(node: Cluster, tmp_path: Path) -> None:
    """E9: at whatever moment it comes, it leaves the Trio run, and the process ends; ten times."""
    script = tmp_path / "program.py"
    script.write_text(INTERRUPTED)
    for _ in range(10):
        interrupt(script, node)


def interrupt(script: Path, node: Cluster) -> None:
    with subprocess.Popen(
        [sys.executable, script, node.endpoints[0]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "put\n"
        try:
            os.kill(process.pid, signal.SIGINT)
            output, errors = process.communicate(timeout=HANG)
        finally:
            process.kill()
    assert output.splitlines()[-1] == "interrupted"
    assert (process.returncode, errors) == (0, "")
