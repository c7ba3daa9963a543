"""Which running service is meant."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from supervisor._instances import check_name, fault_of, folders, instances, socket_path

from ._connection import ConnectionFailedError, Service

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN: Final = Path("/run")

HINT = (
    "A service can be seen if it is run by `python -m supervisor run`, or by "
    "supervisor.main(root, inspect=True), with the same user."
)


def choose(*, path: str | None, name: str | None) -> Service:
    """Return the service that is meant: by its socket, by its name, or the only one there is.

    Raises:
        ConnectionFailedError: if there is none, or several. The text says what was tried.
        ValueError: if no instance can have that name.
    """
    if path is not None:
        _check(Path(path))
        return Service(Path(path))
    where = folders()
    if name is not None:
        places = [*where, RUN / check_name(name)]
        for folder in places:
            place = socket_path(folder, name)
            if _distrusted(folder) is None and listens(place):
                return Service(place)
        lines = (tried(each, f"tried {socket_path(each, name)}") for each in places)
        raise _nothing(f"there is no instance {name}", lines, running(where))
    there = running(where)
    if len(there) == 1:
        return Service(*there.values())
    if not there:
        lines = (tried(each, f"tried {socket_path(each, '*')}") for each in where)
        raise _nothing("there is no instance", lines, there)
    msg = f"there are {len(there)} instances: choose one by --name: {', '.join(there)}"
    raise ConnectionFailedError(msg)


def running(where: list[Path]) -> dict[str, Path]:
    """Return the instances that run, by name."""
    return {name: path for name, path in instances(where).items() if listens(path)}


def listens(path: Path) -> bool:
    """Return whether a process listens at a path, and this one may connect."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)
        try:
            error = client.connect_ex(str(path))
        except OSError:
            return False  # its path is too long
        return error in {0, errno.EAGAIN}  # its queue is full


def _distrusted(folder: Path) -> str | None:
    """Return why no socket in a folder is asked, if that is so and the folder is there."""
    try:
        if folder.parent != RUN:
            return fault_of(folder)
        # Only root makes folders there, for itself, or for the user of a service whose
        # RuntimeDirectory= has this name. Such a service is asked by that user and by root.
        return fault_of(folder, 0, *([folder.lstat().st_uid] if os.getuid() == 0 else []))
    except OSError:
        return None


def tried(folder: Path, text: str) -> str:
    """Return a line about a folder in which there was no instance: ``text``, or its fault."""
    fault = _distrusted(folder)
    return text if fault is None else f"{folder} is {fault}"


def _check(path: Path) -> None:
    """Say why there is no connection to a socket that was named."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)
        try:
            client.connect(str(path))
        except BlockingIOError:
            return
        except OSError as error:
            raise _nothing(
                f"there is no instance at that socket: {error.strerror or error}",
                [f"tried {path}"],
                running(folders()),
            ) from None


def _nothing(what: str, lines: Iterable[str], there: Iterable[str]) -> ConnectionFailedError:
    names = ", ".join(there)
    others = f"There are these instances: {names}." if names else "No other instance runs."
    told = [what, *(f"  {line}" for line in lines), others, HINT]
    return ConnectionFailedError("\n".join(told))
