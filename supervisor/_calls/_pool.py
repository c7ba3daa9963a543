"""Pools: nodes whose children come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVarTuple, Unpack, final

import trio
from trio.lowlevel import enable_ki_protection

from supervisor._core import _steps as steps
from supervisor._core._arguments import check_count, plain, shown
from supervisor._core._errors import PoolFullError, RunError, UnknownNameError
from supervisor._core._restart import RestartPolicy
from supervisor._core._states import SIGNALLED_HEALTHY, NodeState
from supervisor._tasks._current import acting_incarnation, check_run, current
from supervisor._tasks._members import bind, check_runnable
from supervisor._tasks._stopping import end_group

from ._start import make_options, new_group, start_alone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor._core._restart import Backoff, RestartLimit
    from supervisor._core._states import GroupState
    from supervisor._tasks._tree import Group, Incarnation, Node

    from ._handle import Handle

ArgsT = TypeVarTuple("ArgsT")


@trio.lowlevel.enable_ki_protection
def run_pool(
    name: str,
    *,
    max_children: int | None = None,
    backoff: Backoff | None = None,
    limit: RestartLimit | None = None,
) -> Pool:
    """Start a pool as a child of the calling runnable: its children come and go (S23).

    The pool is ``HEALTHY`` from the start. When it is stopped, with the caller, its children
    are stopped as those of any node.

    Args:
        name: Its name under the caller, of the form of any runnable's.
        max_children: How many children it may have at a time; by default any number.
        backoff: The delays before restarts of the pool, which dies if one of its children
            gives up; by default those of the tree.
        limit: How often the pool may restart before the caller dies of it.

    Returns:
        The pool.

    Raises:
        InvalidNameError: if the name has a wrong form.
        DuplicateNameError: if the name is taken.
        RunError: if the caller is not ``NEW`` or has been asked to stop.
        TypeError: if an option is of a wrong kind.
        ValueError: if ``max_children`` is not above 0.
        NotSupervisedError: if no runnable calls, or another thread does.
        StaleRunnableError: if the caller's incarnation has ended.

    Checkpoints:
        Never.

    Example::

        async def server() -> None:
            jobs = supervisor.run_pool("jobs", max_children=100)
            supervisor.signal(Signal.HEALTHY)
            async for number, order in orders():
                jobs.run(f"order{number}", handle, order)
    """
    parent = acting_incarnation("run_pool")
    if max_children is not None:
        check_count("max_children", max_children, least=1, of=f" of the pool {shown(name)}")
    group = new_group(parent, make_options(backoff, limit))
    pool = Pool(max_children)
    pool._handle = start_alone(group, name, pool._keep_open, pool._remove)
    (pool._node,) = group.members
    return pool


@final
class Pool:
    """A node whose children come and go, as :func:`run_pool` returns it (S23).

    Each child is in a group of its own, and restarts when it dies. One that is ``DONE``,
    with its own children, vanishes from the tree, its metrics and its loggers, and its name is
    free again. A pool that restarts begins empty.
    """

    __slots__ = ("_handle", "_max_children", "_node")

    _node: Node
    _handle: Handle

    def __init__(self, max_children: int | None) -> None:
        """Make a pool that is not in a tree yet; users get theirs from :func:`run_pool`."""
        self._max_children = max_children

    def __repr__(self) -> str:
        """Name the pool and count its children."""
        return f"<Pool {self.dn} of {len(self)} children>"

    def __len__(self) -> int:
        """Return how many children there are."""
        incarnation = self._node.incarnation
        return 0 if incarnation is None or incarnation.finished else len(incarnation.children or ())

    @property
    def dn(self) -> str:
        """The DN of the pool's node."""
        return self._node.dn

    @property
    def state(self) -> GroupState:
        """Where the pool's own group is in its life."""
        return self._handle.state

    async def wait_healthy(self) -> None:
        """Wait until children can be started; see :meth:`Handle.wait_healthy`.

        Raises:
            GaveUpError: as soon as that can't happen any more.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        await self._handle.wait_healthy()

    @enable_ki_protection
    def run(
        self,
        name: str,
        async_fn: Callable[[Unpack[ArgsT]], Awaitable[object]],
        *args: *ArgsT,
        backoff: Backoff | None = None,
        limit: RestartLimit | None = None,
        grace: float = 0.0,
        start_timeout: float | None = None,
        restart: RestartPolicy = RestartPolicy.NEVER,
        fatal: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> Handle:
        """Start a child; any task of the same Trio run may do so.

        By default it is not started again when it dies, for it mostly carries what dies with it,
        such as a connection: the death is logged, and the child vanishes as one that is ``DONE``.

        Args:
            name: Its name in the pool.
            async_fn: The runnable.
            *args: Its arguments.
            backoff: As for :func:`supervisor.run`, like the other arguments.
            limit: How often it may restart before the pool dies of it.
            grace: How long it gets to stop.
            start_timeout: How long it may be ``NEW``.
            restart: ``RestartPolicy.ON_FAILURE`` to start it again when it dies. It keeps its name
                and its place meanwhile.
            fatal: By which errors' death the pool dies.

        Returns:
            The child's handle.

        Raises:
            InvalidNameError: if the name has a wrong form.
            DuplicateNameError: if a child has the name.
            PoolFullError: if there are ``max_children`` children.
            RunError: if the pool is not ``HEALTHY`` or has been asked to stop.
            TypeError: if ``async_fn`` is not callable, or an option is of a wrong kind.
            ValueError: if a number of seconds is out of its range, or ``backoff`` or ``limit`` is
                given for what never restarts.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Never; the child starts when the caller next waits.
        """
        parent = self._acting("run")
        check_runnable(async_fn, "run(%s)", name)
        options = make_options(
            backoff, limit, grace=grace, start_timeout=start_timeout, restart=restart, fatal=fatal
        )
        if self._max_children is not None and len(parent.children or ()) >= self._max_children:
            msg = (
                f"the pool {self.dn} is full: it has its {self._max_children} children, "
                f"and {shown(name)} has to wait until one is done"
            )
            raise PoolFullError(msg)
        return start_alone(new_group(parent, options), name, bind(async_fn, args))

    @enable_ki_protection
    async def stop(self, name: str) -> None:
        """Stop a child, as its handle would, and let it vanish.

        Args:
            name: The child's name.

        Raises:
            UnknownNameError: if there is no child of that name.
            RunError: if the pool is not running.
            NotSupervisedError: if another thread calls, or another run of Trio.

        Checkpoints:
            Always; it returns when all tasks of the child are gone, and the name is free.

        Cancellation:
            The child is stopped all the same, only not waited for.
        """
        children = self._acting("stop", waits=True).children or {}
        child = children.get(plain(name) or "")
        if child is None:
            msg = f"the pool {self.dn} has no child {shown(name)}"
            raise UnknownNameError(msg)
        group = child.group
        end_group(group, f"{group.dn} is stopped on demand")
        await trio.lowlevel.checkpoint()
        await group.wait_idle()

    @enable_ki_protection
    async def _keep_open(self) -> None:
        """Run the pool's node: it is healthy, and has nothing to do."""
        incarnation = current.get()
        steps.signal(incarnation, SIGNALLED_HEALTHY, trio.current_time())
        incarnation.node.group.publish()
        await trio.sleep_forever()

    def _remove(self, group: Group) -> None:
        """Let a child vanish that is done or was stopped."""
        if steps.remove_pool_child(group):
            group.publish()

    def _acting(self, function: str, *, waits: bool = False) -> Incarnation:
        node = self._node
        check_run(node.group.siblings.tree, node, "pool", function, waits=waits)
        incarnation = node.incarnation
        assert incarnation is not None
        if incarnation.state is not NodeState.HEALTHY:
            msg = f"the pool {self.dn} is not HEALTHY, but {incarnation.state.name}"
            raise RunError(msg)
        return incarnation
