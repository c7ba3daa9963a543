"""From the runnables that a user passes to the members of a group.

All checks come before the first change, so that a bad name or a wrong argument
leaves everything as it was.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from supervisor._core import _steps as steps
from supervisor._core._arguments import name_of, shown
from supervisor._core._errors import DuplicateNameError, InvalidNameError, RunError

from ._tree import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Container

    from ._tree import Group, Incarnation


class Placed:
    """A runnable that is told of which node it is the runnable, before it is called (S29)."""

    __slots__ = ()

    if TYPE_CHECKING:

        def place(self, node: Node) -> None: ...


def _place(node: Node) -> None:
    call = node.call
    if issubclass(type(call), Placed):  # isinstance() asks the object, which is a user's
        call.place(node)  # type: ignore[attr-defined]  # it has it then


def check_name(passed: object, parent: Node) -> str:
    """Return a name as a plain string (S2).

    Raises:
        InvalidNameError: if it can't be part of a DN.
    """
    name = name_of(passed)
    if name is None:
        msg = (
            f"invalid name {shown(passed)} under {parent.dn}: "
            "use 1 to 64 of the characters a-z, 0-9 and _"
        )
        raise InvalidNameError(msg)
    return name


def check_free(
    name: str, parent: Node, nodes: Container[str] | None, loggers: Container[str] | None
) -> None:
    """Raise :exc:`DuplicateNameError` if a node or a sub-logger has ``name`` (S2)."""
    is_node = nodes is not None and name in nodes
    if is_node or (loggers is not None and name in loggers):
        kind = "a node" if is_node else "a sub-logger"
        msg = f"{kind} {parent.dn}.{name} exists already: choose another name than {name!r}"
        raise DuplicateNameError(msg)


def check_runnable(runnable: object, what: str, name: object = None) -> None:
    """Raise :exc:`TypeError` unless ``runnable`` may be an async function.

    A plain function may be one: what it returns is known when it is called.

    Args:
        runnable: What is checked. A coroutine is closed: nobody will await it.
        what: What got it, with a ``%s`` for the name.
        name: The name under which it was to run, of whatever kind.
    """
    # Most are plain async functions, of which nothing more has to be asked.
    if type(runnable) is FunctionType and runnable.__code__.co_flags & inspect.CO_COROUTINE:
        return
    if callable(runnable) and not _makes_no_awaitable(runnable):
        return
    got = f"{what.replace('%s', shown(name))} got {shown(runnable)}"
    if inspect.iscoroutine(runnable):
        discard(runnable)
        msg = f"{got}: pass the async function and its arguments, without calling it"
    elif inspect.isasyncgenfunction(runnable):
        msg = f"{got}, an async generator: nothing would iterate over it, so leave out its yield"
    else:
        msg = f"{got}, which is not an async function"
    raise TypeError(msg)


def _makes_no_awaitable(runnable: Callable[..., object]) -> bool:
    """Return whether it is known before that a call returns nothing to await."""
    while isinstance(runnable, functools.partial):
        runnable = runnable.func
    if isinstance(runnable, type):
        return not hasattr(runnable, "__await__")
    code = getattr(runnable, "__code__", None)  # a method has that of its function
    return isinstance(code, CodeType) and bool(
        code.co_flags & (inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR)
    )


def bind(
    function: Callable[..., Awaitable[object]], args: tuple[object, ...]
) -> Callable[[], Awaitable[object]]:
    """Make a call without arguments out of one with ``args``."""
    return functools.partial(function, *args) if args else function


def make_member(group: Group, name: str, call: Callable[[], Awaitable[object]]) -> Node:
    """Check ``name``, and make ``call`` the only member of a new group."""
    parent = group.parent
    assert parent is not None
    name = check_name(name, parent.node)
    check_free(name, parent.node, parent.children, parent.loggers)
    member = Node(name, call, group, group.options.grace_of(name, call))
    steps.add_only_member(group, member)
    _place(member)
    return member


def make_members(group: Group, runnables: object) -> None:
    """Check ``runnables``, and make them the members of ``group``, in their order (S8).

    A member that the group had before under the same name stays the node it
    was, with a new runnable; one that is missing now is removed.
    """
    parent = group.parent
    assert parent is not None
    before = {node.name: node for node in group.members}
    calls = check_runnables(group, parent, before, runnables)
    grace_of = group.options.grace_of
    grace_periods = {name: grace_of(name, call) for name, call in calls.items()}
    nodes = [before.get(name) or Node(name, call, group) for name, call in calls.items()]
    steps.set_members(group, nodes, calls, grace_periods)
    for node in nodes:
        _place(node)


def check_runnables(
    group: Group, parent: Incarnation, before: Mapping[str, Node], runnables: object
) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return what is to run in ``group``, by names that are plain strings.

    If one is wrong, all coroutines among them are closed: nobody will await them.
    """
    if not isinstance(runnables, Mapping):
        discard(runnables)
        msg = (
            f"a group under {parent.node.dn} got {shown(runnables)}: pass a mapping from names to "
            "async functions, or a function that returns one"
        )
        raise TypeError(msg)
    if not runnables:
        msg = f"a group under {parent.node.dn} got an empty mapping: a group needs a member"
        raise ValueError(msg)
    calls: dict[str, Any] = {}  # a value's type is for its callers to get right
    items: list[tuple[object, object]] = list(runnables.items())
    try:
        for key, runnable in items:
            name = check_name(key, parent.node)
            if name in calls:  # keys may differ whose text is the same
                check_free(name, parent.node, calls, None)
            if name not in before:
                check_free(name, parent.node, parent.children, parent.loggers)
            check_runnable(runnable, "the runnable %s", name)
            if issubclass(type(runnable), Placed):
                _check_place(name, runnable, calls)
            calls[name] = runnable
        for argument, seconds in (
            ("grace", group.options.grace_periods),
            ("heartbeat", group.options.heartbeats),
        ):
            _check_names(argument, seconds, parent, calls)
    except BaseException:
        for _, runnable in items:
            discard(runnable)
        raise
    return calls


def _check_place(name: str, runnable: object, calls: Mapping[str, object]) -> None:
    for other, each in calls.items():
        if each is runnable:
            kind = type(runnable).__name__
            msg = f"the members {other} and {name} are the same {kind}: make one for each"
            raise RunError(msg)


def _check_names(
    argument: str, seconds: object, parent: Incarnation, names: Container[str]
) -> None:
    for name in seconds if isinstance(seconds, Mapping) else ():
        if name not in names:
            msg = (
                f"{argument} names {shown(name)}, which is no member of the group under "
                f"{parent.node.dn}: name members, or pass one number of seconds for all"
            )
            raise ValueError(msg)


def discard(passed: object) -> None:
    """Close a coroutine that has not begun."""
    if inspect.iscoroutine(passed) and inspect.getcoroutinestate(passed) == inspect.CORO_CREATED:
        passed.close()
