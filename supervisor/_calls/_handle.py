"""What ``run()`` and ``run_group()`` return: control of what was started."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

import trio
from trio.lowlevel import enable_ki_protection

from supervisor._core._errors import GaveUpError
from supervisor._core._states import FINISHED, GroupState
from supervisor._tasks._current import check_run
from supervisor._tasks._rounds import restart_group
from supervisor._tasks._stopping import OwnStop, hold_group

if TYPE_CHECKING:
    from supervisor._tasks._tree import Group


@final
class Handle:
    """Stands for a group of runnables, through all its restarts (S19).

    It is returned by :func:`run`, whose runnable is alone in its group, and by
    :func:`run_group`. It may be passed around and used by any task of the same Trio run;
    elsewhere its methods raise :exc:`NotSupervisedError`, and what it shows can be read. It is
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
    def dns(self) -> tuple[str, ...]:
        """The DNs of the group's members, in their order."""
        return tuple(node.dn for node in self._group.members)

    @property
    def state(self) -> GroupState:
        """Where the group is in its life."""
        return self._group.state

    async def wait_healthy(self) -> None:
        """Wait until all members are ``HEALTHY`` or ``DONE``, through any number of restarts.

        Raises:
            GaveUpError: as soon as that can't happen any more: the group has been stopped, has
                given up, or has ended with its parent.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        self._check_run("wait_healthy")
        await trio.lowlevel.checkpoint()
        group = self._group
        while not group.is_healthy:
            if group.is_at_rest:
                self._give_up("be healthy")
            await group.wait_changed()

    @enable_ki_protection
    async def stop(self) -> None:
        """Stop the members, and keep them stopped until :meth:`restart`.

        Each is asked to stop, gets its grace, and is then cancelled. A wait for backoff ends at
        once. A group that has finished, or has ended with its parent, stays as it is. A tree
        in which a group is kept stopped does not finish.

        Raises:
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always; it returns when all tasks of the group are gone.

        Cancellation:
            The group is stopped all the same, only not waited for.
        """
        self._check_run("stop")
        group = self._group
        round_ = group.rounds
        with OwnStop(group):
            hold_group(group, f"{group.dn} is stopped on demand")
            await trio.lowlevel.checkpoint()
            while not group.is_idle and group.rounds == round_:
                await group.wait_changed()

    @enable_ki_protection
    async def restart(self) -> None:
        """Stop the members if they run, and start them again without a backoff.

        It is not counted as a failure.

        Raises:
            GaveUpError: if the group has given up, or has ended or ends with its parent; or if
                somebody stops it meanwhile.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always; it returns when the members have been started.

        Cancellation:
            The group is restarted all the same, only not waited for.
        """
        self._check_run("restart")
        group = self._group
        if group.is_final:
            self._give_up("restart")
        round_ = group.rounds
        with OwnStop(group):
            restart_group(group, f"{group.dn} is restarted on demand")
            await trio.lowlevel.checkpoint()
            while group.rounds == round_:
                if group.is_at_rest:
                    self._give_up("restart")
                await group.wait_changed()

    async def wait_ended(self) -> GroupState:
        """Wait until nothing of the group runs, nor will unless it is restarted (S28).

        Returns:
            How it has ended: ``FINISHED`` if all of it is ``DONE``, ``FAILED`` if it may not
            restart, ``STOPPED`` if it was stopped, or ended with its parent.

        Raises:
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.

        Example::

            job = supervisor.run("job", run_job, restart=RestartPolicy.NEVER)
            if await job.wait_ended() is GroupState.FAILED:
                await undo()
        """
        self._check_run("wait_ended")
        await trio.lowlevel.checkpoint()
        await self._group.wait_idle()
        return self._group.state

    def _check_run(self, function: str) -> None:
        group = self._group
        check_run(group.siblings.tree, group, "handle", function, waits=True)

    def _give_up(self, what: str) -> NoReturn:
        group = self._group
        if group.state is GroupState.FAILED:
            why = group.reason
        elif group.is_held:
            why = "it was stopped"
        elif group.phase is FINISHED:
            why = "it has finished"
        else:
            why = "it is stopped for good, or ends with its parent"
        msg = f"{group.dn} will not {what}: {why}"
        raise GaveUpError(msg)
