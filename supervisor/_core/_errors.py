"""Every exception that the package raises of its own accord.

Each derives from :class:`SupervisorError`, and from the builtin exception that
a reader would expect in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from ._records import Crash


class SupervisorError(Exception):
    """The root of the package's exceptions. They can be copied and pickled."""

    def __reduce__(self) -> tuple[object, ...]:
        """Make copies without ``__init__``, which may take more than ``args``."""
        return _copy, (type(self), self.args), self.__dict__


def _copy(kind: type[SupervisorError], args: tuple[object, ...]) -> SupervisorError:
    copy = kind.__new__(kind, *args)
    copy.args = args  # an OSError sets them in __init__
    return copy


@final
class NotSupervisedError(SupervisorError, RuntimeError):
    """A function was called where the tree that it acts on can't be reached.

    One that needs a calling runnable was called outside of one; or something of a tree was used in
    another thread than the tree's, or in another run of Trio. Nothing was changed.
    """


@final
class StaleRunnableError(SupervisorError, RuntimeError):
    """The calling task belongs to an incarnation that has ended.

    The task escaped its runnable, through a nursery or a thread that outlives
    it. Nothing was changed: the node may be running again, in another
    incarnation.
    """


@final
class InvalidNameError(SupervisorError, ValueError):
    """A name is not one to 64 of the characters ``a-z``, ``0-9`` and ``_``."""


@final
class DuplicateNameError(SupervisorError, ValueError):
    """A name is taken by a child or a sub-logger of the same node."""


@final
class RunError(SupervisorError, RuntimeError):
    """A child can't be started now: the node is not ``NEW``, or is stopping."""


@final
class SignalError(SupervisorError, RuntimeError):
    """A signal was sent in a state that does not admit it."""


@final
class UnexpectedReturnError(SupervisorError, RuntimeError):
    """A runnable ended, without an error, before it had signalled ``DONE``.

    This is what such a node dies of; it is found in crash records and logs.
    """


@final
class UnclosedScopeError(SupervisorError, RuntimeError):
    """A runnable ended, and a cancel scope or nursery that it had opened was still open.

    This is what such a node dies of; it is found in crash records and logs. The tasks in the
    nursery have been cancelled, and are gone.
    """


@final
class StartTimeoutError(SupervisorError, TimeoutError):
    """A runnable was still ``NEW`` when its ``start_timeout`` was over.

    This is what such a node dies of; it is found in crash records and logs.
    """


@final
class HeartbeatError(SupervisorError, TimeoutError):
    """A healthy runnable has not called ``beat()`` within its ``heartbeat`` (S31).

    This is what such a node dies of; it is found in crash records and logs. A note says where the
    tasks of the runnable were waiting.
    """


@final
class GaveUpError(SupervisorError, RuntimeError):
    """What was waited for can't happen any more.

    The group was stopped, has failed, or ended with its parent.
    """


@final
class StopTimeoutError(SupervisorError, TimeoutError):
    """A tree had not stopped when the time for it was over, and was cancelled.

    Attributes:
        dns: The nodes that were still running.
    """

    def __init__(self, message: str, *, dns: tuple[str, ...]) -> None:
        """Make the error of a stop that was cut short."""
        super().__init__(message)
        self.dns = dns


@final
class PoolFullError(SupervisorError, RuntimeError):
    """A pool has as many children as it may have."""


@final
class UnknownNameError(SupervisorError, LookupError):
    """There is no child of that name."""


class GroupFailedError(SupervisorError, RuntimeError):
    """A group has failed for good, and its parent dies of it.

    At the root it leaves :func:`~supervisor.supervise`. Its ``__cause__`` is the last death's
    exception.

    Attributes:
        dn: The group: one DN, or ``parent.{a,b}`` where it has several
            members.
        causes: The deaths that led to it, oldest first.
    """

    def __init__(self, message: str, *, dn: str, causes: tuple[Crash, ...]) -> None:
        """Make the error of a group that is not started again."""
        super().__init__(message)
        self.dn = dn
        self.causes = causes


@final
class RestartLimitExceeded(GroupFailedError):  # noqa: N818  it states what happened, as trio.TooSlowError's kin do not
    """A group would have restarted more often than its limit allows.

    Attributes:
        dn: The group.
        causes: The deaths within the limit's window, oldest first; the restart
            after the last of them was refused.
        times: When they were, in seconds on Trio's clock.
    """

    def __init__(
        self, message: str, *, dn: str, causes: tuple[Crash, ...], times: tuple[float, ...]
    ) -> None:
        """Make the error of a group that has given up."""
        super().__init__(message, dn=dn, causes=causes)
        self.times = times


@final
class FatalDeathError(GroupFailedError):
    """A member of a group died of what is ``fatal=`` for it, which is not retried."""


@final
class RestartRequested(Exception):  # noqa: N818  it is a request, no error
    """Raise it in a runnable to have its group restarted at once, as planned (S26).

    It is no failure: there is no backoff, no limit counts it, and it is counted as an operator's
    restart is. So a runnable can start afresh from time to time, as to give back memory. The node
    must be ``HEALTHY``: one that asks for a restart before would do so for ever, so it dies of it.

    Example::

        async def worker() -> None:
            supervisor.signal(Signal.HEALTHY)
            for _ in range(10_000):
                await handle_request()
            raise RestartRequested("10 000 requests are handled")
    """
