"""What one can do with a handle or a tree, and what has to come of it (S19, S21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from supervisor import GaveUpError, GroupState, StopTimeoutError

from .group_model import Demand
from .strategies import CLEAN_UP

if TYPE_CHECKING:
    from supervisor import Supervisor

    from .group_model import Ledger
    from .observer import Witness

AT_REST: Final = {GroupState.FINISHED, GroupState.FAILED}


async def stop(witness: Witness, ledger: Ledger) -> None:
    """Stop a group; nothing of it is left when that returns, unless it was restarted meanwhile."""
    handle, rounds = ledger.handle, ledger.rounds
    assert handle is not None
    if handle.state not in AT_REST or ledger.demand is Demand.RESTART:
        ledger.ask(Demand.STOP, trio.current_time())
    await handle.stop()
    if ledger.rounds == rounds and not ledger.over:
        assert not any(witness.living(dn) for dn in ledger.dns)


async def restart(witness: Witness, ledger: Ledger) -> None:
    """Restart a group; it has started when that returns, and can't when it is refused."""
    handle, rounds, demand = ledger.handle, ledger.rounds, ledger.demand
    assert handle is not None
    task = trio.lowlevel.current_task()
    steps = task._schedule_points
    ledger.ask(Demand.RESTART, trio.current_time())
    try:
        await handle.restart()
    except GaveUpError:
        if task._schedule_points == steps:  # it was refused at once, and nothing has changed
            ledger.demand = demand
        assert handle.state in AT_REST or witness.hopeless(ledger)
    else:
        assert ledger.rounds > rounds


async def wait_healthy(witness: Witness, ledger: Ledger) -> None:
    """Wait for a group; it is ready when that returns, and may be given up when it raises."""
    assert ledger.handle is not None
    try:
        await ledger.handle.wait_healthy()
    except GaveUpError:
        assert witness.hopeless(ledger)
    else:
        assert ledger.all_ready


async def stop_tree(witness: Witness, tree: Supervisor, budget: float | None) -> None:
    """Stop a tree; all is over within the budget, or is cancelled then and told to be late."""
    now = trio.current_time()
    witness.end(None if budget is None else now + budget)
    try:
        await tree.stop(timeout=budget)
    except StopTimeoutError:
        over = witness.cancelled_from
        assert over <= trio.current_time() <= max(now, over + CLEAN_UP)
    else:
        assert budget is None or trio.current_time() <= now + budget
