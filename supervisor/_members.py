"""From the runnables that a user passes to the nodes of a group.

All checks come before the first change, so that a bad name or a wrong argument
leaves everything as it was.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ._names import check_free, check_name
from ._node import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ._node import Group, Incarnation


def check_runnable(runnable: object, what: str, *args: object) -> None:
    """Raise :exc:`TypeError` unless ``runnable`` can be called; ``what % args`` is who got it."""
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


def make_member(group: Group, name: str, call: Callable[[], Awaitable[object]]) -> None:
    """Check ``name``, and make ``call`` the only node of a new group."""
    parent = group.parent
    assert parent is not None
    check_new(name, parent)
    member = Node(name, call, group, group.terms.grace_of(name))
    if parent.children is None:
        parent.children = {}
    parent.children[name] = member
    group.members = (member,)


def check_new(name: str, parent: Incarnation) -> None:
    """Raise an error unless ``parent`` can have a new child called ``name``."""
    check_name(name, parent.node)
    check_free(name, parent.node, parent.children, parent.loggers)


def make_members(group: Group, runnables: object) -> None:
    """Check ``runnables``, and make them the nodes of ``group``, in their order.

    A member that the group had before under the same name stays the node it
    was, with a new runnable; one that is missing now vanishes.
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
    if isinstance(group.terms.graces, Mapping):
        for name in group.terms.graces:
            if name not in runnables:
                msg = (
                    f"grace names {name!r}, which is no member of the group under {parent.node.dn}"
                )
                raise ValueError(msg)
    before = {node.name: node for node in group.members}
    for name, runnable in runnables.items():
        if name not in before:
            check_new(name, parent)
        check_runnable(runnable, "the runnable %r", name)

    for name, node in before.items():
        if name not in runnables:
            group.host.tree.vanish(node)
    members = {}
    for name, runnable in runnables.items():
        member = before.get(name)
        if member is None:
            member = Node(name, runnable, group, group.terms.grace_of(name))
        member.call = runnable
        members[name] = member
    if list(members) != list(before):
        parent.children = _placed(parent.children or {}, before, members)
    group.members = tuple(members.values())


def _placed(
    children: dict[str, Node], before: dict[str, Node], members: dict[str, Node]
) -> dict[str, Node]:
    """Return ``children`` with ``members`` where those that were before are, or at the end.

    The order is that in which groups were started, and they are stopped in the reverse.
    """
    if not before:
        children.update(members)
        return children
    placed: dict[str, Node] = {}
    for name, node in children.items():
        if name not in before:
            placed[name] = node
        elif name == next(iter(before)):
            placed.update(members)
    return placed
