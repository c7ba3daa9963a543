"""From the runnables that a user passes to the members of a group.

All checks come before the first change, so that a bad name or a wrong argument
leaves everything as it was.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from supervisor._core import _steps as steps
from supervisor._core._errors import DuplicateNameError, InvalidNameError

from ._tree import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Container

    from ._tree import Group, Incarnation

_NAME = re.compile(r"[a-z0-9_]{1,64}")


def check_name(name: object, parent: Node) -> None:
    """Raise :exc:`InvalidNameError` unless ``name`` can be part of a DN (S2)."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        msg = (
            f"invalid name {name!r} under {parent.dn}: use 1 to 64 of the characters a-z, 0-9 and _"
        )
        raise InvalidNameError(msg)


def check_free(
    name: str, parent: Node, nodes: Container[str] | None, loggers: Container[str] | None
) -> None:
    """Raise :exc:`DuplicateNameError` if a node or a sub-logger has ``name`` (S2)."""
    is_node = nodes is not None and name in nodes
    if is_node or (loggers is not None and name in loggers):
        kind = "a node" if is_node else "a sub-logger"
        msg = f"{kind} {parent.dn}.{name} exists already: choose another name than {name!r}"
        raise DuplicateNameError(msg)


def check_runnable(runnable: object, what: str, *args: object) -> None:
    """Raise :exc:`TypeError` unless ``runnable`` can be called; ``what % args`` is what got it."""
    if callable(runnable):
        return
    if inspect.iscoroutine(runnable):
        runnable.close()
        msg = (
            f"{what % args} got {runnable!r}: pass the async function and its arguments, "
            "without calling it"
        )
    else:
        msg = f"{what % args} got {runnable!r}, which is not an async function"
    raise TypeError(msg)


def bind(
    function: Callable[..., Awaitable[object]], args: tuple[object, ...]
) -> Callable[[], Awaitable[object]]:
    """Make a call without arguments out of one with ``args``."""
    return functools.partial(function, *args) if args else function


def make_member(
    group: Group,
    name: str,
    call: Callable[[], Awaitable[object]],
    on_child_end: Callable[[Group], object] | None = None,
) -> Node:
    """Check ``name``, and make ``call`` the only member of a new group."""
    parent = group.parent
    assert parent is not None
    _check_new(name, parent)
    member = Node(name, call, group, on_child_end)
    steps.add_only_member(group, member)
    return member


def make_members(group: Group, runnables: object) -> None:
    """Check ``runnables``, and make them the members of ``group``, in their order (S8).

    A member that the group had before under the same name stays the node it
    was, with a new runnable; one that is missing now is removed.
    """
    parent = group.parent
    assert parent is not None
    if not isinstance(runnables, Mapping):
        msg = (
            f"a group under {parent.node.dn} got {runnables!r}: pass a mapping from names to "
            "async functions, or a function that returns one"
        )
        raise TypeError(msg)
    if not runnables:
        msg = f"a group under {parent.node.dn} got an empty mapping: a group needs a member"
        raise ValueError(msg)
    periods = group.options.grace_periods
    for name in periods if isinstance(periods, Mapping) else ():
        if name not in runnables:
            msg = f"grace names {name!r}, which is no member of the group under {parent.node.dn}"
            raise ValueError(msg)
    before = {node.name: node for node in group.members}
    for name, runnable in runnables.items():
        if name not in before:
            _check_new(name, parent)
        check_runnable(runnable, "the runnable %r", name)
    calls = cast("dict[str, Callable[[], Awaitable[object]]]", dict(runnables))
    nodes = [before.get(name) or Node(name, call, group) for name, call in calls.items()]
    steps.set_members(group, nodes, calls)


def _check_new(name: str, parent: Incarnation) -> None:
    """Raise an error unless ``parent`` can have a new child called ``name``."""
    check_name(name, parent.node)
    check_free(name, parent.node, parent.children, parent.loggers)
