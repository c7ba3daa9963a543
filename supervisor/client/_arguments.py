"""The arguments of the commands that ask a running service (S38)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from supervisor._instances import check_name

if TYPE_CHECKING:
    from typing import Any

ROOT: Final = "root"

ENTRIES: Final = 100

STATUSES: Final = (
    "Exit status: 0 all is well, 1 no connection, 2 wrong arguments or refused, 3 not ready, "
    "4 no such node."
)


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands to those of a parser."""
    status = _command(commands, "status", "show the nodes of a running service, and their states")
    status.add_argument("dn", nargs="?", metavar="DN", help="begin with why this node is as it is")
    status.add_argument("--json", action="store_true", help="the answer as JSON")
    status.add_argument("--failed", action="store_true", help="only nodes that are not ready")
    logs = _command(commands, "logs", "show what a node and those below it have logged")
    logs.add_argument("dn", metavar="DN")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    logs.add_argument(
        "-n", type=_count, default=ENTRIES, metavar="N", help=f"so many records ({ENTRIES})"
    )
    logs.add_argument("--level", metavar="L", help="of at least this level, such as WARNING")
    stack = _command(commands, "stack", "show where the tasks of a node and those below it wait")
    stack.add_argument("dn", nargs="?", default=ROOT, metavar="DN")
    restart = _command(commands, "restart", "restart the group of a node")
    restart.add_argument("dn", metavar="DN")
    stop = _command(commands, "stop", "stop the group of a node until it is restarted")
    stop.add_argument("dn", metavar="DN")
    _command(commands, "watch", "show the nodes as they change, until q is pressed")
    listed = commands.add_parser(
        "list", help="list the services of this user that run", epilog=STATUSES
    )
    listed.set_defaults(command="list")


def _command(
    commands: argparse._SubParsersAction[Any], name: str, text: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=STATUSES
    )
    command.set_defaults(command=name)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--socket", metavar="PATH", help="which service, by its socket")
    which.add_argument("--name", type=instance, metavar="NAME", help="which service, by its name")
    return command


def instance(text: str) -> str:
    """Parse the name of an instance."""
    try:
        return check_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    msg = f"{text!r} is not a whole number"
    raise argparse.ArgumentTypeError(msg)
