"""How a new group comes into the tree: checked first, then started."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING

from ._engine import add
from ._errors import RunError
from ._handle import Handle
from ._host import Host
from ._members import make_member, make_members
from ._node import USUAL, Group, Terms
from ._state import NodeState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._backoff import Backoff
    from ._node import Incarnation
    from ._restart import RestartLimit


def new_group(
    parent: Incarnation,
    backoff: Backoff | None,
    limit: RestartLimit | None,
    *,
    grace: float | Mapping[str, float] = 0.0,
    ordered: bool = False,
    start_timeout: float | None = None,
) -> Group:
    """Make a group without members, of which nobody knows yet.

    Raises:
        RunError: if ``parent`` can have no more children.
        ValueError: if a number of seconds is out of its range.
    """
    check_admits(parent)
    if grace == 0.0 and not (backoff or limit or start_timeout is not None or ordered):
        terms = USUAL
    else:
        if start_timeout is not None and not start_timeout > 0:
            msg = f"start_timeout={start_timeout!r} is not a number of seconds above 0"
            raise ValueError(msg)
        terms = Terms(backoff, limit, check_graces(grace), ordered, start_timeout)
    host = parent.host or Host(parent.node.group.host.tree, sealed=False)
    return Group(parent, host, terms, copy_context())


def check_admits(parent: Incarnation) -> None:
    """Raise :exc:`RunError` unless ``parent`` can have more children now."""
    node = parent.node
    if parent.asked:
        msg = f"{node.dn} can't start children: it has been asked to stop"
        raise RunError(msg)
    if parent.state is not (NodeState.HEALTHY if node.is_pool else NodeState.NEW):
        msg = (
            f"{node.dn} can't start children when {parent.state.name}: "
            "start them before signal(Signal.HEALTHY), or start a pool there"
        )
        raise RunError(msg)


def check_graces(grace: float | Mapping[str, float]) -> float | Mapping[str, float]:
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


def start(group: Group) -> Handle:
    """Start a new group that has its members."""
    parent = group.parent
    assert parent is not None
    if parent.host is None:
        parent.host = group.host
        node = parent.node
        name = f"children of {node.name}"
        node.group.host.start_soon(node.group.context, Host.run, parent.host, name)
    add(group)
    return Handle(group)


def start_alone(group: Group, name: str, call: Callable[[], Awaitable[object]]) -> Handle:
    """Give a new group its only member, and start it."""
    make_member(group, name, call)
    return start(group)


def start_together(group: Group, runnables: object) -> Handle:
    """Give a new group its members, or the function that makes them, and start it."""
    if callable(runnables):
        parent = group.parent
        assert parent is not None
        group.factory = runnables
        runnables = runnables()
        # It is the user's: it may have started other children, or signalled.
        check_admits(parent)
        group.host = parent.host or group.host
    make_members(group, runnables)
    return start(group)
