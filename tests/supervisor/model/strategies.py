"""Plans of whole trees: what is in them, and what each runnable does in each of its incarnations.

All times are multiples of half a second, which floats hold exactly. A plan says nothing about
names: the member ``m`` of the group ``g`` is called ``g{g}m{m}``.
"""

from __future__ import annotations

import enum
from typing import Final, final

import attrs
from hypothesis import strategies as st

from supervisor import Backoff, RestartLimit

CLEAN_UP: Final = 2.0
"""No clean-up takes longer."""

GRACE: Final = 2.0
"""No grace is longer."""


class End(enum.Enum):
    """How a runnable ends if it is not stopped."""

    STAY = "stays"
    DIE = "raises"
    DIE_TWICE = "raises a group of exceptions"
    RETURN = "returns without having signalled DONE"
    DONE = "signals DONE and returns"
    STOP_OWN = "stops its own group"
    RESTART_OWN = "restarts its own group"
    REQUEST = "raises RestartRequested"
    DIE_FATALLY = "raises what its group does not retry"
    FATAL = "raises what is no Exception"


@final
@attrs.frozen
class Behaviour:
    """What a runnable does in one incarnation."""

    set_up: float = 0.0
    healthy: bool = True
    """Whether it ever signals ``HEALTHY``."""
    work: float = 0.0
    end: End = End.STAY
    helpers: int = 0
    """How many more tasks it has, in a nursery of its own."""
    returns_when_asked: bool = False
    """Whether it returns when it is asked to stop, or runs until it is cancelled."""
    clean_up: float = 0.0
    """How long its one clean-up takes."""
    shielded: bool = False
    stop_fault: bool = False
    """Whether it raises when it is stopped."""
    by_tree: bool = False
    """Whether it stops or restarts its own group by the tree, and not by its handle."""
    uses_scope: bool = False
    """Whether it returns when it is asked to stop by ``stop_scope()``."""
    unready: bool = False
    """Whether it is not ready, although it is ``HEALTHY``, while it works."""
    beats: bool = True
    """Whether it beats, if its group has a heartbeat."""


@final
@attrs.frozen
class RunnablePlan:
    """A runnable: its incarnations, after which it is steadily healthy, and its children."""

    behaviours: tuple[Behaviour, ...] = ()
    groups: tuple[GroupPlan, ...] = ()
    pool: bool = False
    """Whether it is a pool, which begins empty."""

    def behaviour(self, incarnation: int) -> Behaviour:
        return (
            self.behaviours[incarnation - 1] if incarnation <= len(self.behaviours) else Behaviour()
        )


@final
@attrs.frozen
class GroupPlan:
    """A group of runnables."""

    members: tuple[RunnablePlan, ...]
    backoff: Backoff = attrs.field(factory=lambda: Backoff(initial=1.0, jitter=0.0))
    limit: RestartLimit | None = None
    grace: float = 0.0
    ordered: bool = False
    start_timeout: float | None = None
    heartbeat: float | None = None
    never: bool = False
    """Whether its policy is never to restart."""
    factory: bool = False
    """Whether it is a function that makes the runnables."""
    factory_faults: frozenset[int] = frozenset()
    """Which of the calls of that function fail."""
    by_run_pool: bool = False
    """Whether it is a pool that ``run_pool()`` starts."""


times = st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])
often = (End.STAY, End.STAY, End.DIE, End.DIE, End.DIE_TWICE, End.RETURN, End.DONE)
ends = st.sampled_from(
    [
        *often * 3,
        End.STOP_OWN,
        End.RESTART_OWN,
        End.RESTART_OWN,
        End.REQUEST,
        End.REQUEST,
        End.FATAL,
    ]
)
behaviours = st.builds(
    Behaviour,
    set_up=times,
    healthy=st.sampled_from([True, True, True, False]),
    work=times,
    end=ends,
    helpers=st.sampled_from([0, 0, 1, 2]),
    returns_when_asked=st.booleans(),
    clean_up=st.sampled_from([0.0, 0.0, 0.5, CLEAN_UP]),
    shielded=st.booleans(),
    stop_fault=st.sampled_from([False, False, True]),
    by_tree=st.booleans(),
    uses_scope=st.booleans(),
    unready=st.sampled_from([False, False, True]),
    beats=st.sampled_from([True, True, False]),
)
backoffs = st.builds(
    Backoff,
    initial=st.sampled_from([0.5, 1.0, 4.0]),
    factor=st.sampled_from([1.0, 2.0]),
    jitter=st.just(0.0),
    maximum=st.sampled_from([2.0, 16.0]),
    reset_after=st.sampled_from([0.0, 2.0, 1000.0]),
)
limits = st.none() | st.none() | st.builds(RestartLimit, st.integers(0, 2), st.just(20.0))


def runnable_plans(groups: st.SearchStrategy[GroupPlan] | None) -> st.SearchStrategy[RunnablePlan]:
    """Return runnables that have such groups of children.

    Only one without children dies fatally: a group of children can't give up just then.
    """
    if groups is None:
        fatally = behaviours.map(lambda each: attrs.evolve(each, end=End.DIE_FATALLY))
        lists = st.lists(behaviours | behaviours | behaviours | fatally, max_size=3)
        return st.builds(RunnablePlan, lists.map(tuple))
    below = st.lists(groups, max_size=2).map(tuple)
    return st.builds(RunnablePlan, st.lists(behaviours, max_size=3).map(tuple), below)


def group_plans(members: st.SearchStrategy[RunnablePlan]) -> st.SearchStrategy[GroupPlan]:
    """Return groups of such members."""
    return st.builds(
        GroupPlan,
        members=st.lists(members, min_size=1, max_size=3).map(tuple),
        backoff=backoffs,
        limit=limits,
        grace=st.sampled_from([0.0, 0.0, 1.0, GRACE]),
        ordered=st.booleans(),
        start_timeout=st.sampled_from([None, None, 1.25, 2.25]),
        heartbeat=st.sampled_from([None, None, None, 1.0625]),
        never=st.sampled_from([False, False, False, True]),
        factory=st.booleans(),
        factory_faults=st.sampled_from([frozenset[int](), frozenset({2}), frozenset({2, 3})]),
    )


leaves = runnable_plans(None)
pool_members = st.just(RunnablePlan(pool=True))
pools = st.builds(
    GroupPlan,
    members=st.just((RunnablePlan(pool=True),)),
    backoff=backoffs,
    limit=limits,
    by_run_pool=st.just(value=True),
)
"""Pools that ``run_pool()`` starts."""


def alone(group: GroupPlan) -> GroupPlan:
    """Make it a group that ``run()`` can start."""
    return attrs.evolve(group, members=group.members[:1], ordered=False, factory=False)


def as_root(group: GroupPlan) -> GroupPlan:
    """Make it a group that the root can be."""
    return attrs.evolve(alone(group), start_timeout=None, heartbeat=None, never=False)


jobs = st.builds(
    lambda behaviour, below: RunnablePlan(
        (attrs.evolve(behaviour, healthy=True, end=End.DONE),), below
    ),
    behaviours,
    st.lists(group_plans(leaves), max_size=1).map(tuple),
)
children = group_plans(jobs | leaves | jobs | runnable_plans(group_plans(leaves))).map(alone)
"""The groups of pools."""
trees = group_plans(runnable_plans(group_plans(runnable_plans(group_plans(leaves)) | leaves))).map(
    as_root
)
trees_with_pools = group_plans(
    runnable_plans(
        pools
        | group_plans(pool_members | leaves)
        | group_plans(leaves | leaves | runnable_plans(pools | group_plans(leaves)))
    )
).map(as_root)
