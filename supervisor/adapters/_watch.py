"""Restarts when files change (S24).

watchfiles looks, in a thread; the thread has a limiter of its own, as each that lives long.

- It gets the folder of a file, not the file. An editor, or a deployment, replaces a file by another
  of the same name, and what watches the file goes on watching the one that is gone. So each event
  in the folder is a reason to look at the file: if it is another one, or of another time or size,
  it has changed. In this way a link is followed, too, whose target is replaced: Kubernetes mounts
  configuration so.
- The files are looked at before the first event can come, and the runnable starts when the watching
  has begun. So a change is never missed between the two. watchfiles does not tell that it has
  begun, but it asks its stop event from then on.
- The stop event is also how a cancellation reaches the thread, within 50 ms: it raises what
  :func:`trio.from_thread.check_cancelled` raises. Otherwise watchfiles looks on for seconds.
"""

from __future__ import annotations

import contextlib
import errno
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

import supervisor
from supervisor import GaveUpError, GroupState, Signal
from supervisor._extras import needs

from ._arguments import check_async, check_name, check_seconds, shown
from ._ungrouped import ungrouped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from supervisor import Handle

STEP: Final = 50
"""So many milliseconds watchfiles sleeps between two looks at what has happened."""


def restart_on_change(
    runnable: Callable[[], Awaitable[object]],
    *paths: str | Path,
    name: str = "runnable",
    debounce: float = 0.1,
) -> Callable[[], Awaitable[None]]:
    """Make a runnable that runs another one, and restarts it when a file changes (S24).

    The other one is its child, and restarts by its handle: without backoff, and not as a failure.
    The node itself is ``HEALTHY`` when the child is for the first time. A child that an operator
    has stopped stays stopped.

    A folder is watched with all that is in it, but for what ``watchfiles.DefaultFilter`` leaves
    out, such as ``.git`` and ``__pycache__``. Every other path is taken for a file; that it
    appears or is removed is a change, too. *Python modules are not loaded again*: what a restart
    reads anew is what the runnable reads, such as its configuration or a command's program.

    It needs watchfiles, the extra ``[watch]``.

    Args:
        runnable: The other one.
        *paths: What to watch.
        name: The child's name.
        debounce: Changes that follow each other within so many seconds are one.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`. It dies of a
        :exc:`FileNotFoundError` if the folder of a path is missing.

    Raises:
        ImportError: if watchfiles is not installed.
        TypeError: if ``runnable`` is not callable, a path is none, or ``debounce`` is no number.
        ValueError: if there is no path, or ``debounce`` is out of its range.
        InvalidNameError: if ``name`` has a wrong form.

    Checkpoints:
        Never.

    Cancellation:
        Of the runnable: its thread ends, and then the child is stopped as any.

    Example::

        supervisor.run("web", restart_on_change(serve, "settings.toml", "templates/"))
    """
    with needs("restart_on_change()", "watchfiles", extra="watch"):
        import watchfiles  # noqa: F401, PLC0415  it is an extra
    check_async("restart_on_change", runnable)
    name = check_name(name)
    debounce = check_seconds("restart_on_change", "debounce", debounce)
    watched = tuple(_check_paths(paths))

    async def run() -> None:
        # One that waits is enough: it stands for all that come before it is received.
        send, receive = trio.open_memory_channel[str](1)
        async with trio.open_nursery() as nursery:
            for look in _looks_at(watched):
                await nursery.start(_watch, look, debounce, send)
            handle = supervisor.run(name, runnable)
            nursery.start_soon(_become_healthy_with, handle)
            async for changed in receive:
                if _is_to_restart(handle, changed):
                    with contextlib.suppress(GaveUpError):  # somebody stops it meanwhile
                        await handle.restart()

    return partial(ungrouped, run)


