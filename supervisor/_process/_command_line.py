"""``python -m supervisor run package.module:root``: the arguments, and the root they name.

The command ``trio-supervisor`` is the same, by another name.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.util
import inspect
import logging
import math
import os
import reprlib
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from supervisor._core._arguments import check_address
from supervisor._core._restart import Backoff, RestartLimit
from supervisor._instances import NAME_LENGTH
from supervisor.client._arguments import add_commands, instance

from ._logging_preset import FORMATS, check_level
from ._main import LIMIT, main as serve
from ._probes import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from supervisor._calls._supervisor import Supervisor
    from supervisor.inspector._inspector import Inspector

AS_MODULE: Final = "python -m supervisor"


def command() -> NoReturn:
    """Run the command line as the installed command ``trio-supervisor`` (S33)."""
    if not sys.flags.safe_path:
        # As ``python -m`` does: the root is mostly a module of the folder in which one works.
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  sys.path has strings
    main(program="trio-supervisor")


def main(argv: list[str] | None = None, *, program: str = AS_MODULE) -> NoReturn:
    """Run the command line (S22, S33)."""
    given = parse(argv, program=program)
    if given.command != "run":
        from supervisor.client._commands import run as ask  # noqa: PLC0415  a service needs it not

        ask(given)
    serve(
        given.function,
        *given.arguments,
        timeout=given.timeout,
        drain=given.drain,
        grace=given.grace,
        limit=given.limit,
        blocked_after=given.blocked_after,
        backoff=given.backoff,
        log_level=given.log_level,
        log_format=given.log_format,
        inspect=_inspect(given),
        health=given.health,
    )


def _inspect(given: argparse.Namespace) -> Callable[[Supervisor], Inspector] | bool:
    """Return what makes the inspector, unless there is to be none (S38)."""
    is_asked = (given.inspect, given.http, given.name) != (None, None, None)
    if given.no_inspect or not (is_asked or importlib.util.find_spec("h11")):
        return False
    from supervisor.inspector._inspector import Inspector  # noqa: PLC0415  as in parse()

    return functools.partial(
        Inspector,
        path=given.inspect or None,
        http=given.http,
        control=True,
        logs=None,
        values=None,
        name=given.name or given.root.partition(":")[0][-NAME_LENGTH:].lstrip("."),
    )


def parse(argv: list[str] | None, *, program: str = AS_MODULE) -> argparse.Namespace:
    """Read the arguments, and import the root that they name."""
    argv = sys.argv[1:] if argv is None else argv
    # By hand: what argparse makes of "--" differs from one Python to the next.
    end = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        prog=program, description="Run a supervision tree as a service, and look at one that runs."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a root runnable until it ends, or until SIGTERM or Ctrl-C",
        usage="%(prog)s [-h] [--OPTION VALUE ...] MODULE:ROOT [-- ARGUMENT ...]",
        description="What follows -- is passed to the root, as strings.",
        epilog="Exit status: 0 stopped or finished, 1 gave up, 2 wrong arguments, "
        "3 the stop was cut short.",
    )
    run.add_argument("root", metavar="MODULE:ROOT", help="such as package.module:root")
    for name, default, text in (
        ("timeout", 30.0, "how long a stop may take (30)"),
        ("drain", 0.0, "how long nothing is ready before the stop begins (0)"),
        ("grace", 0.0, "how long the root gets to stop (0)"),
    ):
        run.add_argument(f"--{name}", type=seconds, default=default, metavar="S", help=text)
    run.add_argument(
        "--limit",
        type=limit,
        default=LIMIT,
        metavar="RESTARTS/S",
        help=f"how often the root may restart within so many seconds, or 'none' ({_shown_limit()})",
    )
    run.add_argument(
        "--backoff",
        type=backoff,
        metavar="S[/S]",
        help="the first delay before a restart, and the longest one (0.5/60)",
    )
    run.add_argument(
        "--blocked-after",
        type=blocked_after,
        default=5.0,
        metavar="S",
        help="after how long the log says what blocks the event loop, or 'none' (5)",
    )
    run.add_argument(
        "--log-level",
        type=level,
        default=logging.INFO,
        metavar="LEVEL",
        help="from which level on records are logged (INFO)",
    )
    run.add_argument(
        "--log-format",
        choices=FORMATS,
        default="auto",
        help="how records are written to standard error; auto is text on a terminal, journal where "
        "systemd reads it, and json elsewhere (auto)",
    )
    shown = run.add_mutually_exclusive_group()
    shown.add_argument(
        "--inspect",
        nargs="?",
        const="",
        metavar="PATH",
        help="show the tree to this user's other processes, by a socket at PATH; "
        "on by default where h11 is installed, at a place of its name",
    )
    shown.add_argument("--no-inspect", action="store_true", help="do not")
    run.add_argument(
        "--name", type=instance, metavar="NAME", help="what this instance is called (its module)"
    )
    run.add_argument("--http", metavar="HOST:PORT", help="show the tree at a loopback port as well")
    run.add_argument("--health", metavar="HOST:PORT", help="answer probes there (nowhere)")
    run.set_defaults(command="run")
    add_commands(commands)
    given = parser.parse_args(argv[:end])
    if given.command != "run":
        if end < len(argv):
            parser.error(f"unrecognized arguments: {' '.join(argv[end:])}")
        return given
    given.arguments = argv[end + 1 :]
    # The other commands need no inspector, and its import is a tenth of the time that they take.
    from supervisor.inspector._access import check_loopback  # noqa: PLC0415
    from supervisor.inspector._inspector import check_socket_path  # noqa: PLC0415

    try:
        check_socket_path(given.inspect or None)
        check_loopback(given.http)
        if given.health is not None:
            check_address("health", given.health, EXAMPLE)
        if given.no_inspect and (given.http or given.name):
            run.error("--http and --name belong to the inspector, which --no-inspect leaves out")
        given.function = load(given.root, given.arguments)
    except ValueError as error:
        run.error(str(error))
    return given


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


def blocked_after(text: str) -> float | None:
    """Parse a number of seconds above 0, or none."""
    if text == "none":
        return None
    value = math.nan
    with contextlib.suppress(ValueError):
        value = float(text)
    if not value > 0:
        msg = f"{text!r} is not a number of seconds above 0, nor 'none'"
        raise argparse.ArgumentTypeError(msg)
    return value


def level(text: str) -> int:
    """Parse the name of a level, or its number."""
    try:
        return check_level(int(text) if text.isdecimal() else text)
    except ValueError:
        msg = f"{text!r} is no level, such as INFO"
        raise argparse.ArgumentTypeError(msg) from None


def limit(text: str) -> RestartLimit | None:
    """Parse a limit of restarts, or none."""
    if text == "none":
        return None
    restarts, _, within = text.partition("/")
    try:
        return RestartLimit(int(restarts), within=float(within))
    except ValueError:
        msg = (
            f"{text!r} is not a number of restarts, a slash, and a number of seconds above 0, such "
            f"as {_shown_limit()}, nor 'none'"
        )
        raise argparse.ArgumentTypeError(msg) from None


def _shown_limit() -> str:
    return f"{LIMIT.restarts}/{LIMIT.within:g}"


def backoff(text: str) -> Backoff:
    """Parse the delays before restarts."""
    first, slash, last = text.partition("/")
    try:
        initial = float(first)
        maximum = float(last) if slash else max(initial, Backoff().maximum)
        found = Backoff(initial=initial, maximum=maximum)
    except ValueError:
        found = None
    if found is None or found.initial > found.maximum:
        msg = (
            f"{text!r} is not a number of seconds for the first delay, or two for the first and "
            "the longest, such as 0.5/60"
        )
        raise argparse.ArgumentTypeError(msg)
    return found


def load(target: str, arguments: Sequence[str] = ()) -> Callable[..., Awaitable[object]]:
    """Import the async function that ``target`` names, to be called with ``arguments``.

    Raises:
        ValueError: if ``target`` names nothing, or something else than an async function that
            takes these arguments. An error inside the module is raised as it is.
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
    _check_arguments(found, target, arguments)
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


def _check_arguments(function: object, target: str, arguments: Sequence[str]) -> None:
    assert callable(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # it is not written in Python, and has no signature
    try:
        signature.bind(*arguments)
    except TypeError as error:
        many = f"{len(arguments)} argument{'' if len(arguments) == 1 else 's'}"
        how = f"with {many}" if arguments else "without arguments"
        msg = f"{target!r} is called {how}: {error}; what follows -- is passed to it"
        raise ValueError(msg) from None


def _shown(found: object) -> str:
    """Return the ``repr()`` of an object in one line of bounded length."""
    short = reprlib.Repr()
    short.maxother = short.maxstring = 200
    return " ".join(short.repr(found).split())
