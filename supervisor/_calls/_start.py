"""How a new group comes into the tree: checked first, then started."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Final

from supervisor._core import _steps as steps
from supervisor._core._arguments import check_flag, check_kind, check_seconds, plain, shown
from supervisor._core._errors import RunError
from supervisor._core._restart import NEVER, ON_FAILURE, Backoff, RestartLimit, RestartPolicy
from supervisor._core._tree import DEFAULT_OPTIONS, GroupOptions
from supervisor._tasks._members import make_member, make_members
from supervisor._tasks._rounds import start_round
from supervisor._tasks._tree import ChildNursery, Group
from supervisor._text._crash import is_any_of

from ._handle import Handle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor._tasks._tree import Incarnation

LEAST_HEARTBEAT: Final = 0.01
"""The shortest heartbeat, in seconds: a loop may well be busy for about as long."""


def make_options(
    backoff: Backoff | None,
    limit: RestartLimit | None,
    *,
    grace: float | Mapping[str, float] | None = None,
    by_name: bool = False,
    ordered: bool = False,
    start_timeout: float | None = None,
    heartbeat: float | Mapping[str, float] | None = None,
    restart: RestartPolicy = ON_FAILURE,
    fatal: object = (),
) -> GroupOptions:
    """Check what was asked for when a group is started (S2).

    Args:
        backoff: As for :func:`run`, like the other arguments.
        limit: How often it may restart.
        grace: How long its members get to stop; ``None``: as long as their runnables say.
        by_name: A mapping for ``grace`` or ``heartbeat`` is right: there may be several members.
        ordered: The members start one after the other.
        start_timeout: How long each may be ``NEW``.
        heartbeat: How often each has to beat.
        restart: Whether it restarts.
        fatal: Of which errors it does not.

    Raises:
        TypeError: if something is of a wrong kind.
        ValueError: if a number of seconds is out of its range.
    """
    nothing = backoff is None and limit is None and grace is None and start_timeout is None
    nothing = nothing and heartbeat is None and ordered is False
    if nothing and restart is ON_FAILURE and type(fatal) is tuple and not fatal:
        return DEFAULT_OPTIONS
    check_backoff(backoff)
    check_kind("limit", limit, RestartLimit, "RestartLimit(3, within=60.0)")
    check_flag("ordered", ordered)
    periods = _by_name("grace", grace) if by_name else None
    if periods is None and grace is not None:
        periods = check_seconds("grace", grace)
    beats = _by_name("heartbeat", heartbeat, above_zero=True) if by_name else None
    if beats is None and heartbeat is not None:
        beats = check_seconds("heartbeat", heartbeat, above_zero=True)
    for seconds in beats.values() if isinstance(beats, Mapping) else (beats,):
        if seconds is not None and seconds < LEAST_HEARTBEAT:
            msg = (
                f"heartbeat={seconds:g} is below {LEAST_HEARTBEAT:g} s, and would be missed "
                "whenever the loop is busy: pass more"
            )
            raise ValueError(msg)
    if start_timeout is not None:
        start_timeout = check_seconds("start_timeout", start_timeout, above_zero=True)
    check_kind("restart", restart, RestartPolicy, "RestartPolicy.NEVER", optional=False)
    if restart is NEVER:
        for name, value in (("backoff", backoff), ("limit", limit)):
            if value is not None:
                msg = (
                    f"{name}= is for what restarts, and restart is RestartPolicy.NEVER: "
                    f"leave {name} out, or pass restart=RestartPolicy.ON_FAILURE"
                )
                raise ValueError(msg)
    return GroupOptions(
        backoff, limit, periods, ordered, start_timeout, restart, _fatal_kinds(fatal), beats
    )


def _by_name(
    argument: str, passed: object, *, above_zero: bool = False
) -> float | dict[str, float] | None:
    """Return seconds by members' names, all checked, if they were passed in that form."""
    if not isinstance(passed, Mapping):
        return None
    return {
        plain(name) or name: check_seconds(argument, seconds, above_zero=above_zero)
        for name, seconds in passed.items()
    }


def _fatal_kinds(fatal: object) -> Callable[[Exception], bool] | None:
    """Check the classes of errors that are not retried, and return what finds them (S26)."""
    kinds: list[type[Exception]] = []
    for kind in fatal if isinstance(fatal, tuple) else (fatal,):
        if not (isinstance(kind, type) and Exception in kind.__mro__):
            msg = (
                f"fatal={shown(fatal)} is no class of exceptions, nor a tuple of such classes: "
                "pass one, such as PermissionError"
            )
            raise TypeError(msg)
        kinds.append(kind)
    return partial(is_any_of, kinds=tuple(kinds)) if kinds else None


def check_backoff(backoff: object) -> None:
    """Raise :exc:`TypeError` unless it is a :class:`Backoff` or ``None``."""
    check_kind("backoff", backoff, Backoff, "Backoff(initial=1.0)")


def new_group(parent: Incarnation, options: GroupOptions) -> Group:
    """Make a group without members that is not in the tree yet.

    Raises:
        RunError: if ``parent`` can have no more children.
    """
    check_admits(parent)
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


def start_alone(group: Group, name: str, call: Callable[[], Awaitable[object]]) -> Handle:
    """Give a new group its only member, and start it."""
    make_member(group, name, call)
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
