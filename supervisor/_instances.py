"""Where running services are found: each listens on a socket of its name, in one of a few folders.

The process that listens uses the first of the folders, and the process that asks looks into all of
them. So both have the same list. In a place where all users may write, a folder could be somebody
else's, who has put it there before: so both look at it, without following a link, before they use
it. This module imports neither Trio nor anything of a tree.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

SUFFIX: Final = ".sock"

PATH_LENGTH: Final = 107
"""The path of a socket has at most so many bytes, on Linux."""

NAME_LENGTH: Final = 48
"""A name that was not chosen has at most so many characters: the number of a process may follow."""

_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def folders() -> list[Path]:
    """Return where the sockets of this user's services may be, the preferred one first.

    Only the last may have to be made: the others are there if their variables are set.
    """
    found: list[Path] = []
    service = Path(os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0])  # systemd's
    if service.is_absolute():
        found.append(service)
    session = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if session.is_absolute() and session.is_dir():
        found.append(session / "supervisor")
    found.append(Path(tempfile.gettempdir(), f"supervisor-{os.getuid()}"))
    return found


def check_name(name: object) -> str:
    """Return the name of an instance.

    Raises:
        ValueError: if it can't be one.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return str.__str__(name)
    msg = f"{name!r} can't name an instance: use 1 to 64 of the characters A-Z, a-z, 0-9, _ . -"
    raise ValueError(msg)


def default_name() -> str:
    """Return the name of an instance that was given none: that of the program."""
    program = Path(sys.argv[0] if sys.argv else "")
    name = program.parent.name if program.stem == "__main__" else program.stem
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".-")[:NAME_LENGTH]
    return name or "python"


def fault_of(folder: Path, *owners: int) -> str | None:
    """Return why the sockets in a folder may be anybody's, if they may.

    Args:
        folder: It is looked at without following a link.
        owners: The users whose it may be, beside this one.

    Raises:
        OSError: if it is not there.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {os.getuid(), *owners}:
        return "no folder of this user's"
    if status.st_mode & _OTHERS_MAY_WRITE:
        return "a folder to which others may write"
    return None


def socket_path(folder: Path, name: str) -> Path:
    """Return the path of the socket of an instance."""
    return folder / f"{name}{SUFFIX}"


def instances(where: list[Path]) -> dict[str, Path]:
    """Return the sockets that are in some folders, by the names of their instances.

    Folders in which they may be anybody's are left out. Whether anybody listens on them is another
    question.
    """
    found: dict[str, Path] = {}
    for folder in where:
        try:
            paths = [] if fault_of(folder) else sorted(folder.iterdir())
        except OSError:
            continue  # there is none
        for path in paths:
            if path.suffix == SUFFIX and _NAME.fullmatch(path.stem):
                found.setdefault(path.stem, path)
    return found
