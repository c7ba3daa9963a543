"""A tree as a whole: looked at, waited for, stopped."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, final

import trio
from trio.lowlevel import enable_ki_protection

from ._alarms import Alarms
from ._backoff import Backoff
from ._crash import unwrapped
from ._engine import add
from ._errors import StopTimeoutError
from ._host import Host
from ._logging import label_records
from ._node import Group, Node, Terms
from ._ready import is_ready, wait_ready
from ._snapshot import Snapshot, take
from ._starting import check_grace
from ._stopping import end
from ._stuck import report, running
from ._tree import Tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._metrics import Metrics
    from ._restart import RestartLimit


@final
class Supervisor:
    """A running tree, as :func:`open_supervisor` yields it."""

    __slots__ = ("_budget", "_gone", "_late", "_settled", "_tree")

    def __init__(
        self,
        call: Callable[[], Awaitable[object]],
        backoff: Backoff | None,
        limit: RestartLimit | None,
        metrics: Metrics | None,
        grace: float,
        *,
        propagate: bool,
    ) -> None:
        """Make a tree that is yet to run; users get theirs from :func:`open_supervisor`."""
        label_records()
        self._gone = trio.Event()
        self._settled = trio.lowlevel.ParkingLot()
        # The first time for a stop that was over, and the nodes that were running then.
        self._budget: float = 0.0
        self._late: tuple[str, ...] = ()
        tree = self._tree = Tree(
            backoff=backoff or Backoff(),
            metrics=metrics,
            propagate=propagate,
            token=trio.lowlevel.current_trio_token(),
            on_settled=self._settled.unpark_all,
        )
        tree.alarms = Alarms()
        tree.root = Group(
            None,
            Host(tree, sealed=True),
            Terms(limit=limit, graces=check_grace(grace)),
            copy_context(),
        )
        root = Node("root", call, tree.root, float(grace))
        tree.root.members = (root,)
        add(tree.root)

    def __repr__(self) -> str:
        """Tell the state of the root's group."""
        return f"<Supervisor {self._tree.root.state.name}>"

    def snapshot(self) -> Snapshot:
        """Take an immutable picture of all nodes at this instant.

        Returns:
            The snapshot. It costs time and memory in proportion to the number
            of nodes.

        Checkpoints:
            Never.
        """
        return take(self._tree)

    async def wait_settled(self) -> None:
        """Wait until no node is ``NEW`` and no group is being stopped.

        A tree is settled when each runnable has got as far as saying that it is
        healthy, or has died and waits for its restart. Don't wait for it in a
        runnable that has not signalled ``HEALTHY`` itself.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        await trio.lowlevel.checkpoint()
        while not self._tree.settled:
            await self._settled.park()

    def ready(self, dn: str = "root") -> bool:
        """Return whether a node and all nodes below it are ``HEALTHY`` or ``DONE``.

        A subtree that has been asked to stop, or whose parent has, is not ready. Nor is one
        that is not there.

        Args:
            dn: The top node of the subtree; by default the whole tree.

        Checkpoints:
            Never. It costs time in proportion to the nodes below.
        """
        return is_ready(self._tree, dn)

    async def wait_ready(self, dn: str = "root") -> None:
        """Wait until a node and all nodes below it are ``HEALTHY`` or ``DONE``.

        It waits through restarts, and for a node that is not there yet.

        Args:
            dn: The top node of the subtree; by default the whole tree.

        Raises:
            GaveUpError: as soon as that can't happen any more: the tree is stopped, or has ended.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        await trio.lowlevel.checkpoint()
        await wait_ready(self._tree, dn)

    @enable_ki_protection
    async def stop(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  it bounds the stop, not the wait for it
        """Stop the tree in good order, and wait until all its tasks are gone.

        Each node is asked to stop (:func:`wait_stop_requested`), and cancelled after its
        grace: first a node's own runnable, then its groups of children, the last started first, the
        members of a group side by side. From the first moment on, nothing is
        ready.

        Args:
            timeout: All graces together get so many seconds. Then everything that is
                left is reported, with where it waits, and cancelled. By default there is no limit
                but the graces.

        Raises:
            StopTimeoutError: if the time was over before the tree had stopped; it has
                now. It names the nodes that were running. Of several stops each raises it,
                whichever's time it was.
            ValueError: if ``timeout`` is out of its range.

        Checkpoints:
            Always.

        Cancellation:
            The tree is stopped all the same, only not waited for.
        """
        if timeout is not None and not timeout >= 0:
            msg = f"timeout={timeout!r} is not a number of seconds of at least 0"
            raise ValueError(msg)
        self._end("the tree is stopped")
        if timeout is not None and not self._gone.is_set():
            self._tree.alarms.set(timeout, partial(self._expire, timeout))
        await self._gone.wait()
        if self._late:
            msg = (
                f"the tree had not stopped after {self._budget:g} s and was cancelled; "
                f"these nodes were running: {', '.join(self._late)}"
            )
            raise StopTimeoutError(msg, dns=self._late)

    @enable_ki_protection
    def _end(self, reason: str) -> None:
        if not self._tree.root.at_rest:
            end(self._tree.root, reason)
            self._tree.tell()

    def _expire(self, seconds: float) -> None:
        """Cut a stop short whose time is over."""
        if self._late:
            return  # another stop's time was shorter
        late = list(running(self._tree.root, below=True))
        self._budget = seconds
        self._late = tuple(incarnation.node.dn for incarnation in late)
        report(late, f"within the {seconds:g} s that the stop of the tree may take")
        self._tree.root.host.cancel(f"the {seconds:g} s for the stop of the tree are over")

    @enable_ki_protection
    async def _run(self) -> None:  # noqa: ASYNC910  the host waits, or is cancelled
        """Run the tree to its end. What it ends with is in its ``errors``; this raises nothing."""
        tree = self._tree
        try:
            async with trio.open_nursery() as nursery:
                tree.alarms.open(nursery)
                try:
                    await tree.root.host.run()
                finally:
                    tree.alarms.close()  # its task is shielded, and would go on for ever
        except BaseException as error:  # noqa: BLE001  Ctrl-C while the last tasks were awaited
            tree.errors.append(unwrapped(error))
        self._gone.set()
        self._settled.unpark_all()
        tree.tell()
