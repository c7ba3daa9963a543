"""What becomes of a group when all tasks of its round are gone: one union, and its precedence.

``Group.plan`` holds it. Each part that wants something of a group proposes a plan, and
:func:`prevailing` decides between the present and the proposed one, in whatever order they come:

    End  >  Hold, Restart (the last one)  >  GiveUp, Fail, Retry (the first one)  >  Begin, Finish
"""

from __future__ import annotations

from typing import Final, final

import attrs


@final
@attrs.frozen
class Finish:
    """Nothing was demanded and nothing failed, so the members are all ``DONE`` (S13)."""


@final
@attrs.frozen
class Begin:
    """Start the next round now: its wait is over, or its restart was demanded."""


@final
@attrs.frozen
class Retry:
    """A member has died: start again, ``delay`` seconds after all tasks are gone."""

    delay: float


@final
@attrs.frozen
class GiveUp:
    """A member has died once too often, or of what is fatal: let the parent die of it."""

    times: tuple[float, ...]
    """When the deaths were that led to it."""
    is_fatal: bool = False
    """The last death was fatal; otherwise the limit was exceeded."""


@final
@attrs.frozen
class Fail:
    """A member has died, and the policy is not to start again; the parent goes on (S26)."""


@final
@attrs.frozen
class Hold:
    """An operator wants it stopped until somebody restarts it."""


@final
@attrs.frozen
class Restart:
    """An operator wants it to start again at once, which is no failure."""


@final
@attrs.frozen
class End:
    """It is stopped for good: its parent has ended, or a pool removes it."""


Consequence = Retry | GiveUp | Fail
"""What follows from a failure, by the group's options and its past."""

Demand = Hold | Restart | End
"""What others want of it."""

Plan = Finish | Begin | Consequence | Demand

FINISH: Final = Finish()
BEGIN: Final = Begin()
HOLD: Final = Hold()
FAIL: Final = Fail()
RESTART: Final = Restart()
END: Final = End()


def prevailing(present: Plan, proposed: Consequence | Demand) -> Plan:
    """Return which of two plans prevails (S19)."""
    match present:
        case End():
            return present
        case Finish() | Begin():
            return proposed
        case Retry() | GiveUp() | Fail() | Hold() | Restart():
            return present if isinstance(proposed, (Retry, GiveUp, Fail)) else proposed
