"""Calls of handles and trees, each checked against the model (S19, S21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from supervisor import GaveUpError, GroupState, StopTimeoutError

from .group_model import Demand
from .strategies import CLEAN_UP

if TYPE_CHECKING:
    from supervisor import Supervisor

    from .group_model import GroupModel
    from .observer import Observer

AT_REST: Final = {GroupState.FINISHED, GroupState.FAILED}


async def stop(observer: Observer, model: GroupModel, tree: Supervisor | None = None) -> None:
    """Stop a group; nothing of it is left when that returns, unless it was restarted meanwhile.

    It is done by the handle, or by ``tree``.
    """
    handle, rounds = model.handle, model.rounds
    assert handle is not None
    if handle.state not in AT_REST or model.demand is Demand.RESTART:
        model.ask(Demand.STOP, trio.current_time())
    if tree is None:
        await handle.stop()
    else:
        assert await tree.stop_node(model.dns[0]) == model.dns
    if model.rounds == rounds and not model.over:
        assert not any(observer.tasks_below(dn) for dn in model.dns)


async def restart(observer: Observer, model: GroupModel, tree: Supervisor | None = None) -> None:
    """Restart a group; it has started when that returns, and is not when that is refused.

    It is done by the handle, or by ``tree``.
    """
    handle, rounds, demand = model.handle, model.rounds, model.demand
    assert handle is not None
    task = trio.lowlevel.current_task()
    steps = task._schedule_points
    model.ask(Demand.RESTART, trio.current_time())
    try:
        if tree is None:
            await handle.restart()
        else:
            await tree.restart(model.dns[0])
    except GaveUpError:
        if task._schedule_points == steps:  # it was refused at once, and nothing has changed
            model.demand = demand
        assert handle.state in AT_REST or observer.may_be_given_up(model)
    else:
        assert model.rounds > rounds


async def wait_healthy(observer: Observer, model: GroupModel) -> None:
    """Wait for a group; it is ready when that returns, and may be given up when it raises."""
    assert model.handle is not None
    try:
        await model.handle.wait_healthy()
    except GaveUpError:
        assert observer.may_be_given_up(model)
    else:
        assert model.all_ready


async def stop_tree(observer: Observer, tree: Supervisor, budget: float | None) -> None:
    """Stop a tree; all ends within the budget, or is cancelled when it is spent."""
    now = trio.current_time()
    observer.stop_requested(None if budget is None else now + budget)
    try:
        await tree.stop(timeout=budget)
    except StopTimeoutError:
        over = observer.cancelled_from
        assert over <= trio.current_time() <= max(now, over + CLEAN_UP)
    else:
        assert budget is None or trio.current_time() <= now + budget