def _check_paths(paths: tuple[object, ...]) -> Iterator[Path]:
    if not paths:
        msg = "restart_on_change() got no path: pass the files and folders to watch"
        raise ValueError(msg)
    for path in paths:
        if not isinstance(path, str | Path):
            msg = f"restart_on_change() got {shown(path)}, which is no path: pass a str or a Path"
            raise TypeError(msg)
        # As it is now: the working directory may change.
        yield Path(path).absolute()


async def _become_healthy_with(child: Handle) -> None:
    try:
        await child.wait_healthy()
    except GaveUpError:  # an operator has stopped it meanwhile
        return  # noqa: ASYNC910  wait_healthy() is a checkpoint however it ends
    supervisor.signal(Signal.HEALTHY)


def _is_to_restart(child: Handle, changed: str) -> bool:
    is_stopped = child.state is GroupState.STOPPED
    text = "%s has changed, but %s stays stopped" if is_stopped else "%s has changed: %s restarts"
    supervisor.logger().info(text, changed, child.dn)
    return not is_stopped


@final
@attrs.frozen
class _Look:
    """What one thread of watchfiles looks at."""

    folders: list[Path]
    find: Callable[[set[str]], str | None]
    """Of the paths that something has happened to: which one has changed?"""
    recursive: bool


def _looks_at(paths: tuple[Path, ...]) -> Iterator[_Look]:
    """Split paths into folders, with all that is in them, and files."""
    folders = [path for path in paths if path.is_dir()]
    if folders:
        yield _Look(folders, min, recursive=True)
    files = {path: _identity(path) for path in paths if path not in folders}

    def find(_: set[str]) -> str | None:
        """Look at the files, whatever it was that has happened in their folders."""
        changed = None
        for path, before in files.items():
            files[path] = _identity(path)
            if files[path] != before:
                changed = str(path)
        return changed

    if files:
        yield _Look(list({path.parent for path in files}), find, recursive=False)


def _identity(path: Path) -> tuple[int, ...] | None:
    """Tell one content of a file from another, without reading it."""
    try:
        found = path.stat()
    except OSError:  # it is not there, or a link leads nowhere
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


async def _watch(
    look: _Look,
    debounce: float,
    send: trio.MemorySendChannel[str],
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Send the paths that change; watching has begun with ``started()``."""
    stop = _StopEvent(task_status.started)
    limiter = trio.CapacityLimiter(1)
    await trio.to_thread.run_sync(_watch_in_thread, look, debounce, send, stop, limiter=limiter)


def _watch_in_thread(
    look: _Look, debounce: float, send: trio.MemorySendChannel[str], stop: _StopEvent
) -> None:
    import watchfiles  # noqa: PLC0415  it is an extra

    watch_filter = watchfiles.DefaultFilter() if look.recursive else None
    _check_folders(look.folders)
    milliseconds = max(1, round(1000 * debounce))
    for changes in watchfiles.watch(
        *look.folders,
        watch_filter=watch_filter,
        debounce=milliseconds,
        step=min(STEP, milliseconds),
        stop_event=stop,
        recursive=look.recursive,
    ):
        _check_folders(look.folders)
        changed = look.find({path for _, path in changes})
        if changed is not None:
            trio.from_thread.run_sync(_send_if_none_waits, send, changed)


def _check_folders(folders: list[Path]) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder to watch", str(folder))


def _send_if_none_waits(send: trio.MemorySendChannel[str], changed: str) -> None:
    with contextlib.suppress(trio.WouldBlock):
        send.send_nowait(changed)


@final
class _StopEvent:
    """What watchfiles asks, from the moment when it watches, whether it has to end."""

    def __init__(self, begun: Callable[[], None]) -> None:
        self._begun: Callable[[], None] | None = begun

    def is_set(self) -> bool:
        """Raise ``Cancelled``, in the thread, if it has to end."""
        trio.from_thread.check_cancelled()
        if self._begun is not None:
            trio.from_thread.run_sync(self._begun)
            self._begun = None
        return False
