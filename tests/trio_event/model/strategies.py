"""Hypothesis strategies: histories, expressions and chains of stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from .expression_scenario import ExpressionScenario
from .expressions import Compose, Debounce, Distinct, Filter, Map, Source, Throttle
from .item_scenario import ItemScenario
from .map_scenario import MapScenario
from .scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .expression_scenario import Sets
    from .map_scenario import Numbers

    History = list[tuple[Callable[[Scenario, int, int], Awaitable[None]], int, int]]
    MapHistory = list[tuple[Callable[[MapScenario, Numbers], Awaitable[None] | None], Numbers]]
    ItemHistory = list[tuple[Callable[[ItemScenario, Numbers], Awaitable[None]], Numbers]]
    ExpressionHistory = list[
        tuple[
            Callable[[ExpressionScenario, Sets], None],
            Sets,
            Callable[[ExpressionScenario], Awaitable[None]],
        ]
    ]
    AskingHistory = list[tuple[str, int, int]]
    MapAskingHistory = list[tuple[str, int, int]]
    Stages = list[tuple[str, float]]

# The more important an operation is, the more often it comes.
OPERATIONS: Final = (
    *(Scenario.set, Scenario.get, Scenario.rest) * 3,
    *(Scenario.watch, Scenario.select, Scenario.step, Scenario.cancel, Scenario.set_at_once) * 2,
    Scenario.get_nowait,
    Scenario.get_backlog,
    Scenario.wait_for,
    Scenario.close,
    Scenario.end,
)

MAP_OPERATIONS: Final = (
    *(MapScenario.set, MapScenario.delete, MapScenario.replace_all, MapScenario.look) * 2,
    MapScenario.apply,
    MapScenario.set_and_delete_at_once,
    MapScenario.come_and_go,
    MapScenario.get_and_cancel,
)

ITEM_OPERATIONS: Final = (
    *(ItemScenario.apply, ItemScenario.begin, ItemScenario.look) * 3,
    *(ItemScenario.set, ItemScenario.delete, ItemScenario.replace_all) * 2,
    ItemScenario.change_at_once,
    ItemScenario.come_and_go,
    ItemScenario.forget,
    ItemScenario.rest,
)

# Exact numbers, so that no few of them add up to a whole second, at which values are set.
SECONDS: Final = tuple(seconds + 2**-12 for seconds in (0.25, 1.375, 2.75))

# Trio's order of tasks and the choices of select are random, so they are part of a history.
histories = st.random_module().flatmap(
    lambda _: st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 5), st.integers(0, 5)),
        min_size=20,
        max_size=60,
    )
)

map_histories = st.lists(
    st.tuples(
        st.sampled_from(MAP_OPERATIONS),
        st.dictionaries(st.integers(0, 7), st.integers(0, 3), max_size=5),
    ),
    max_size=30,
)

item_histories = st.lists(
    st.tuples(
        st.sampled_from(ITEM_OPERATIONS),
        st.dictionaries(st.integers(0, 4), st.integers(0, 3), max_size=4),
    ),
    max_size=30,
)

expressions = st.recursive(
    st.builds(Source, st.integers(0, 2)),
    lambda inner: st.one_of(
        *(
            st.builds(stage, inner, st.integers(0, 3))
            for stage in (Map, Filter, Distinct, Debounce, Throttle)
        ),
        st.builds(Compose, st.tuples(inner, inner)),
    ),
    max_leaves=4,
)

expression_histories = st.random_module().flatmap(
    lambda _: st.lists(
        st.tuples(
            st.sampled_from((ExpressionScenario.set, ExpressionScenario.set_at_once)),
            st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=3),
            st.sampled_from(
                (
                    ExpressionScenario.step,
                    ExpressionScenario.wait,
                    ExpressionScenario.cancel,
                    ExpressionScenario.rest,
                )
            ),
        ),
        max_size=12,
    )
)

# Stages of a chain, and the seconds of each.
stages = st.lists(
    st.tuples(st.sampled_from(("debounce", "throttle", "distinct")), st.sampled_from(SECONDS)),
    max_size=4,
)

# What happens to a value, or is done with its two watchers; a source; a number or seconds.
asking_histories = st.lists(
    st.tuples(
        st.sampled_from(("set", "set", "sleep", "ask", "ask", "get_nowait", "get_backlog")),
        st.integers(0, 2),
        st.integers(0, 5),
    ),
    min_size=8,
    max_size=20,
)

# The same for a map, with a key.
map_asking_histories = st.lists(
    st.tuples(
        st.sampled_from(
            ("set", "set", "delete", "sleep", "ask", "ask", "get_nowait", "get_backlog")
        ),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    min_size=8,
    max_size=20,
)
