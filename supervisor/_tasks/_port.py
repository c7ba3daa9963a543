"""The port: all that looks at a running tree, or acts on it from outside, goes through it.

The log, metrics, snapshots, readiness, the process (``main``) and the public :class:`Supervisor`
use a tree by these methods, and by nothing else.

- Look: ``nodes``, ``path``, ``running``, ``time``, and the questions of the model's classes.
- Follow: ``add_observer`` for each event, in order; ``wait_changed`` and ``wait_settled``.
- Act: ``begin_drain``, ``stop``, ``cancel``, ``abort`` on the tree; ``stop_node``,
  ``restart_node`` on its group. ``take_stop_requests`` has requests to stop carried out elsewhere.
- Later: ``call_later``. From another thread: ``loop_thread``.

Nodes, incarnations and groups are passed by reference, to be read. Only the model writes them.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, final

from supervisor._core import _steps as steps
from supervisor._core._plan import END
from supervisor._core._tree import subtree

from ._blocking import LoopThread
from ._rounds import restart_group
from ._stop_waiters import run_until_stop
from ._stopping import hold_group, stop_timeout, stop_tree
from ._watchdog import running, stacks_of_all, waiting_place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    import trio

    from supervisor._core._errors import StopTimeoutError
    from supervisor._core._events import Event
    from supervisor._core._states import GroupState
    from supervisor._core._tree import Incarnation, Node

    from ._timers import Timer
    from ._tree import Group, Tree

NAMES_SHOWN: Final = 20
"""At most this many names are in the error of a DN that is not there."""


@final
class Port:
    """The one way to look at a tree, and to act on it."""

    __slots__ = ("tree",)

    def __init__(self, tree: Tree) -> None:
        self.tree: Tree = tree

    # Look

    @property
    def group(self) -> Group:
        """The root's group."""
        return self.tree.root

    @property
    def errors(self) -> list[BaseException]:
        """What will leave the tree."""
        return self.tree.errors

    @property
    def state(self) -> GroupState:
        """The state of the root's group."""
        return self.tree.root.state

    @property
    def stop_began(self) -> float | None:
        """When the stop of the tree began; ``None`` if it was not stopped."""
        return self.tree.stop_began

    @property
    def is_ending(self) -> bool:
        """No node will start any more: the tree is stopped, cancelled, or over."""
        root = self.tree.root
        return root.plan is END or root.siblings.cancelled or root.siblings.ended

    @property
    def has_ended(self) -> bool:
        """All tasks have ended, and ``errors`` is complete."""
        return self.tree.end_time is not None

    @property
    def is_cancelled(self) -> bool:
        """All tasks are cancelled, from outside or by an error that leaves the tree."""
        return self.tree.root.siblings.cancelled

    @property
    def is_draining(self) -> bool:
        """The tree will be stopped soon, or is: nothing of it will be ready any more."""
        return self.tree.is_draining

    @property
    def timeout_error(self) -> StopTimeoutError | None:
        """What a stop raises whose time was over before the tree had stopped."""
        return stop_timeout(self.tree)

    def nodes(self) -> Iterator[Node]:
        """Walk through all nodes, each before its children, children in order of start."""
        for root in self.tree.root.members:
            yield from subtree(root)

    def path(self, dn: str) -> list[Node] | None:
        """Return the nodes from the root to ``dn``, or ``None`` if it is not there."""
        nodes: dict[str, Node] = {node.name: node for node in self.tree.root.members}
        path: list[Node] = []
        for name in dn.split("."):
            node = nodes.get(name)  # another thread may ask while the tree changes
            if node is None:
                return None
            path.append(node)
            incarnation = node.incarnation
            nodes = (incarnation.children if incarnation is not None else None) or {}
        return path

    def running(self) -> list[Incarnation]:
        """Return the incarnations whose runnables have not ended."""
        return list(running(self.tree.root, below=True))

    def stacks(self, incarnations: Iterable[Incarnation]) -> str:
        """Show where the tasks of these wait."""
        return stacks_of_all(incarnations)

    def waiting_place(self, incarnation: Incarnation) -> str | None:
        """Return the line of users' code in which a runnable waits, if it is known."""
        return waiting_place_of(incarnation)

    def asked_to_stop(self, node: Node) -> float | None:
        """Return when the group of a node was asked to stop, if it was and has not ended."""
        report = self.tree.reports.get(self.group_of(node))
        return None if report is None else report.asked

    def nearest(self, dn: str) -> str:
        """Say how far the tree has the nodes of a DN that is not there."""
        while (path := self.path(dn)) is None:
            dn = dn.rpartition(".")[0]
        incarnation = path[-1].incarnation
        children = (incarnation.children if incarnation is not None else None) or {}
        if not children:
            return f"{dn} has no children"
        # The oldest ones: probes ask this again and again, and a pool may have many children.
        names = sorted(islice(children, NAMES_SHOWN))
        missing = len(children) - len(names)
        return f"{dn} has {', '.join(names)}{f' and {missing} more' if missing > 0 else ''}"

    # Follow

    def add_observer(
        self,
        observer: Callable[[Event], object],
        *,
        moves: bool = True,
        removals: bool = True,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        """Tell ``observer`` of all that happens; see :meth:`Tree.add_observer`."""
        self.tree.add_observer(observer, moves=moves, removals=removals, at_end=at_end)

    def remove_observer(self, observer: Callable[[Event], object]) -> None:
        """Tell ``observer`` nothing more."""
        self.tree.remove_observer(observer)

    async def wait_changed(self) -> None:
        """Wait for any change in the tree."""
        await self.tree.wait_changed()

    async def wait_settled(self) -> None:
        """Wait until no node is ``NEW`` and no group is being stopped."""
        await self.tree.wait_settled()

    # Act

    def begin_drain(self, reason: str) -> None:
        """Let nothing be ready any more: the tree will be stopped soon."""
        steps.begin_drain(self.tree, reason)
        self.tree.publish()

    def stop(self, reason: str, timeout: float | None = None) -> None:
        """Begin to stop the tree in good order, unless it is ending, and bound that."""
        stop_tree(self.tree, reason, timeout)

    def request_stop(self, reason: str) -> bool:
        """Hand a request to stop to what has asked for it; return whether something has."""
        handler = self.tree.stop_handler
        if handler is not None:
            handler(reason)
        return handler is not None

    def take_stop_requests(self, handler: Callable[[str], object]) -> None:
        """Hand each request to stop the tree to ``handler``, which gets the reason."""
        self.tree.stop_handler = handler

    def cancel(self, reason: str) -> None:
        """Cancel all tasks at once."""
        self.tree.root.siblings.cancel(reason)

    def abort(self, error: BaseException) -> None:
        """Cancel all tasks at once, and let ``error`` leave the tree."""
        self.tree.abort(error)

    def stop_node(self, node: Node, reason: str) -> None:
        """Stop the group of ``node`` until it is restarted."""
        hold_group(self.group_of(node), reason)

    def restart_node(self, node: Node, reason: str) -> None:
        """Restart the group of ``node``, which must not have ended for good, without a backoff."""
        restart_group(self.group_of(node), reason)

    def group_of(self, node: Node) -> Group:
        """Return the group of a node."""
        return node.group  # type: ignore[return-value]  # all groups are of the tasks' class

    def report_stuck(self, incarnations: Iterable[Incarnation], when: str) -> None:
        """Report that these have not ended, and where their tasks wait."""
        steps.stuck(self.tree, incarnations, when)
        self.tree.publish()

    # Later

    def start_for_root(
        self, nursery: trio.Nursery, async_fn: Callable[[trio.CancelScope], Awaitable[object]]
    ) -> bool:
        """Start a task in a copy of the context of the root's task, if the root runs.

        It gets its cancel scope, which is cancelled when the root is asked to stop, or has ended.

        Returns:
            Whether the root runs.
        """
        (root,) = self.tree.root.members
        run = root.incarnation
        if run is None or run.task is None or run.finished:
            return False
        # Trio gives a task a copy of the context in which it is started.
        start = run.task.context.copy().run
        start(nursery.start_soon, run_until_stop, run.waiters(), async_fn)
        return True

    def loop_thread(self) -> LoopThread:
        """Return the thread of the loop, to be asked from another one what blocks it."""
        return LoopThread()

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call ``call``, which must not raise, so many seconds from now."""
        return self.tree.timers.set(seconds, call)

    def time(self) -> float:
        """Return the time in the tree, in seconds on the clock of its run of Trio."""
        return self.tree.time()
