"""How a new group comes into the tree: checked first, then started."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING

from supervisor._core import _steps as steps
from supervisor._core._errors import RunError
from supervisor._core._tree import DEFAULT_OPTIONS, GroupOptions
from supervisor._tasks._members import make_member, make_members
from supervisor._tasks._rounds import start_round
from supervisor._tasks._tree import ChildNursery, Group

from ._handle import Handle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor._core._restart import Backoff, RestartLimit
    from supervisor._tasks._tree import Incarnation


def new_group(
    parent: Incarnation,
    backoff: Backoff | None,
    limit: RestartLimit | None,
    *,
    grace: float | Mapping[str, float] = 0.0,
    ordered: bool = False,
    start_timeout: float | None = None,
) -> Group:
    """Make a group without members that is not in the tree yet.

    Raises:
        RunError: if ``parent`` can have no more children.
        ValueError: if a number of seconds is out of its range.
    """
    check_admits(parent)
    if grace == 0.0 and not (backoff or limit or start_timeout is not None or ordered):
        options = DEFAULT_OPTIONS
    else:
        if start_timeout is not None and not start_timeout > 0:
            msg = f"start_timeout={start_timeout!r} is not a number of seconds above 0"
            raise ValueError(msg)
        options = GroupOptions(backoff, limit, check_grace_periods(grace), ordered, start_timeout)
    siblings = parent.siblings or ChildNursery(parent.node.group.siblings.tree, closed=False)
    return Group(parent, siblings, options, copy_context())


def check_admits(parent: Incarnation) -> None:
    """Raise :exc:`RunError` unless ``parent`` can have more children now (S6)."""
    node = parent.node
    if parent.stop_requested:
        msg = f"{node.dn} can't start children: it has been asked to stop"
        raise RunError(msg)
    if not parent.admits_children:
        msg = (
            f"{node.dn} can't start children when {parent.state.name}: "
            "start them before signal(Signal.HEALTHY), or start a pool there"
        )
        raise RunError(msg)


def check_grace_periods(grace: float | Mapping[str, float]) -> float | Mapping[str, float]:
    """Return ``grace`` in seconds, for all members or by name.

    Raises:
        ValueError: if one is out of its range.
    """
    if isinstance(grace, Mapping):
        return {name: check_grace(seconds) for name, seconds in grace.items()}
    return check_grace(grace)


def check_grace(grace: float) -> float:
    if not grace >= 0:
        msg = f"grace={grace!r} is not a number of seconds of at least 0"
        raise ValueError(msg)
    return float(grace)


def start_alone(
    group: Group,
    name: str,
    call: Callable[[], Awaitable[object]],
    on_child_end: Callable[[Group], object] | None = None,
) -> Handle:
    """Give a new group its only member, and start it."""
    make_member(group, name, call, on_child_end)
    return _start(group)


def start_together(group: Group, runnables: object) -> Handle:
    """Give a new group its members, or the function that makes them, and start it."""
    if callable(runnables):
        parent = group.parent
        assert parent is not None
        steps.set_factory(group, runnables)
        runnables = runnables()
        # It is the user's: it may have started other children, or signalled.
        check_admits(parent)
        steps.find_siblings(group)
    make_members(group, runnables)
    return _start(group)


def _start(group: Group) -> Handle:
    """Start a new group that has its members."""
    parent = group.parent
    assert parent is not None
    if parent.siblings is None:
        steps.add_siblings(parent, group.siblings)
        node = parent.node
        name = f"children of {node.name}"
        node.group.siblings.start_soon(node.group.context, ChildNursery.run, group.siblings, name)
    start_round(group)
    return Handle(group)
