"""For tests of supervised code: a harness, and a runnable under remote control.

Nothing here needs a test framework. Under pytest-trio, with a clock that jumps when all tasks
wait, a test does not wait for any backoff::

    async def test_worker_survives(autojump_clock: trio.testing.MockClock) -> None:
        async with supervisor.testing.open_harness(root) as tree:
            await tree.wait_settled()
            ...
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, TypeVarTuple, Unpack, final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from ._calls._runnable import signal
from ._calls._supervisor import open_supervisor
from ._core._arguments import check_seconds, shown
from ._core._errors import NotSupervisedError, RestartLimitExceeded, SignalError
from ._core._restart import RestartLimit
from ._core._states import NodeState, Signal
from ._tasks._current import calling_run
from ._tasks._members import bind, check_runnable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from ._calls._supervisor import Supervisor
    from ._core._restart import Backoff
    from ._observing._metrics import Metrics

__all__ = ("HarnessError", "Remote", "RemoteDeathError", "open_harness")

ArgsT = TypeVarTuple("ArgsT")

_ONCE: Final = RestartLimit(0, within=1.0)


@final
class HarnessError(AssertionError):
    """The root died, or the tree was too slow to stop: the test has failed."""


@final
class RemoteDeathError(Exception):
    """What a :class:`Remote` dies of by default."""


def open_harness(
    root: Callable[[Unpack[ArgsT]], Awaitable[object]],
    *args: *ArgsT,
    backoff: Backoff | None = None,
    metrics: Metrics | Sequence[Metrics] | None = None,
    patience: float = 5.0,
) -> AbstractAsyncContextManager[Supervisor]:
    """Run a tree beside the body of a test.

    The root is run once. If it dies, the test fails, and the root does not restart. If it
    returns without a signal, it is ``DONE``, and its children live on. All other
    runnables are supervised as in any tree. The end of the body stops the tree and waits
    until all its tasks are gone. Modelled on upstream's ``TestHarness``, which runs a
    root that has returned again and again.

    Args:
        root: The root runnable; it may do the work of the test itself.
        *args: Its arguments.
        backoff: The default delays before restarts.
        metrics: Is told of every transition.
        patience: The most seconds that the tree may take to stop, on Trio's clock; if it
            takes longer, the test fails. Meanwhile the log says which nodes have not
            ended and where they wait (S18).

    Returns:
        A context manager of the running tree.

    Raises:
        HarnessError: if the root died, with a picture of the tree at that time, from its
            error; or if nodes were still alive ``patience`` seconds after the stop, with
            their names.
        TypeError: if ``root`` is not callable, or an option is of a wrong kind.
        ValueError: if ``patience`` is out of its range.

    Checkpoints:
        On leaving.

    Cancellation:
        The tree is stopped as on leaving.

    Example::

        async with open_harness(root) as tree:
            await tree.wait_settled()
            assert tree.snapshot().nodes["root.worker"].state is NodeState.HEALTHY
    """
    check_runnable(root, "open_harness()")
    patience = check_seconds("patience", patience)
    return _Harness(bind(root, args), backoff, metrics, patience)


@final
class _Harness(AbstractAsyncContextManager["Supervisor"]):
    """What :func:`open_harness` returns; a class for the same reason as ``OpenSupervisor``."""

    __slots__ = ("_call", "_opened", "_patience", "_picture", "_tree")

    def __init__(
        self,
        call: Callable[[], Awaitable[object]],
        backoff: Backoff | None,
        metrics: Metrics | Sequence[Metrics] | None,
        patience: float,
    ) -> None:
        self._call: Callable[[], Awaitable[object]] = call
        self._patience: float = patience
        # A picture of the tree at the death of its root.
        self._picture: str = ""
        self._opened: AbstractAsyncContextManager[Supervisor] = open_supervisor(
            self._run_root, backoff=backoff, limit=_ONCE, metrics=metrics
        )

    @enable_ki_protection
    async def __aenter__(self) -> Supervisor:
        self._tree: Supervisor = await self._opened.__aenter__()
        return self._tree

    async def _run_root(self) -> None:
        try:
            await self._call()
        except Exception:
            self._picture = str(self._tree.snapshot())
            raise
        state = self._tree.snapshot().nodes["root"].state
        if state is NodeState.NEW:
            signal(Signal.HEALTHY)
        with contextlib.suppress(SignalError):
            signal(Signal.DONE)

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        stopped_at = trio.current_time()
        try:
            # As in open_supervisor().
            handled = await self._opened.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102
        except RestartLimitExceeded as exceeded:
            if exceeded not in self._tree._port.errors:
                raise  # another tree in the body has raised it
            picture = self._picture or str(self._tree.snapshot())
            msg = f"{exceeded.causes[-1].error}\n\nroot died in this tree:\n{picture}"
            raise HarnessError(msg) from exceeded.__cause__
        if exc is None or handled:
            self._check_end(stopped_at)
        return handled

    def _check_end(self, stopped_at: float) -> None:
        late = {
            node.dn: node.since - stopped_at
            for node in self._tree.snapshot().nodes.values()
            if node.since > stopped_at + self._patience
        }
        if late:
            names = ", ".join(f"{dn} ({seconds:.1f} s)" for dn, seconds in late.items())
            msg = f"still alive {self._patience:g} s after the tree was asked to stop: {names}"
            raise HarnessError(msg)


@final
@attrs.define(eq=False)
class _Command:
    """Something that a :class:`Remote` has been told to do."""

    signals: tuple[Signal, ...] = ()
    error: BaseException | None = None
    received: trio.Event = attrs.field(factory=trio.Event)


@final
class Remote:
    """A runnable that does what a test tells it to.

    Use it for one node of a tree at a time. A command is for the incarnation that runs. If none
    runs, the command waits for the next one. Each command returns when the runnable has done it.
    While it is used in one run of Trio, commands in another thread or run raise
    :exc:`NotSupervisedError`.

    Example::

        remote = Remote()
        supervisor.run("worker", remote)
        ...
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
        assert remote.incarnations == 2
    """

    def __init__(self) -> None:
        """Make a runnable that does not run yet."""
        self._commands, self._inbox = trio.open_memory_channel[_Command](0)
        self._released = trio.Event()
        self._released.set()
        self._seconds = 0.0
        # The run of Trio that has used it last.
        self._token: trio.lowlevel.TrioToken | None = None
        self.incarnations: int = 0
        """How often it has been started."""
        self.running: int = 0
        """How many of its incarnations are alive: at most one in a tree."""

    def __repr__(self) -> str:
        """Tell how often it was started."""
        return f"<Remote, started {self.incarnations} times, {self.running} running>"

    async def __call__(self) -> None:
        """Run: this is the runnable."""
        self._check_run("__call__")
        self.incarnations += 1
        self.running += 1
        try:
            while True:
                command = await self._inbox.receive()
                command.received.set()
                for each in command.signals:
                    signal(each)
                if command.error is not None:
                    raise command.error
                if Signal.DONE in command.signals:
                    return
        finally:
            # The test has asked for it, and bounds it.
            with trio.CancelScope(shield=True):
                if self._seconds:
                    await trio.sleep(self._seconds)
                await self._released.wait()
            self.running -= 1

    async def become_healthy(self) -> None:
        """Have it signal ``HEALTHY``.

        Checkpoints:
            Always.

        Cancellation:
            It has signalled, or will not.
        """
        await self._command("become_healthy", _Command(signals=(Signal.HEALTHY,)))

    async def be_done(self) -> None:
        """Have it signal ``DONE`` and return.

        Checkpoints:
            Always.

        Cancellation:
            It has signalled and returned, or will not.
        """
        await self._command("be_done", _Command(signals=(Signal.DONE,)))

    async def die(self, error: BaseException | None = None) -> None:
        """Have it raise ``error``, by default a :exc:`RemoteDeathError`.

        Raises:
            TypeError: if ``error`` is not an exception.

        Checkpoints:
            Always.

        Cancellation:
            It has died, or will not.
        """
        death: object = RemoteDeathError("died on request") if error is None else error
        if not isinstance(death, BaseException):
            msg = f"error={shown(death)} is not an exception: pass one, such as ValueError()"
            raise TypeError(msg)
        await self._command("die", _Command(error=death))

    def stop_slowly(self, seconds: float) -> None:
        """Let each of its ends take ``seconds`` from now on: returns, deaths and cancellations."""
        self._seconds = check_seconds("seconds", seconds)

    def hang(self) -> None:
        """Keep it from ending, after a stop or a death, until :meth:`release`."""
        self._check_run("hang")
        if self._released.is_set():
            self._released = trio.Event()

    def release(self) -> None:
        """Undo :meth:`hang`, also for an incarnation that hangs now."""
        self._check_run("release")
        self._released.set()

    def _check_run(self, function: str) -> None:
        here = calling_run()
        if self._token is not None and self._token is not here and not _has_ended(self._token):
            msg = (
                f"{function}() of {self!r} was called in another thread than the one that uses it: "
                f"call trio.from_thread.run(remote.{function}), or run_sync() if it is sync"
            )
            raise NotSupervisedError(msg)
        self._token = here

    async def _command(self, function: str, command: _Command) -> None:
        self._check_run(function)
        await self._commands.send(command)
        # The runnable has received it, and does it in its next task step.
        with trio.CancelScope(shield=True):
            await command.received.wait()


def _has_ended(token: trio.lowlevel.TrioToken) -> bool:
    """Return whether a run of Trio has ended."""
    try:
        token.run_sync_soon(_nothing)
    except trio.RunFinishedError:
        return True
    return False


def _nothing() -> None:
    """Do nothing: what counts is whether it can be called."""
