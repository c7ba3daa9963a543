"""For tests of supervised code: a harness, and a runnable under remote control.

Nothing here needs a test framework. Under pytest-trio, with a clock that jumps when nothing
else is left to do, hours of backoff pass in no time::

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

    The root is run once. If it dies, the test fails: the root is not run again. If it returns
    without having signalled, it counts as done; its children live on. All
    other runnables are supervised as ever. Leaving the body stops the tree and waits
    until all its tasks are gone. Modelled on upstream's ``TestHarness``, which runs a
    root that returned again and again.

    Args:
        root: The root runnable; it may do the work of the test itself.
        *args: Its arguments.
        backoff: The default delays before restarts.
        metrics: Is told of every transition.
        patience: The test fails if the tree takes longer than so many seconds to
            stop, on Trio's clock. Meanwhile the log says, as ever, which nodes have not
            ended and where they wait.

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
    """What :func:`open_harness` returns: a class for the reason that ``OpenSupervisor`` is one."""

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
        # The tree when its root died.
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
        asked = trio.current_time()
        try:
            # As that of open_supervisor().
            handled = await self._opened.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102
        except RestartLimitExceeded as exceeded:
            if exceeded not in self._tree._port.errors:
                raise  # that of another tree, in the body
            picture = self._picture or str(self._tree.snapshot())
            msg = f"{exceeded.causes[-1].error}\n\nroot died in this tree:\n{picture}"
            raise HarnessError(msg) from exceeded.__cause__
        if exc is None or handled:
            self._check_end(asked)
        return handled

    def _check_end(self, asked: float) -> None:
        late = {
            node.dn: node.since - asked
            for node in self._tree.snapshot().nodes.values()
            if node.since > asked + self._patience
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
    obeyed: trio.Event = attrs.field(factory=trio.Event)


@final
class Remote:
    """A runnable that does what a test tells it to.

    Use it in one place of a tree at a time. A command is for the incarnation that runs; if none
    does, it waits for the next. Each command returns when it has been obeyed. While it is used in
    one run of Trio, commands in another thread or run raise :exc:`NotSupervisedError`.

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
        """Make one that is not running yet."""
        self._commands, self._inbox = trio.open_memory_channel[_Command](0)
        self._released = trio.Event()
        self._released.set()
        self._seconds = 0.0
        # The run of Trio in which it was last used.
        self._token: trio.lowlevel.TrioToken | None = None
        self.incarnations: int = 0
        """How often it has been started."""
        self.running: int = 0
        """How many of its incarnations are alive: never more than one under a supervisor."""

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
                command.obeyed.set()
                for each in command.signals:
                    signal(each)
                if command.error is not None:
                    raise command.error
                if Signal.DONE in command.signals:
                    return
        finally:
            # Bounded by the test, which asked for it.
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
        await self._obey("become_healthy", _Command(signals=(Signal.HEALTHY,)))

    async def be_done(self) -> None:
        """Have it signal ``DONE`` and return.

        Checkpoints:
            Always.

        Cancellation:
            It has signalled and returned, or will not.
        """
        await self._obey("be_done", _Command(signals=(Signal.DONE,)))

    async def die(self, error: BaseException | None = None) -> None:
        """Have it raise ``error``, by default a :exc:`RemoteDeathError`.

        Checkpoints:
            Always.

        Cancellation:
            It has died, or will not.
        """
        death: object = RemoteDeathError("died on request") if error is None else error
        if not isinstance(death, BaseException):
            msg = f"error={shown(death)} is not an exception: pass one, such as ValueError()"
            raise TypeError(msg)
        await self._obey("die", _Command(error=death))

    def stop_slowly(self, seconds: float) -> None:
        """Let each of its ends, of whatever kind, take so many seconds from now on."""
        self._seconds = check_seconds("seconds", seconds)

    def hang(self) -> None:
        """Let it not end, although it is stopped or has died, until :meth:`release`."""
        self._check_run("hang")
        if self._released.is_set():
            self._released = trio.Event()

    def release(self) -> None:
        """Undo :meth:`hang`, also for an incarnation that hangs now."""
        self._check_run("release")
        self._released.set()

    def _check_run(self, function: str) -> None:
        here = calling_run()
        if self._token is not None and self._token is not here and not _is_over(self._token):
            msg = (
                f"{function}() of {self!r} was called in another thread than that in which it is "
                f"used: call trio.from_thread.run(remote.{function}), or run_sync() if it is sync"
            )
            raise NotSupervisedError(msg)
        self._token = here

    async def _obey(self, function: str, command: _Command) -> None:
        self._check_run(function)
        await self._commands.send(command)
        # It has been received and can't be recalled: its end is one step away.
        with trio.CancelScope(shield=True):
            await command.obeyed.wait()


def _is_over(token: trio.lowlevel.TrioToken) -> bool:
    """Return whether a run of Trio has ended."""
    try:
        token.run_sync_soon(_nothing)
    except trio.RunFinishedError:
        return True
    return False


def _nothing() -> None:
    """Only find out whether it can be called."""
