"""Programs as runnables: a new process in every incarnation (S24).

The work is done by three others: ``_process_group`` starts a program and ends all that is left of
it, ``_guardian`` does that when this process is killed, and ``_output`` logs what it writes. Here
they are put into the life of a runnable:

- The program runs as long as the block does in which its output is read, its readiness awaited, and
  the stop request passed on. What ends the block, an exit, an error or a cancellation, comes to the
  same end: the group is killed, and what it has written is logged. That end can't be cancelled, as
  no process is to outlive the node. It waits for the kernel, and for a second at most for a process
  that has left the group and holds a pipe.
- There is no timer for the grace: the supervisor cancels a runnable when its grace is over, and the
  program brings its own as the runnable's.
- Ctrl-C is kept out (``enable_ki_protection``): between the start of a process and the block that
  ends it there is no line in which it may be raised.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal as signals
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

import supervisor
from supervisor import RunError, Signal, SupervisorError

from ._arguments import LAST_PORT, check_async, check_blocking, check_flag, check_grace, shown
from ._output import Output
from ._own_grace import GRACE
from ._process_group import ProcessGroup, check_program, name_of, passes_on, start
from ._ungrouped import ungrouped

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Sequence

    from ._output import Parse

PORT_INTERVAL: Final = 0.1
"""The seconds between two attempts to connect to ``ready_port``."""

NOTED_LINES: Final = 5
"""So many of the last lines are a note of the error."""

_OF_SYSTEMD: Final = {
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
}
"""Variables that systemd sets for the process that it has started, and for that alone."""


@final
class CommandError(SupervisorError, RuntimeError):
    """A program has ended, and nobody had asked it to (S24).

    This is what such a node dies of; it is found in crash records and logs. A note has the last 5
    lines of what the program has written.

    Attributes:
        argv: The program and its arguments.
        status: What it has exited with; ``None`` if a signal has ended it.
        signal: The signal that has ended it, or ``None``.
        lines: The last 20 lines of both its streams.
    """

    def __init__(
        self, argv: tuple[str, ...], returncode: int, seconds: float, lines: list[str]
    ) -> None:
        """Make the error of an end that :mod:`subprocess` calls ``returncode``."""
        self.argv: tuple[str, ...] = argv
        self.status: int | None = returncode if returncode >= 0 else None
        self.signal: int | None = -returncode if returncode < 0 else None
        self.lines: tuple[str, ...] = tuple(lines)
        super().__init__(
            f"{shown(argv[0])} {_end(returncode)} after {seconds:.1f} s{_hint(returncode)}"
        )
        if lines:
            self.add_note("\n".join(("its last lines:", *lines[-NOTED_LINES:])))


def _end(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by {name_of(-returncode)}"
    if returncode in {126, 127}:
        return f"could not be executed: it ended with status {returncode}"
    return f"ended with status {returncode}"


def _hint(returncode: int) -> str:
    return "" if returncode else ": a command is expected to run on: oneshot=True says otherwise"


def command(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    ready_line: str | None = None,
    ready_port: int | tuple[str, int] | None = None,
    ready: Callable[[], Awaitable[object]] | None = None,
    oneshot: bool = False,
    stop_signal: int = signals.SIGTERM,
    grace: float = GRACE,
    parse: Parse | None = None,
) -> Command:
    r"""Make a runnable of a program: it is a new process in every incarnation (S24).

    The process is in a session, and so a process group, of its own. It reads from ``/dev/null``.
    Each line that it writes, to either stream, is a record of the node's logger, with the
    attributes ``stream`` and ``pid``.

    The node is ``HEALTHY`` when the program runs, or when ``ready_line``, ``ready_port`` or
    ``ready`` tells; ``start_timeout=`` of :func:`supervisor.run` bounds this. At the stop request
    the group gets ``stop_signal``. When the grace is over, and at every cancellation, it gets
    ``SIGKILL``. *When the node has ended, no process of the group is alive*, and none is left if
    this process is killed. What has left the group, as by ``setsid()``, is not reached.

    An exit that nobody has asked for is a death, with status 0 too: the node dies of a
    :exc:`CommandError`.

    Args:
        argv: The program and its arguments. No shell looks at them.
        cwd: The folder in which it starts; by default that of this process.
        env: All of its environment; by default that of this process, without what systemd has set
            for it. ``PYTHONUNBUFFERED=1`` is added unless it has that name. A shell starts the
            program, and sets ``PWD``.
        ready_line: A regular expression. The program is ready when a line of either stream matches
            somewhere.
        ready_port: The program is ready when a connection to this port is accepted, on 127.0.0.1
            or the host that is given with it. It is tried every 0.1 seconds.
        ready: The program is ready when this async function returns. What it raises is what the
            node dies of.
        oneshot: Its work is over when it exits with 0: it is ``NEW`` until then, and
            ``HEALTHY`` and ``DONE`` afterwards.
        stop_signal: What asks it to stop.
        grace: How many seconds it gets to stop.
        parse: Makes a level and a message of a line, or returns ``None`` for one that is logged as
            it is. If it raises, that is logged, and it is not asked again in this incarnation.
            Pieces of lines that are longer than 65 536 characters are logged as they are.

    Returns:
        A runnable, for :func:`supervisor.run` or :func:`supervisor.run_group`. It brings its own
        grace. It dies of a :exc:`FileNotFoundError` or :exc:`PermissionError` if the program or
        ``cwd`` can't be used when it starts.

    Raises:
        TypeError: if ``argv`` is a ``str``, or an argument is of a wrong kind.
        ValueError: if ``argv`` is empty, a text has a NUL, a number is out of its range,
            ``ready_line`` is no regular expression, a variable's name is none that a shell passes
            on, or there is more than one of ``ready_line``, ``ready_port``, ``ready`` and
            ``oneshot``.
        NotImplementedError: if the system is not Linux, or is older than version 5.3.

    Checkpoints:
        Never.

    Example::

        database = command(
            ["postgres", "-D", "data"], ready_port=5432, stop_signal=signal.SIGINT, grace=30.0
        )
        supervisor.run_group({"database": database, "api": serve}, ordered=True)
    """
    if not hasattr(os, "pidfd_open"):
        msg = "command() needs Linux 5.3 or later: there is no os.pidfd_open() here"
        raise NotImplementedError(msg)
    if parse is not None:
        check_blocking("command", parse, "a function for parse=")
    check_flag("command", "oneshot", oneshot)
    program = _Program(
        argv=_check_argv(argv),
        cwd=None if cwd is None else _check_text("cwd", cwd),
        env=None if env is None else _check_env(env),
        ready_line=None if ready_line is None else _check_pattern(ready_line),
        ready_port=None if ready_port is None else _check_ready_port(ready_port),
        ready=ready,
        oneshot=oneshot,
        stop_signal=_check_signal("command", "stop_signal", stop_signal),
        parse=parse,
    )
    if ready is not None:
        check_async("command", ready, "an async function for ready=")
    ways = {"ready_line": ready_line, "ready_port": ready_port, "ready": ready}
    given = [f"{name}=" for name, way in ways.items() if way is not None]
    if len(given) + oneshot > 1:
        given += ["oneshot=True"] if oneshot else []
        msg = f"command() got {' and '.join(given)}: pass one of them"
        raise ValueError(msg)
    return Command(program, check_grace("command", grace))


@final
@attrs.frozen
class _Program:
    """What ``command()`` was told."""

    argv: tuple[str, ...]
    cwd: str | None
    env: dict[str, str] | None
    ready_line: re.Pattern[str] | None
    ready_port: tuple[str, int] | None
    ready: Callable[[], Awaitable[object]] | None
    oneshot: bool
    stop_signal: int
    parse: Parse | None

    def environment(self) -> dict[str, str]:
        """Return the variables for a process that starts now."""
        if self.env is not None:
            env = self.env
        else:
            env = {name: text for name, text in os.environ.items() if name not in _OF_SYSTEMD}
        # Python would keep lines back, which come late then, or never if it is killed.
        return {"PYTHONUNBUFFERED": "1", **env}

    async def wait_ready(self, output: Output) -> None:
        """Wait until the program, which runs, is ready."""
        await trio.lowlevel.checkpoint()
        if self.ready_line is not None:
            await output.matched.wait()
        elif self.ready is not None:
            await self.ready()
        elif self.ready_port is not None:
            while not await _accepts(*self.ready_port):  # noqa: ASYNC110  another process decides
                await trio.sleep(PORT_INTERVAL)


@final
class Command:
    """A runnable that is a program, as :func:`command` returns it (S24).

    It is for one place in a tree.

    Attributes:
        grace: What :func:`supervisor.run` takes for it if it is told nothing else.
        pid: The process that runs now, or ``None``.
    """

    def __init__(self, program: _Program, grace: float) -> None:
        """Make one; users get theirs from :func:`command`."""
        self.grace: float = grace
        self.pid: int | None = None
        self._program = program
        self._dn: str | None = None

    def __repr__(self) -> str:
        """Tell what it runs."""
        state = "not running" if self.pid is None else f"pid {self.pid}"
        return f"<Command {shown(shlex.join(self._program.argv))}, {state}>"

    @enable_ki_protection
    def send_signal(self, sig: int) -> None:
        """Send a signal to the process, such as ``SIGHUP``: to the leader of its group alone.

        Args:
            sig: Which.

        Raises:
            RunError: if no process runs: :attr:`pid` is ``None``.
            TypeError: if it is not an ``int``.
            ValueError: if it is no signal.
            PermissionError: if the process has become another user's.

        Checkpoints:
            Never.

        Example::

            nginx = command(["nginx", "-g", "daemon off;"], stop_signal=signal.SIGQUIT)
            ...
            nginx.send_signal(signal.SIGHUP)  # it reads its configuration again
        """
        sig = _check_signal("send_signal", "sig", sig)
        if self.pid is None:
            msg = f"send_signal(): {self!r} has no process that could get {name_of(sig)}"
            raise RunError(msg)
        # The number is its own until it is reaped, and by then the attribute is None.
        os.kill(self.pid, sig)

    @enable_ki_protection
    async def __call__(self) -> None:
        """Run: this is the runnable.

        Raises:
            RunError: if it runs in another place.
            CommandError: if the program ends, and nobody has asked it to.
            OSError: if it can't be started.

        Checkpoints:
            Always.

        Cancellation:
            Kills the process group, and waits for its end.
        """
        if self._dn is not None:
            msg = f"{self!r} is {self._dn} already: call command() for each place in a tree"
            raise RunError(msg)
        self._dn = supervisor.current_dn()
        try:
            await ungrouped(self._run, supervisor.logger())
        finally:
            self._dn = None

    @enable_ki_protection
    async def _run(self, logger: logging.Logger) -> None:
        program = self._program
        began = time.monotonic()
        env = program.environment()
        check_program(program.argv[0], program.cwd, env)
        group = await start(program.argv, program.cwd, env, logger)
        output = Output(
            group.stdout,
            group.stderr,
            group.pid,
            logger,
            parse=program.parse,
            pattern=program.ready_line,
        )
        try:
            stop_requested = await self._run_until_exit(group, output)
        finally:
            with trio.CancelScope(shield=True):
                returncode = await self._end(group, output, logger)
        if stop_requested:
            return
        if returncode or not program.oneshot:
            seconds = time.monotonic() - began
            raise CommandError(program.argv, returncode, seconds, [*output.last_lines])
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async def _run_until_exit(self, group: ProcessGroup, output: Output) -> bool:
        """Wait for the program's exit, and return whether a stop was requested before."""
        async with trio.open_nursery() as nursery:
            group.begin()
            nursery.start_soon(output.read)
            nursery.start_soon(self._become_healthy, group, output)
            nursery.start_soon(_stop_when_asked, group, self._program.stop_signal)
            await group.wait_ended()
            with supervisor.stop_scope() as stopped:
                pass
            nursery.cancel_scope.cancel(reason="the program has ended")
        return stopped.cancel_called

    async def _become_healthy(self, group: ProcessGroup, output: Output) -> None:
        if not await group.wait_begun():
            return
        self.pid = group.pid
        if not self._program.oneshot:
            await self._program.wait_ready(output)
            supervisor.signal(Signal.HEALTHY)

    async def _end(self, group: ProcessGroup, output: Output, logger: logging.Logger) -> int:
        """End all that is left of the program; it is not to be cancelled."""
        self.pid = None
        had_ended = group.has_ended
        with contextlib.closing(group):
            returncode = await group.end()
            if not had_ended:
                name = shown(self._program.argv[0])
                logger.warning("%s, process %d, had not ended, and got SIGKILL", name, group.pid)
            await output.read_to_end()
        return returncode


