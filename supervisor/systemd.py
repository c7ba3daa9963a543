"""What a service and systemd tell each other, on the standard library alone (S40).

Under systemd, :func:`supervisor.main` tells by itself when the tree is ready, how it is, and when
it stops. :func:`notify` tells what only the service knows. :func:`listen_sockets` returns the
sockets that systemd has opened for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import threading
from typing import TYPE_CHECKING, Final

from ._core._arguments import check_kind, plain, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ("listen_sockets", "notify")

LENGTH: Final = 4096
"""systemd ignores a notification of more bytes."""

FIRST: Final = 3
"""The file descriptor of the first socket that systemd passes; the others follow."""

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")

_BREAKS: Final = frozenset("\n\r\0")

# The sockets that were asked for, by file descriptor. An object that goes away closes its socket,
# so there is one for each, and it lives as long as the process.
_taken: Final[dict[int, socket.socket]] = {}
# The file descriptors that no program inherits any more. Their numbers may become other files'.
_kept: Final[set[int]] = set()
_taking: Final = threading.Lock()


def notify(**fields: str | int) -> bool:
    """Send fields to the service manager, in one notification (S40).

    It never blocks: if nobody reads, as many notifications wait as the system allows, about ten,
    and no more are sent. What :func:`supervisor.main` sends by itself is in ``docs/systemd.md``.

    Args:
        **fields: Names and values, as in sd_notify(3). A value is one line.

    Returns:
        Whether it was sent. It was not if ``NOTIFY_SOCKET`` is not set, or if nobody reads there.

    Raises:
        TypeError: if a value is neither a string nor a whole number.
        ValueError: if there is no field, a name is not of capitals, digits and underscores, a value
            can't be sent, or all of them have more than 4096 bytes.

    Checkpoints:
        Never.

    Example::

        notify(STATUS="reading 200 000 leases", EXTEND_TIMEOUT_USEC=30_000_000)
    """
    data = _encoded(fields)
    path = os.environ.get("NOTIFY_SOCKET")
    return _sent(data, path) is None if path else False


def send(fields: dict[str, str | int], path: str) -> OSError | None:
    """Send fields as :func:`notify` does, to that path, and return why they were not sent."""
    return _sent(_encoded(fields), path)


def _sent(data: bytes, path: str) -> OSError | None:
    address = f"\0{path[1:]}" if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(data, socket.MSG_DONTWAIT, address)
    except OSError as error:  # BlockingIOError if nobody reads
        return error
    return None


def _encoded(fields: dict[str, str | int]) -> bytes:
    """Return the fields as one notification."""
    if not fields:
        msg = "notify() has nothing to send: pass at least one field, such as READY=1"
        raise ValueError(msg)
    data = "\n".join(_line(name, value) for name, value in fields.items()).encode()
    if len(data) > LENGTH:
        msg = f"notify() can send {LENGTH} bytes, and these fields have {len(data)}: send less"
        raise ValueError(msg)
    return data


def _line(name: str, value: object) -> str:
    if not _NAME.fullmatch(name):
        msg = f"notify() can't send {shown(name)}: a field has a name such as READY or X_LEASES"
        raise ValueError(msg)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    text = f"{value:d}" if is_number else plain(value)
    if text is None:
        msg = f"notify() can't send {name}={shown(value)}: pass a string or a whole number"
        raise TypeError(msg)
    # To systemd, a carriage return ends a line as well.
    if not _BREAKS.isdisjoint(text) or not _is_unicode(text):
        msg = f"notify() can't send {name}={shown(text)}: pass one line of Unicode text"
        raise ValueError(msg)
    return f"{name}={text}"


def _is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def listen_sockets(name: str | None = None) -> list[socket.socket]:
    """Return the sockets that systemd has opened and passed to this process (S40).

    They belong to the process, so each call returns the same objects. A socket that was
    closed is left out, and so is what is no socket. From the first call on, no program that this
    one starts inherits what was passed, whether it was asked for or not.

    Args:
        name: Only those of this name: that of ``FileDescriptorName=``, by default that of the
            socket's unit, such as ``netd.socket``.

    Returns:
        The sockets in the order of systemd, for the argument ``sockets=`` of adapters. There are
        none if ``LISTEN_PID`` is not this process.

    Raises:
        TypeError: if ``name`` is neither a string nor ``None``.
        ValueError: if ``LISTEN_FDS`` is no number, or ``LISTEN_FDNAMES`` has not as many names.
        OSError: if a file descriptor is not open that was passed.

    Checkpoints:
        Never.

    Example::

        # Without systemd, it listens at the port itself.
        server = tcp(echo, port=8007, sockets=listen_sockets("echo") or None)
    """
    check_kind("name", name, str, "'web', or None for all sockets")
    with _taking:
        passed = list(_passed())
        _keep(fd for fd, _ in passed)
        sockets = [_take(fd) for fd, each in passed if name is None or each == name]
    return [each for each in sockets if each is not None and each.fileno() >= 0]


def _passed() -> Iterator[tuple[int, str]]:
    """Return the file descriptors that systemd has passed, with their names."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return  # they are another process's, whose environment this one has inherited
    text, names = os.environ.get("LISTEN_FDS", ""), os.environ.get("LISTEN_FDNAMES")
    if not (text.isascii() and text.isdigit()):
        msg = f"LISTEN_FDS={text!r} is no number of sockets: leave it to systemd"
        raise ValueError(msg)
    count = int(text)
    split = names.split(":") if names else []
    if split and len(split) != count:
        msg = f"LISTEN_FDNAMES={names!r} has {len(split)} names for LISTEN_FDS={text} sockets"
        raise ValueError(msg)
    for number in range(count):
        yield FIRST + number, split[number] if split else "unknown"


def _keep(fds: Iterable[int]) -> None:
    """Let no program inherit these files, each at the first call."""
    for fd in fds:
        if fd not in _kept:
            _kept.add(fd)
            with contextlib.suppress(OSError):  # one that is not open is told if it is asked for
                os.set_inheritable(fd, False)  # noqa: FBT003  it takes no keyword


def _take(fd: int) -> socket.socket | None:
    """Return the socket with that file descriptor, the same each time; ``None`` if it is none."""
    if fd not in _taken:
        try:
            mode = os.fstat(fd).st_mode
        except OSError as error:
            msg = f"systemd has passed the file descriptor {fd}, which is not open"
            raise OSError(error.errno, msg) from error
        if not stat.S_ISSOCK(mode):
            return None
        _taken[fd] = socket.socket(fileno=fd)
    return _taken[fd]
