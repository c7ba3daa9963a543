"""What one can do with a handle, and what has to come of it (S19)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from supervisor import GaveUpError, GroupState

from .ledger import Demand

if TYPE_CHECKING:
    from .ledger import Ledger
    from .witness import Witness

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
