"""The Unix socket of an inspector: whose it is, and what else may be at its path (S37).

A process that may connect may stop nodes. So the folder and the socket are the user's alone, and
the peer of each connection is asked for as well. The socket does not listen before it has its mode,
so nobody connects in between.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from supervisor._instances import PATH_LENGTH, fault_of, folders, socket_path

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG: Final = 64

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid


def check_path(path: Path) -> None:
    """Refuse a path that no socket can have.

    Raises:
        ValueError: if it is too long.
    """
    length = len(os.fsencode(path))
    if length > PATH_LENGTH:
        msg = (
            f"the path of the socket has {length} bytes, and may have {PATH_LENGTH}: {path}; pass "
            "a shorter one as path="
        )
        raise ValueError(msg)


@contextlib.contextmanager
def listening(path: Path | None, name: str) -> Iterator[tuple[socket.socket, Path]]:
    """Listen on a socket that is this user's alone, and remove it at the end.

    Args:
        path: Where it is to be. ``None``: by its name, in a folder of this user's.
        name: If another instance of that name runs, the number of the process is added.

    Raises:
        FileExistsError: if something is at that path that is not a socket left behind.
        PermissionError: if the folder is another user's, or others may write to it.
        ValueError: if the path is too long.
    """
    if path is None:
        folder = folders()[0]
        _make_folder(folder)
        path = socket_path(folder, name)
        check_path(path)
        try:
            listener = _bound(path)
        except FileExistsError:
            path = socket_path(folder, f"{name}-{os.getpid()}")
            check_path(path)
            listener = _bound(path)
    else:
        check_path(path)
        listener = _bound(path)
    with listener:
        own = path.lstat()
        try:
            path.chmod(0o600)
            listener.listen(BACKLOG)
            yield listener, path
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(own, path.lstat()):
                    path.unlink()


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user of the process at the other end, where the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def _make_folder(folder: Path) -> None:
    """Make sure that a folder is there, and is this user's."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if fault := fault_of(folder):
        msg = f"{folder} is {fault}: remove it, or pass another place as path="
        raise PermissionError(msg)


def _bound(path: Path) -> socket.socket:
    """Bind a socket to a path, where there may be one that was left behind."""
    _remove_left_behind(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        msg = f"can't listen at {path}: {error.strerror}"
        raise type(error)(error.errno, msg) from None
    return listener


def _remove_left_behind(path: Path) -> None:
    """Remove a socket on which nobody listens.

    Raises:
        FileExistsError: if something else is there.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        msg = f"{path} is no socket: remove it, or pass another place as path="
        raise FileExistsError(msg)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)  # one whose queue is full would block
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError:
            pass
    msg = f"a process listens at {path}: stop it, or pass another place as path="
    raise FileExistsError(msg)
