"""What ``run()`` and ``run_group()`` return: a hand on what was started."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

import trio
from trio.lowlevel import enable_ki_protection

from ._engine import conclude
from ._errors import GaveUpError
from ._node import Wish
from ._state import GroupState
from ._stopping import interrupt, wait_changed

if TYPE_CHECKING:
    from ._node import Group


@final
class Handle:
    """Stands for a group of runnables, through all its restarts.

    It is returned by :func:`run`, whose runnable is alone in its group, and by
    :func:`run_group`. It may be passed around and used by any task of the same Trio run. It is
    of no more use when the incarnation that started the group has ended: the next one starts
    another group.

    Example::

        database = supervisor.run("database", serve_database)
        await database.wait_healthy()
        supervisor.run("api", serve_api)
    """

    __slots__ = ("_group",)

    def __init__(self, group: Group) -> None:
        """Make the handle of ``group``; users get theirs from :func:`run`."""
        self._group = group

    def __repr__(self) -> str:
        """Name the group and its state."""
        return f"<Handle {self.dn} {self.state.name}>"

    @property
    def dn(self) -> str:
        """The DN of the runnable, or ``parent.{a,b}`` where there are several."""
        return self._group.dn

    @property
    def state(self) -> GroupState:
        """Where the group is in its life."""
        return self._group.state

    async def wait_healthy(self) -> None:
        """Wait until all members are ``HEALTHY`` or ``DONE``, through any number of restarts.

        Raises:
            GaveUpError: as soon as that can't happen any more: the group has been stopped, has
                given up, or has ended with its parent.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        await trio.lowlevel.checkpoint()
        group = self._group
        while True:
            running = group.state is GroupState.RUNNING and not group.host.cancelled
            if group.unready == 0 and (running or group.state is GroupState.FINISHED):
                return
            if group.wish is Wish.HOLD or self._is_over():
                self._give_up("be healthy")
            await wait_changed(group)

    @enable_ki_protection
    async def stop(self) -> None:
        """Stop the members, and keep them stopped until :meth:`restart`.

        Each is asked to stop, gets its grace, and is then cancelled. A wait for backoff ends at
        once. A group that has finished, or has ended with its parent, stays as it is. A tree
        in which a group is kept stopped does not finish.

        Checkpoints:
            Always; it returns when all tasks of the group are gone.

        Cancellation:
            The group is stopped all the same, only not waited for.
        """
        group = self._group
        round_ = group.rounds
        if not group.at_rest and group.wish is not Wish.END:
            group.wish = Wish.HOLD
            group.tell()
            interrupt(group, f"{group.dn} is stopped on demand")
        await trio.lowlevel.checkpoint()
        while not group.at_rest and group.rounds == round_:
            await wait_changed(group)

    @enable_ki_protection
    async def restart(self) -> None:
        """Stop the members if they run, and start them again without a backoff.

        It is not counted as a failure.

        Raises:
            GaveUpError: if the group has given up, or has ended or ends with its parent; or if
                somebody stops it meanwhile.

        Checkpoints:
            Always; it returns when the members have been started.

        Cancellation:
            The group is restarted all the same, only not waited for.
        """
        group = self._group
        if self._is_over():
            self._give_up("restart")
        round_ = group.rounds
        group.wish = Wish.RESTART
        if group.at_rest:
            if group.state is GroupState.FINISHED:
                group.host.enter()  # it had left
            group.waking = True
            group.host.start_soon(group.context, conclude, group, f"restart {group.dn}")
        else:
            interrupt(group, f"{group.dn} is restarted on demand")
        await trio.lowlevel.checkpoint()
        while group.rounds == round_:
            if group.wish is Wish.HOLD or self._is_over():
                self._give_up("restart")
            await wait_changed(group)

    def _is_over(self) -> bool:
        """Return whether the group will never run again, whatever one does."""
        group = self._group
        return (
            group.wish is Wish.END
            or group.host.cancelled
            or group.state is GroupState.FAILED
            or (group.state is GroupState.FINISHED and group.host.over)
            or (group.parent is not None and group.parent.ended)
        )

    def _give_up(self, what: str) -> NoReturn:
        group = self._group
        if group.state is GroupState.FAILED:
            why = group.obituary
        elif group.wish is Wish.HOLD:
            why = "it was stopped"
        elif group.state is GroupState.FINISHED:
            why = "it has finished"
        else:
            why = "it is stopped for good, or ends with its parent"
        msg = f"{group.dn} will not {what}: {why}"
        raise GaveUpError(msg)
