"""The command line ``python -m supervisor run package.module:root``."""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import math
import reprlib
import sys
from typing import TYPE_CHECKING, NoReturn

from ._main import main as serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line (S22)."""
    arguments = parse(argv)
    serve(arguments.function, timeout=arguments.timeout)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the arguments, and import the root that they name."""
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
    """Import the async function that ``target`` names.

    Raises:
        ValueError: if ``target`` names nothing, or names something else than an async function that
            can be called without arguments. An error inside the module is raised as it is.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        msg = f"{target!r} does not have the form package.module:root"
        raise ValueError(msg)
    if not all(part.isidentifier() for part in module_name.split(".")):
        msg = f"{module_name!r} is not the name of a module{_as_module(module_name)}"
        raise ValueError(msg)
    found = _import(module_name, target)
    for name in path.split("."):
        if not hasattr(found, name):
            msg = f"there is no {name!r} in {_shown(found)}, for {target!r}"
            raise ValueError(msg)
        found = getattr(found, name)
    if inspect.iscoroutine(found):
        found.close()  # Python would add a line with a warning
    if not is_async(found):
        msg = f"{target!r} is {_shown(found)}, and not an async function"
        raise ValueError(msg)
    _check_arguments(found, target)
    return found  # type: ignore[return-value]  # it was checked


def _import(module_name: str, target: str) -> object:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # If the module itself imports one that is not there, that is an error inside the module.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        hint = _as_module(module_name) if module_name.endswith(".py") else ""
        msg = f"there is no module {error.name!r} to import {target!r} from, in {sys.path}{hint}"
        raise ValueError(msg) from None


def _as_module(path: str) -> str:
    """Return what to write in place of the path of a file, if the file can be imported."""
    if path.startswith("/"):
        return ""
    parts = path.replace("\\", "/").removesuffix(".py").removesuffix("/__init__").split("/")
    while parts and parts[0] in ("", "."):
        del parts[0]
    if not parts or not all(part.isidentifier() for part in parts):
        return ""
    return f": write {'.'.join(parts)!r}"


def is_async(found: object) -> bool:
    """Return whether a call would return something to await, as far as that is known before."""
    found = _without_partial(found)
    if inspect.isclass(found):
        return hasattr(found, "__await__")
    if not callable(found):
        return False
    calls = (found, type(found).__call__)  # an instance is called by its class's method
    return any(inspect.iscoroutinefunction(inspect.unwrap(call)) for call in calls)


def _without_partial(found: object) -> object:
    while isinstance(found, functools.partial):
        found = found.func
    return found


def _check_arguments(function: object, target: str) -> None:
    assert callable(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # it is not written in Python, and has no signature
    try:
        signature.bind()
    except TypeError as error:
        msg = f"{target!r} is called without arguments: {error}"
        raise ValueError(msg) from None


def _shown(found: object) -> str:
    """Return the ``repr()`` of an object in one line of bounded length."""
    short = reprlib.Repr()
    short.maxother = short.maxstring = 200
    return " ".join(short.repr(found).split())