async def _stop_when_asked(group: ProcessGroup, signal: int) -> None:
    await supervisor.wait_stop_requested()
    group.send_signal(signal)


async def _accepts(host: str, port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError:
        return False  # noqa: ASYNC910  it has tried
    await trio.aclose_forcefully(stream)
    return True


def _check_argv(argv: object) -> tuple[str, ...]:
    if isinstance(argv, str | bytes):
        msg = f"command(): argv={shown(argv)} is one text: pass a list, as shlex.split() makes it"
        raise TypeError(msg)
    if not isinstance(argv, Iterable):
        msg = f"command(): argv={shown(argv)} is not a list of strings"
        raise TypeError(msg)
    checked = tuple(_check_text("argv", each) for each in argv)
    if not checked or not checked[0]:
        msg = f"command(): argv={shown(argv)} has no program: pass it and its arguments"
        raise ValueError(msg)
    return checked


def _check_text(name: str, value: object) -> str:
    """Return a text that the system can take."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(text, str):
        msg = f"command(): {name} has {shown(value)}, which is not a str or a path"
        raise TypeError(msg)
    if "\0" in text:
        msg = f"command(): {name} has {shown(value)}, in which there is a NUL: leave it out"
        raise ValueError(msg)
    return str.__str__(text)


def _check_env(env: object) -> dict[str, str]:
    if not isinstance(env, Mapping):
        msg = f"command(): env={shown(env)} is not a mapping of names to texts"
        raise TypeError(msg)
    checked = {_check_text("env", name): _check_text("env", text) for name, text in env.items()}
    for name in checked:
        if not passes_on(name):
            remedy = "let the program env set it, as in ['env', 'NAME=text', …]"
            msg = f"command(): env has {shown(name)}, which a shell does not pass on: {remedy}"
            raise ValueError(msg)
    return checked


def _check_pattern(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        msg = f"command(): ready_line={shown(pattern)} is not a str with a regular expression"
        raise TypeError(msg)
    try:
        return re.compile(pattern)
    except re.error as error:
        msg = f"command(): ready_line={shown(pattern)} is no regular expression: {error}"
        raise ValueError(msg) from None


def _check_ready_port(where: object) -> tuple[str, int]:
    host, port = where if isinstance(where, tuple) and len(where) == 2 else ("127.0.0.1", where)  # noqa: PLR2004
    message = f"command(): ready_port={shown(where)} is not a port, nor a host and a port"
    if not isinstance(host, str) or not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(message)
    if not 1 <= port <= LAST_PORT:
        msg = f"{message}, from 1 to {LAST_PORT}"
        raise ValueError(msg)
    return host, port


def _check_signal(function: str, name: str, value: object) -> int:
    message = f"{function}(): {name}={shown(value)} is not a signal, such as signal.SIGTERM"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(message)
    if value not in signals.valid_signals():
        raise ValueError(message)
    return value
