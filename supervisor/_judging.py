"""How a run ended, and what follows from it for the group.

Whether an end was a death is decided by whether the node had been asked to stop, never by the type
of what it raised. (Upstream asks whether the error is that of the cancelled context; a runnable
that returns politely when it is stopped is then dead, and what one raises while it is
stopped is lost.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._crash import Crash, add_note, format_error, one_line, split_fatal
from ._errors import UnexpectedReturnError
from ._logging import log_death, log_stop_error
from ._state import GroupState, NodeState
from ._stopping import stop

if TYPE_CHECKING:
    from ._node import Incarnation


def judge(incarnation: Incarnation, error: BaseException | None) -> None:
    """Decide how the run of a runnable ended, and act on it."""
    tree = incarnation.node.group.host.tree
    asked = incarnation.asked
    fatal, mistake = (None, None) if error is None else split_fatal(error)
    if fatal is not None:
        tree.leave(fatal)
    if incarnation.failure is not None:
        if mistake is not None:
            keep_stop_error(incarnation, mistake)
        die(incarnation, incarnation.failure)
    elif asked:
        if mistake is not None:
            keep_stop_error(incarnation, mistake)
        tree.move(incarnation, NodeState.CANCELED, trio.current_time())
    elif mistake is not None:
        die(incarnation, mistake)
    elif fatal is not None:
        tree.move(incarnation, NodeState.DEAD, trio.current_time())
    elif error is None and incarnation.signalled_done:
        tree.move(incarnation, NodeState.DONE, trio.current_time())
    else:
        die(incarnation, unexpected(incarnation, error))


def unexpected(incarnation: Incarnation, error: BaseException | None) -> UnexpectedReturnError:
    """Say what is wrong with having ended like that."""
    state = incarnation.state.name
    how = "returned" if error is None else "ended by a Cancelled that nobody asked for"
    remedy = (
        "call signal(Signal.DONE) before"
        if incarnation.state is NodeState.HEALTHY
        else "call signal(Signal.HEALTHY) and signal(Signal.DONE) before"
    )
    return UnexpectedReturnError(
        f"{incarnation.node.dn} {how} when {state}; a runnable whose work is over has to {remedy}"
    )


def die(incarnation: Incarnation, error: Exception) -> None:
    """Record a death, decide what follows, and stop the group."""
    node = incarnation.node
    group = node.group
    tree = group.host.tree
    now = trio.current_time()
    crash = record(incarnation, error, now)
    node.keep(crash)
    tree.move(incarnation, NodeState.DEAD, now)
    incarnation.failure = None  # its traceback keeps what the children used alive
    group.failed(crash, error)
    if tree.propagate:
        add_note(error, f"raised by the runnable {node.dn}")
        tree.leave(error)
    log_death(node, crash)
    if len(group.members) > 1:
        stop(group, f"group {group.dn} restarts: {node.dn} died: {crash.error}")
    else:
        tree.shift(group, GroupState.STOPPING)  # there is nobody else to stop


def record(incarnation: Incarnation, error: Exception, now: float) -> Crash:
    node = incarnation.node
    return Crash(
        dn=node.dn,
        time=now,
        uptime=now - incarnation.started,
        incarnation=node.number,
        error=one_line(error),
        traceback=format_error(error),
    )


def keep_stop_error(incarnation: Incarnation, error: Exception) -> None:
    """Keep and log what a runnable raised although it had been asked to stop."""
    crash = record(incarnation, error, trio.current_time())
    incarnation.node.stop_error = crash
    log_stop_error(incarnation.node, crash)
