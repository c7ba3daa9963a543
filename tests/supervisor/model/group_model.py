"""A model of one group: it predicts what becomes of the group (S9, S10, S19, S20).

It knows the group's plan, the transitions of its members, when something last happened in it or
below, and what operators have asked for. From these it computes when the group starts again, and
whether it may.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, final

import attrs
import trio

from supervisor import GroupState, NodeState

if TYPE_CHECKING:
    from supervisor import Handle

    from .strategies import GroupPlan

READY = frozenset({NodeState.HEALTHY, NodeState.DONE})


class Demand(enum.Enum):
    """What an operator asked for last."""

    STOP = "stop"
    RESTART = "restart"


@final
@attrs.define(eq=False)
class GroupModel:
    """One group, for as long as its parent's incarnation lasts."""

    plan: GroupPlan
    dns: tuple[str, ...]
    """Its members, in order."""
    handle: Handle | None = None
    calls: int = 0
    """How often the function that makes its runnables was called."""
    rounds: int = 0
    begun: int = 0
    """How many members have begun in the present round."""
    states: dict[str, NodeState] = attrs.field(factory=dict)
    """Of the members that have begun in the present round."""
    healthy_since: dict[str, float] = attrs.field(factory=dict)
    timeouts: dict[str, float] = attrs.field(factory=dict)
    """When each has to be ``HEALTHY``; at no time at which anything else happens."""
    beats_due: dict[str, float] = attrs.field(factory=dict)
    """When each that does not beat dies of that; at no such time either."""
    was_late: bool = False
    ready_since: float | None = None
    last: float = 0.0
    """When something last happened in it or below."""
    failed: bool = False
    """Whether there was a failure since the last start."""
    failures: int = 0
    before: int = 0
    """How many there were in a row before the last one."""
    unsure: bool = False
    """Whether its members became ready when one below failed, in either order."""
    delay: float = 0.0
    gives_up: bool = False
    is_down: bool = False
    """Whether it has failed, and its policy is not to restart."""
    dies_fatally: set[str] = attrs.field(factory=set)
    """The members that raise what is not retried."""
    times: list[float] = attrs.field(factory=list)
    demand: Demand | None = None
    demanded_at: float = 0.0
    operator_restarts: int = 0
    over: bool = False
    """Whether it was stopped for good."""

    @property
    def disturbed(self) -> bool:
        """Whether its members are being stopped, or will be started again."""
        return self.failed or self.demand is not None or self.over or self.late

    @property
    def late(self) -> bool:
        """Whether a member's start has timed out, or a beat is missing, in the present round."""
        return self.was_late or any(map(self._is_late, self.states))

    def _is_late(self, dn: str) -> bool:
        """Return whether the start of a member has timed out, or it has missed a beat."""
        state = self.states[dn]
        due = {NodeState.NEW: self.timeouts, NodeState.HEALTHY: self.beats_due}.get(state, {})
        return trio.current_time() >= due.get(dn, math.inf)

    @property
    def due(self) -> float | None:
        """When it starts again, if nothing else happens; ``None`` if it doesn't."""
        if self.over or self.demand is Demand.STOP:
            return None
        if self.demand is Demand.RESTART:
            return max(self.last, self.demanded_at)
        waits = self.failed and not self.gives_up and not self.is_down
        return self.last + self.delay if waits else None

    @property
    def ready(self) -> bool:
        """Whether each member is ready, and is to stay so."""
        return not self.disturbed and self.all_ready

    @property
    def will_not_be_ready(self) -> bool:
        """Whether it will not be ready again unless an operator restarts it."""
        at_rest = self.handle is not None and self.handle.state is GroupState.FAILED
        ended = self.gives_up or self.is_down
        return self.over or self.demand is Demand.STOP or (ended and at_rest)

    @property
    def all_ready(self) -> bool:
        """Whether each member is ready in the present round."""
        return len(self.states) == len(self.dns) and set(self.states.values()) <= READY

    def begin(self, dn: str, now: float) -> None:
        """Record that a member begins its next incarnation, and check that it may."""
        index = self.dns.index(dn)
        if index == 0:
            if self.rounds:
                assert now == self.due, f"{dn} starts at {now}, and not at {self.due}"
            if self.demand is Demand.RESTART:
                self.operator_restarts += 1
            self.rounds += 1
            self.begun = 0
            self.states.clear()
            self.healthy_since.clear()
            self.timeouts.clear()
            self.beats_due.clear()
            self.dies_fatally.clear()
            self.was_late = False
            self.end_readiness(now)
            self.failed = self.gives_up = self.is_down = self.unsure = False
            self.demand = None
        assert index == self.begun, f"{dn} is not the next"
        assert not self.disturbed, f"{dn} starts although its group is stopped"
        if index and self.plan.ordered:
            previous = self.dns[index - 1]
            assert self.states[previous] in READY, f"{dn} starts before {previous} is ready"
            assert now == self.healthy_since[previous]
        self.begun += 1
        self.states[dn] = NodeState.NEW
        if self.plan.start_timeout is not None:
            self.timeouts[dn] = now + self.plan.start_timeout

    def move(self, dn: str, state: NodeState, now: float) -> None:
        """Record a transition of a member."""
        self.was_late = self.late
        self.states[dn] = state
        if state is NodeState.HEALTHY:
            self.healthy_since[dn] = now
            if self.all_ready and not self.disturbed:
                self.ready_since = now
        if state is NodeState.DEAD and not self.failed:
            self.fail(now, fatal=dn in self.dies_fatally)

    def fail(self, now: float, *, fatal: bool = False) -> None:
        """Record a failure, and compute what follows from it."""
        self.failed = True
        self.last = now
        self.before = self.failures
        limit = self.plan.limit
        self.end_readiness(now)
        if fatal:
            self.gives_up = True
            return
        if self.plan.never:
            self.is_down = True
            return
        self.count(self.failures + 1)
        if limit is not None:
            self.times = [*(time for time in self.times if now - time <= limit.within), now]
            self.gives_up = len(self.times) > limit.restarts

    def end_readiness(self, now: float) -> None:
        """Record that the members are no longer ready, if they were."""
        since, self.ready_since = self.ready_since, None
        if since is not None and now - since >= self.plan.backoff.reset_after:
            self.failures = 0

    def count(self, failures: int) -> None:
        """Record how many failures there were in a row."""
        backoff, self.failures = self.plan.backoff, failures
        self.delay = min(backoff.initial * backoff.factor ** (self.failures - 1), backoff.maximum)

    def factory_failed(self, now: float) -> None:
        """Record that the function which makes the runnables has failed, and check its time."""
        assert now == self.due
        if self.demand is Demand.RESTART:
            self.operator_restarts += 1
        self.demand = None
        self.gives_up = False  # an operator may have restarted what gives up
        self.fail(now)

    def ask(self, demand: Demand, now: float) -> None:
        """Record that an operator asks for something."""
        if self.over:
            return
        self.demand, self.demanded_at = demand, now
        assert self.handle is not None
        if self.handle.state is not GroupState.FINISHED:
            self.end_readiness(now)
