"""``python -m supervisor run package.module:root`` runs a tree from the command line."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m supervisor", description="Run a supervision tree as a service."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a root runnable until it ends, or until SIGTERM or Ctrl-C",
        description="Exit status: 0 stopped or finished, 1 gave up, 2 wrong arguments, "
        "3 the stop was cut short.",
    )
    run.add_argument("root", metavar="MODULE:ROOT", help="such as package.module:root")
    run.add_argument(
        "--timeout", type=seconds, default=30.0, metavar="S", help="how long a stop may take (30)"
    )
    arguments = parser.parse_args(argv)
    try:
        arguments.function = load(arguments.root)
    except ValueError as error:
        run.error(str(error))
    return arguments


def seconds(text: str) -> float:
    """Parse a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        msg = f"{text!r} is not a number of seconds of at least 0"
        raise argparse.ArgumentTypeError(msg)
    return value


def load(target: str) -> Callable[[], Awaitable[object]]:
    """Import the function that ``target`` names.

    Raises:
        ValueError: if there is none, or it can't be called. An error inside the module is
            raised as it is.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        msg = f"{target!r} does not have the form package.module:root"
        raise ValueError(msg)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # One that is imported by the module, and not found, is that module's own error.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        msg = f"there is no module {error.name!r} to import {target!r} from, in {sys.path}"
        raise ValueError(msg) from None
    for name in path.split("."):
        if not hasattr(found, name):
            msg = f"there is no {name!r} in {found!r}, for {target!r}"
            raise ValueError(msg)
        found = getattr(found, name)
    if not callable(found):
        msg = f"{target!r} is {found!r}, and not an async function"
        raise ValueError(msg)  # noqa: TRY004  the argument has the type it should have
    return found


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line (S22)."""
    arguments = parse(argv)
    from supervisor._process._main import main as serve  # noqa: PLC0415  --help and wrong arguments need no Trio

    serve(arguments.function, timeout=arguments.timeout)


if __name__ == "__main__":
    main()
