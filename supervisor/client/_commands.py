"""The commands that ask a running service, and their exit statuses (S38)."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlencode

from supervisor._extras import needs
from supervisor._instances import folders, instances
from supervisor._text._printable import printable

from ._choice import choose, listens, tried
from ._connection import ConnectionFailedError, RefusalError, Service, page_of
from ._text import acted, entry, is_ready, missed, summary, table

if TYPE_CHECKING:
    import argparse

GOOD: Final = 0
NO_CONNECTION: Final = 1
WRONG_ARGUMENTS: Final = 2
NOT_READY: Final = 3
NO_SUCH_NODE: Final = 4

_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503

_STATUSES: Final = {_NOT_FOUND: NO_SUCH_NODE, 500: NO_CONNECTION, _UNAVAILABLE: NO_CONNECTION}

PATIENCE: Final = 10.0
"""A stream that was lost is asked for again for so many seconds."""

PAUSE: Final = 0.2
"""It is asked for again after so many seconds."""


class _WrongArgumentsError(Exception):
    """The arguments can't be carried out. The text says why."""


def run(given: argparse.Namespace) -> NoReturn:
    """Carry out a command, and exit with its status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A log may have what the encoding of this terminal has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(status_of(given))


def status_of(given: argparse.Namespace) -> int:
    """Carry out a command; return the exit status."""
    try:
        status = _COMMANDS[given.command](given)
        sys.stdout.flush()
    except (ConnectionFailedError, ImportError) as error:
        return _fail(error, NO_CONNECTION)
    except RefusalError as error:
        return _fail(error, _STATUSES.get(error.status, WRONG_ARGUMENTS))
    except _WrongArgumentsError as error:
        return _fail(error, WRONG_ARGUMENTS)
    except BrokenPipeError:
        # What reads the output has seen enough; the interpreter would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except KeyboardInterrupt:
        return 130
    return status


def _fail(error: Exception, status: int) -> int:
    sys.stderr.write(f"{printable(str(error))}\n")
    return status


def _say(text: str) -> None:
    sys.stdout.write(f"{printable(text)}\n")


def _service(given: argparse.Namespace) -> Service:
    try:
        return choose(path=given.socket, name=given.name)
    except ValueError as error:
        raise _WrongArgumentsError(str(error)) from None


def _query(**parameters: str | int) -> str:
    return urlencode(parameters, errors="surrogateescape")


def _status(given: argparse.Namespace) -> int:
    service = _service(given)
    known = None if given.dn is None else service.get(page_of(given.dn), "why")
    query = "" if given.dn is None else f"?{_query(dn=given.dn)}"
    tree = service.get(f"/v1/tree{query}", "name", "time", "nodes", "ready")
    head = summary(tree)
    if known is not None:
        tree["why"] = head = known["why"]
    if given.failed:
        tree["nodes"] = [row for row in tree["nodes"] if not is_ready(row)]
    if given.json:
        _say(json.dumps(tree, indent=2))
    else:
        _say(head)
        for line in table(tree["nodes"], tree["time"], indented=not given.failed):
            _say(line)
    return GOOD if tree["ready"] else NOT_READY


def _logs(given: argparse.Namespace) -> int:
    service = _service(given)
    query: dict[str, str | int] = {"n": given.n}
    if given.level is not None:
        query["level"] = given.level
    target = page_of(given.dn, f"/logs?{_query(**query)}")
    if not given.follow:
        for data in service.get(target, "entries")["entries"]:
            _say(entry(data))
        return GOOD
    return _follow(service, f"{target}&follow")


def _follow(service: Service, target: str) -> int:
    """Show log records as they come, also across restarts of what sends them."""
    last: str | None = None
    has_begun = False
    lost_since: float | None = None
    while True:
        try:
            with service.events(target, last) as events:
                has_begun, lost_since = True, None
                for event in events:
                    if event.name == "missed":
                        _say(missed(event.data))
                    else:
                        _say(entry(event.data))
                        last = event.number
                    sys.stdout.flush()
        except (ConnectionFailedError, RefusalError) as error:
            # A service that has just begun may listen before its node, or its log, is there.
            may_come = isinstance(error, ConnectionFailedError) or (
                has_begun and error.status in {_NOT_FOUND, _UNAVAILABLE}
            )
            if not may_come or (
                lost_since is not None and time.monotonic() - lost_since >= PATIENCE
            ):
                raise
        if lost_since is None:
            lost_since = time.monotonic()
        time.sleep(PAUSE)


def _stack(given: argparse.Namespace) -> int:
    text = _service(given).get(page_of(given.dn, "/stack"), "stack")["stack"]
    _say(text or f"nothing of {given.dn} runs")
    return GOOD


def _act(given: argparse.Namespace) -> int:
    dns = _service(given).post(page_of(given.dn, f"/{given.command}"), "dns")["dns"]
    _say(acted(given.command, dns))
    return GOOD


def _watch(given: argparse.Namespace) -> int:
    with needs("watch", "Textual", extra="tui"):
        import textual  # noqa: F401, PLC0415  it is an extra
    from ._watch import Watch  # noqa: PLC0415  which is made of that

    service = _service(given)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        msg = "watch needs a terminal: elsewhere, use status"
        raise _WrongArgumentsError(msg)
    app = Watch(service.path)
    app.run()
    return app.return_code or GOOD


def _list(_: argparse.Namespace) -> int:
    found = instances(folders())
    width = max(map(len, found), default=0)
    for name, path in found.items():
        if not listens(path):
            _say(f"{name:{width}}  gone       {path}")
            continue
        try:
            ready = Service(path).get(page_of("root"), "ready")["ready"]
        except (ConnectionFailedError, RefusalError):
            _say(f"{name:{width}}  no answer  {path}")
        else:
            _say(f"{name:{width}}  {'ready' if ready else 'not ready':9}  {path}")
    if not found:
        lines = (tried(each, f"looked into {each}") for each in folders())
        msg = "\n  ".join(["there is no instance", *lines])
        raise ConnectionFailedError(msg)
    return GOOD


_COMMANDS: Final = {
    "status": _status,
    "logs": _logs,
    "stack": _stack,
    "restart": _act,
    "stop": _act,
    "watch": _watch,
    "list": _list,
}
