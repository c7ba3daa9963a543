"""Pools: nodes whose children come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVarTuple, Unpack, final

import trio
from trio.lowlevel import enable_ki_protection

from ._current import current
from ._errors import NotSupervisedError, PoolFullError, RunError, UnknownNameError
from ._members import bind, check_runnable
from ._starting import new_group, start_alone
from ._state import NodeState
from ._stopping import end, wait_at_rest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._backoff import Backoff
    from ._handle import Handle
    from ._node import Incarnation, Node
    from ._restart import RestartLimit
    from ._state import GroupState

ArgsT = TypeVarTuple("ArgsT")


@trio.lowlevel.enable_ki_protection
async def keep_pool() -> None:
    """Be the runnable of a pool: there is nothing to do."""
    incarnation = current.get()
    incarnation.node.group.host.tree.move(incarnation, NodeState.HEALTHY, trio.current_time())
    await trio.sleep_forever()


@final
class Pool:
    """A node whose children come and go, as :func:`run_pool` returns it.

    Each child is in a group of its own, and restarts when it dies. One that is ``DONE``,
    with its own children, vanishes from the tree, its metrics and its loggers, and its name is
    free again. A pool that restarts begins empty.
    """

    __slots__ = ("_handle", "_max_children", "_node")

    def __init__(self, node: Node, handle: Handle, max_children: int | None) -> None:
        """Make the view of a pool; users get theirs from :func:`run_pool`."""
        self._node = node
        self._handle = handle
        self._max_children = max_children

    def __repr__(self) -> str:
        """Name the pool and count its children."""
        return f"<Pool {self.dn} of {len(self)} children>"

    def __len__(self) -> int:
        """Return how many children there are."""
        incarnation = self._node.incarnation
        return 0 if incarnation is None or incarnation.stale else len(incarnation.children or ())

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
    ) -> Handle:
        """Start a child; any task of the same Trio run may do so.

        Args:
            name: Its name in the pool.
            async_fn: The runnable.
            *args: Its arguments.
            backoff: As for :func:`supervisor.run`, like the other arguments.
            limit: How often it may restart before the pool dies of it.
            grace: How long it gets to stop.
            start_timeout: How long it may be ``NEW``.

        Returns:
            The child's handle.

        Raises:
            InvalidNameError: if the name has a wrong form.
            DuplicateNameError: if a child has the name.
            PoolFullError: if there are ``max_children`` children.
            RunError: if the pool is not ``HEALTHY`` or has been asked to stop.
            TypeError: if ``async_fn`` is not callable.
            ValueError: if a number of seconds is out of its range.
            NotSupervisedError: if another thread calls.

        Checkpoints:
            Never; the child starts when the caller next waits.
        """
        parent = self._acting("run")
        check_runnable(async_fn, "run(%r)", name)
        if self._max_children is not None and len(parent.children or ()) >= self._max_children:
            msg = (
                f"the pool {self.dn} is full: it has its {self._max_children} children, "
                f"and {name!r} has to wait until one is done"
            )
            raise PoolFullError(msg)
        group = new_group(parent, backoff, limit, grace=grace, start_timeout=start_timeout)
        return start_alone(group, name, bind(async_fn, args))

    @enable_ki_protection
    async def stop(self, name: str) -> None:
        """Stop a child, as its handle would, and let it vanish.

        Args:
            name: The child's name.

        Raises:
            UnknownNameError: if there is no child of that name.
            RunError: if the pool is not running.
            NotSupervisedError: if another thread calls.

        Checkpoints:
            Always; it returns when all tasks of the child are gone, and the name is free.

        Cancellation:
            The child is stopped all the same, only not waited for.
        """
        children = self._acting("stop").children or {}
        if name not in children:
            msg = f"the pool {self.dn} has no child {name!r}"
            raise UnknownNameError(msg)
        group = children[name].group
        end(group, f"{group.dn} is stopped on demand")
        await trio.lowlevel.checkpoint()
        await wait_at_rest(group)

    def _acting(self, method: str) -> Incarnation:
        incarnation = self._node.incarnation
        assert incarnation is not None
        try:
            here = trio.lowlevel.current_trio_token()
        except RuntimeError:
            here = None
        if here is not self._node.group.host.tree.token:
            msg = (
                f"{method}() of the pool {self.dn} was called in another thread than the tree's: "
                f"call trio.from_thread.run_sync(pool.{method}, ...)"
            )
            raise NotSupervisedError(msg)
        if incarnation.state is not NodeState.HEALTHY:
            msg = f"the pool {self.dn} is not HEALTHY, but {incarnation.state.name}"
            raise RunError(msg)
        return incarnation
