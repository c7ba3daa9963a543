"""Which running service is meant."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor._instances import check_name, folders, instances, socket_path

from ._connection import ConnectionFailedError, Service

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        # A service of systemd's, with RuntimeDirectory= of its name, and asked for by root.
        places = [*where, Path("/run", check_name(name))]
        for folder in places:
            if listens(socket_path(folder, name)):
                return Service(socket_path(folder, name))
        tried = (socket_path(folder, name) for folder in places)
        raise _nothing(f"there is no instance {name}", tried, running(where))
    there = running(where)
    if len(there) == 1:
        return Service(*there.values())
    if not there:
        raise _nothing("there is no instance", (folder / "*.sock" for folder in where), there)
    msg = f"there are {len(there)} instances: choose one by --name: {', '.join(there)}"
    raise ConnectionFailedError(msg)


def running(where: list[Path]) -> dict[str, Path]:
    """Return the instances that run, by name."""
    return {name: path for name, path in instances(where).items() if listens(path)}


def listens(path: Path) -> bool:
    """Return whether a process listens at a path, and this one may connect."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0)
        error = client.connect_ex(str(path))
        return error in {0, errno.EAGAIN}  # its queue is full


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
                [path],
                running(folders()),
            ) from None


def _nothing(what: str, tried: Iterable[Path], there: Iterable[str]) -> ConnectionFailedError:
    names = ", ".join(there)
    lines = [what, *(f"  tried {path}" for path in tried)]
    lines.append(f"There are these instances: {names}." if names else "No other instance runs.")
    return ConnectionFailedError("\n".join([*lines, HINT]))
