"""The buffer of a process: main() makes it, and runnables find it."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import open_supervisor
from supervisor.logs import LogBuffer, current_buffer

from ..helpers.buffers import texts
from ..helpers.runnables import finish
from ..helpers.services import status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def run_main(root: Callable[[], Awaitable[object]]) -> None:
    """Run a tree as a process would, to its end."""
    assert status_of(lambda: supervisor.main(root, dump_signal=None)) == 0


def test_main_keeps_the_records_of_its_process() -> None:
    """S36: those of all loggers, from the level that these have."""
    library = logging.getLogger("some.library")
    read: list[str] = []

    async def root() -> None:
        library.warning("from a library")
        supervisor.logger().warning("from the node")
        read.extend(texts(current_buffer().read(level=logging.WARNING)))
        await finish()

    run_main(root)
    assert read == ["from a library", "from the node"]


def test_there_is_one_buffer_for_all_that_runs() -> None:
    """S36: for children, their worker threads, and trees within the tree."""
    found: list[LogBuffer] = []

    async def child() -> None:
        found.append(current_buffer())
        found.append(await trio.to_thread.run_sync(current_buffer))
        await finish()

    async def root() -> None:
        supervisor.run("child", child)
        async with open_supervisor(child) as tree:
            await tree.wait_finished()
        found.append(current_buffer())
        await finish()

    run_main(root)
    assert len(found) == 5
    assert len(set(map(id, found))) == 1


def test_sidecars_have_it_too() -> None:
    """S36, S35: their entries have DNs of their own, which can be read alone."""
    read: list[str] = []
    logged = trio.Event()

    async def show() -> None:
        supervisor.logger().warning("from a sidecar")
        read.extend(texts(current_buffer().read("sidecars.show")))
        logged.set()
        await finish()

    async def root() -> None:
        await logged.wait()
        read.extend(texts(current_buffer().read(level=logging.WARNING)))
        await finish()

    sidecars = lambda _: {"show": show}  # noqa: E731  a function of the tree
    call = partial(supervisor.main, root, dump_signal=None, sidecars=sidecars)
    assert status_of(call) == 0
    assert read == ["from a sidecar", "from a sidecar"]


def test_nothing_of_it_is_left() -> None:
    """S36: at the end of main() the root logger has its handlers of before."""
    root_logger = logging.getLogger()
    before = root_logger.handlers.copy()
    during: list[list[logging.Handler]] = []

    async def root() -> None:
        during.append(root_logger.handlers.copy())
        await finish()

    run_main(root)
    (handlers,) = during
    assert [type(handler) for handler in handlers if handler not in before] == [LogBuffer]
    assert root_logger.handlers == before
    with pytest.raises(LookupError):
        current_buffer()


async def test_without_main_there_is_none() -> None:
    """S36: the error says what to do instead."""
    text = r"current_buffer\(\) was called outside of the runnables of supervisor.main\(\)"

    async def root() -> None:
        with pytest.raises(LookupError, match=text):
            current_buffer()
        await finish()

    await supervisor.supervise(root)
