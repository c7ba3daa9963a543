"""Wrong arguments, at each function that takes them: an error at the call, and nothing begins."""

from __future__ import annotations

import gc
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from math import inf, nan
from typing import Any, Final, final

import pytest
import trio
from trio.testing import MockClock

import supervisor
from supervisor import (
    Backoff,
    InMemoryMetrics,
    InvalidNameError,
    Metrics,
    NodeState,
    RestartLimit,
    Signal,
    UnknownNameError,
)
from supervisor.testing import Remote, open_harness

TREES: dict[str, Callable[..., object]] = {
    "supervise": supervisor.supervise,
    "open_supervisor": supervisor.open_supervisor,
    "main": supervisor.main,
    "open_harness": open_harness,
}


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


def in_root(call: Callable[[], object]) -> dict[str, NodeState]:
    """Call it in a root runnable, and return the states of all nodes when they are settled."""
    raised: list[Exception] = []

    async def root() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  it is raised below
            raised.append(error)

    async def main() -> dict[str, NodeState]:
        async with open_harness(root) as tree:
            await tree.wait_settled()
            return {dn: node.state for dn, node in tree.snapshot().nodes.items()}

    states = trio.run(main)
    if raised:
        assert states == {"root": NodeState.DONE}
        raise raised[0]
    return states


def run_tree(name: str, **options: object) -> None:
    """Run a tree whose root must never begin."""
    began: list[str] = []

    async def root() -> None:
        began.append(name)

    make = partial(TREES[name], root, **options)

    async def main() -> None:
        if name == "supervise":
            await make()  # type: ignore[misc]  # it is the only one that waits
        else:
            async with make():  # type: ignore[attr-defined]  # the others are context managers
                pass

    try:
        if name == "main":
            make()
        else:
            trio.run(main)
    finally:
        assert began == []


# Options


class Unspeakable:
    def __repr__(self) -> str:
        raise OSError("no repr")


WRONG: list[tuple[str, object, type[Exception], str]] = [
    ("limit", 3, TypeError, "limit=3 is not a RestartLimit: pass one, such as RestartLimit(3, "),
    ("limit", 0, TypeError, "limit=0 is not a RestartLimit"),
    ("limit", (3, 60), TypeError, "limit=(3, 60) is not a RestartLimit"),
    ("limit", RestartLimit, TypeError, "is not a RestartLimit: pass one"),
    ("backoff", 5, TypeError, "backoff=5 is not a Backoff: pass one, such as Backoff(initial=1.0)"),
    ("backoff", 0, TypeError, "backoff=0 is not a Backoff"),
    ("backoff", "", TypeError, "backoff='' is not a Backoff"),
    ("backoff", Backoff, TypeError, "Backoff'> is not a Backoff: pass one, such as"),
    ("grace", -1, ValueError, "grace=-1 is not a number of seconds of at least 0"),
    ("grace", nan, ValueError, "grace=nan is not a number of seconds of at least 0"),
    ("grace", False, TypeError, "grace=False is not a number of seconds of at least 0"),
    ("grace", True, TypeError, "grace=True is not a number of seconds"),
    ("grace", "1", TypeError, "grace='1' is not a number of seconds"),
    ("grace", 1j, TypeError, "grace=1j is not a number of seconds"),
    ("grace", -(10**400), ValueError, "… is not a number of seconds"),
    ("grace", Unspeakable(), TypeError, "grace=<a Unspeakable that has no repr> is not a number"),
    ("start_timeout", 0, ValueError, "start_timeout=0 is not a number of seconds above 0"),
    ("start_timeout", nan, ValueError, "start_timeout=nan is not a number of seconds above 0"),
    ("start_timeout", True, TypeError, "start_timeout=True is not a number of seconds above 0"),
    ("start_timeout", "5", TypeError, "start_timeout='5' is not a number of seconds above 0"),
    ("ordered", "yes", TypeError, "ordered='yes' is not a bool: pass ordered=True or"),
    ("ordered", 1, TypeError, "ordered=1 is not a bool"),
    ("ordered", None, TypeError, "ordered=None is not a bool"),
    ("propagate", "no", TypeError, "propagate='no' is not a bool"),
    ("patience", None, TypeError, "patience=None is not a number of seconds of at least 0"),
    ("patience", -1.0, ValueError, "patience=-1.0 is not a number of seconds of at least 0"),
    ("timeout", "30", TypeError, "timeout='30' is not a number of seconds of at least 0"),
    ("max_children", 0, ValueError, "max_children=0 is not a whole number"),
    ("max_children", -1, ValueError, "max_children=-1 is not a whole number of"),
    ("max_children", nan, TypeError, "max_children=nan is not a whole number"),
    ("max_children", inf, TypeError, "max_children=inf is not a whole number"),
    ("max_children", 2.0, TypeError, "max_children=2.0 is not a whole number"),
    ("max_children", True, TypeError, "max_children=True is not a whole number"),
    ("max_children", "3", TypeError, "max_children='3' is not a whole number"),
    ("metrics", 5, TypeError, "metrics=5: 5 is no Metrics; pass an object with the methods"),
    ("metrics", "", TypeError, "metrics='': '' is no Metrics"),
    ("metrics", InMemoryMetrics, TypeError, "is no Metrics; pass an object"),
    ("metrics", [None], TypeError, "metrics=[None]: None is no Metrics"),
    ("metrics", [InMemoryMetrics(), 5], TypeError, "5 is no Metrics"),
]  # fmt: skip

# By the option, what takes it.
TAKES: dict[str, str] = {
    "limit": "run run_group run_pool pool.run supervise open_supervisor main",
    "backoff": "run run_group run_pool pool.run supervise open_supervisor main open_harness",
    "grace": "run run_group pool.run supervise open_supervisor main",
    "start_timeout": "run run_group pool.run",
    "ordered": "run_group",
    "propagate": "supervise open_supervisor",
    "patience": "open_harness",
    "timeout": "main",
    "max_children": "run_pool",
    "metrics": "supervise open_supervisor main open_harness",
}
CASES = [(name, *wrong) for wrong in WRONG for name in TAKES[wrong[0]].split()]


def call_with(name: str, options: Mapping[str, object]) -> None:
    """Call one of those that take options."""
    match name:
        case "run":
            in_root(partial(supervisor.run, "child", idle, **options))  # type: ignore[arg-type]
        case "run_group":
            group = {"child": idle}
            in_root(partial(supervisor.run_group, group, **options))  # type: ignore[arg-type]
        case "run_pool":
            in_root(partial(supervisor.run_pool, "pool", **options))  # type: ignore[arg-type]
        case "pool.run":
            run_in_pool(**options)
        case _:
            run_tree(name, **options)


def run_in_pool(**options: object) -> None:
    async def main() -> None:
        pools: list[supervisor.Pool] = []

        async def root() -> None:
            pools.append(supervisor.run_pool("pool"))

        async with open_harness(root) as tree:
            await tree.wait_settled()
            try:
                pools[0].run("child", idle, **options)  # type: ignore[arg-type]
            finally:
                await tree.wait_settled()
                assert len(pools[0]) == 0

    trio.run(main)


@pytest.mark.parametrize(("name", "option", "value", "error", "message"), CASES)
def test_a_wrong_option_is_named_with_its_value_and_what_to_pass(
    name: str, option: str, value: object, error: type[Exception], message: str
) -> None:
    """S2: the error comes at the call, whatever takes the option, and nothing has begun."""
    with pytest.raises(error, match=re.escape(message)) as caught:
        call_with(name, {option: value})
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "options",
    [
        {"grace": inf},
        {"grace": 1},
        {"grace": Fraction(1, 2)},
        {"start_timeout": inf},
        {"start_timeout": 1},
        {"backoff": None, "limit": None},
    ],
)
def test_whole_numbers_fractions_and_infinity_are_numbers_of_seconds(
    options: dict[str, object],
) -> None:
    """S2: what can be counted in seconds is right; infinity is for ever."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await supervisor.wait_stop_requested()

    states = in_root(partial(supervisor.run, "child", child, **options))  # type: ignore[arg-type]
    assert states["root.child"] is NodeState.HEALTHY


@final
class Several(Sequence[Metrics]):
    """A sequence that is neither a tuple nor a list."""

    def __init__(self, metrics: Sequence[Metrics] = ()) -> None:
        self._metrics = metrics

    def __len__(self) -> int:
        return len(self._metrics)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401  of an index or a slice
        return self._metrics[index]


@pytest.mark.parametrize("several", [tuple, list, deque, Several])
async def test_a_sequence_of_metrics_is_right(several: Callable[..., object]) -> None:
    """S16: each of them is told; none of them is right, too."""
    metrics = InMemoryMetrics(), InMemoryMetrics()
    async with open_harness(idle, metrics=several(metrics)) as tree:  # type: ignore[arg-type]
        await tree.wait_ready()
        assert [list(each.nodes()) for each in metrics] == [["root"], ["root"]]
    async with open_harness(idle, metrics=several()) as tree:  # type: ignore[arg-type]
        await tree.wait_ready()


def test_metrics_whose_methods_are_async_are_refused() -> None:
    """S16: they would never be awaited."""

    class Async:
        async def notify_node_state(self, dn: str, state: NodeState) -> None:
            """Do nothing, at length."""

        def notify_node_gone(self, dn: str) -> None:
            """Do nothing."""

    with pytest.raises(TypeError, match=r"is no Metrics; .* which are not async"):
        run_tree("supervise", metrics=Async())


@pytest.mark.parametrize("seconds", ["5", True, -1, nan])
async def test_a_wrong_timeout_of_a_stop_stops_nothing(seconds: object) -> None:
    """S21: the error names it, and the tree goes on."""
    async with open_harness(idle) as tree:
        await tree.wait_ready()
        error = ValueError if seconds in (-1, nan) else TypeError
        with pytest.raises(error, match=f"^timeout={seconds!r} is not a number of seconds"):
            await tree.stop(timeout=seconds)  # type: ignore[arg-type]
        assert tree.ready()


# Backoff and RestartLimit

NUMBERS = ["initial", "factor", "jitter", "maximum", "reset_after"]


@pytest.mark.parametrize("value", ["1", None, True, 1j, Unspeakable()])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_no_part_of_a_backoff(name: str, value: object) -> None:
    """S9: the error is a TypeError that names the argument."""
    with pytest.raises(TypeError, match=f"^{name}=.* is not a (finite )?number"):
        Backoff(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NUMBERS)
def test_an_integer_beyond_all_floats_is_no_part_of_a_backoff(name: str) -> None:
    """S9: it is out of the range, and the message does not show all of it."""
    with pytest.raises(ValueError, match=f"^{name}=10+… is not") as caught:
        Backoff(**{name: 10**400})  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [5, None, "random"])
def test_the_random_source_of_a_backoff_is_a_function(value: object) -> None:
    """S9: what can't be called is refused when the backoff is made."""
    message = rf"^random={value!r} is not callable: pass a function that returns a number from 0 to"
    with pytest.raises(TypeError, match=message):
        Backoff(random=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0.5", None, 1j])
def test_a_random_source_returns_numbers(value: object) -> None:
    """S9: what is no number is not from 0 to 1."""
    backoff = Backoff(random=lambda: value)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match=rf"returned {value!r}, which is not a number from 0 to 1"):
        backoff.delay(1)


def test_a_backoff_of_fractions_grows_to_its_maximum() -> None:
    """S9: after any number of failures the delay takes as long to compute as after one."""
    half: float = Fraction(1, 2)  # type: ignore[assignment]  # it is as good as one
    backoff = Backoff(initial=half, factor=2, jitter=0, maximum=60)
    assert [backoff.delay(failures) for failures in (1, 2, 10**9)] == [0.5, 1.0, 60.0]


@pytest.mark.parametrize("value", ["3", None, True, 1.0, 2.5])
def test_restarts_are_counted_in_whole_numbers(value: object) -> None:
    """S10: anything else is a TypeError that names it."""
    message = re.escape(f"restarts={value!r} is not a whole number of at least 0")
    with pytest.raises(TypeError, match=message):
        RestartLimit(value, within=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, 2**63])
def test_restarts_that_cannot_be_counted_are_refused(value: int) -> None:
    """S10: the deaths of a window are kept, so there can't be more than memory has places."""
    with pytest.raises(ValueError, match=f"restarts={value!r} is not a whole number of at least 0"):
        RestartLimit(value, within=1.0)


@pytest.mark.parametrize("value", ["60", None, True])
def test_a_window_is_a_number(value: object) -> None:
    """S10: anything else is a TypeError that names it."""
    with pytest.raises(TypeError, match=f"^within={value!r} is not a finite number above 0$"):
        RestartLimit(1, within=value)  # type: ignore[arg-type]


# Names


class Loud(str):
    """A string that is equal to nothing, has the hash of all, and is formatted otherwise."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 1

    def __format__(self, spec: str) -> str:
        return "loud"

    def __str__(self) -> str:
        return "loud"


async def test_the_text_of_a_name_is_what_counts() -> None:
    """S2: whatever a subclass of str does, the DN is the plain text, and can be found by it."""
    pools: list[supervisor.Pool] = []

    async def parent() -> None:
        name = Loud("taken")
        supervisor.run(name, idle)
        with pytest.raises(supervisor.DuplicateNameError, match=r"root\.parent\.taken exists"):
            supervisor.run(name, idle)
        with pytest.raises(supervisor.DuplicateNameError, match=r"root\.parent\.taken exists"):
            supervisor.sub_logger(name)
        assert supervisor.sub_logger(Loud("wire")).name == "supervisor.node.root.parent.wire"
        with pytest.raises(supervisor.DuplicateNameError):
            supervisor.run_group({Loud("twice"): idle, Loud("twice"): idle})
        supervisor.run_group({Loud("member"): idle}, grace={Loud("member"): 0.0})
        pools.append(supervisor.run_pool(Loud("pool")))
        await idle()

    async def root() -> None:
        supervisor.run(Loud("parent"), parent)

    async with open_harness(root) as tree:
        await tree.wait_settled()
        pools[0].run(Loud("child"), idle)
        await tree.wait_ready(Loud("root.parent.pool.child"))
        assert tree.ready(Loud("root.parent"))
        nodes = tree.snapshot().nodes
        assert list(nodes) == [
            "root",
            "root.parent",
            "root.parent.taken",
            "root.parent.member",
            "root.parent.pool",
            "root.parent.pool.child",
        ]
        assert {type(node.dn) for node in nodes.values()} == {str}
        await pools[0].stop(Loud("child"))
        assert len(pools[0]) == 0


@pytest.mark.parametrize("name", ["nobody", Loud("nothing"), "Bad Name", 5, None, []])
async def test_a_pool_stops_nobody_that_it_does_not_have(name: object) -> None:
    """S23: whatever is passed for a name."""
    pools: list[supervisor.Pool] = []

    async def root() -> None:
        pools.append(supervisor.run_pool("pool"))

    async with open_harness(root) as tree:
        await tree.wait_settled()
        with pytest.raises(UnknownNameError, match=r"the pool root\.pool has no child"):
            await pools[0].stop(name)  # type: ignore[arg-type]


# DNs


@pytest.mark.parametrize(
    "dn",
    ["", ".", "root.", ".root", "Root", "boot", "boot.a", "root..a", "root.A", "root.a-b", "root.ä",
     "root.{a,b}", "rootless", f"root.{'a' * 65}", 5, b"root", ["root"]],
)  # fmt: skip
async def test_a_dn_that_no_node_can_have_is_an_error(dn: object) -> None:
    """S25: nothing waits for it."""
    async with open_harness(idle) as tree:
        message = re.escape(f"dn={dn!r} can be no node's: pass a dotted path from 'root' on")
        with pytest.raises(InvalidNameError, match=message):
            tree.ready(dn)  # type: ignore[arg-type]
        with pytest.raises(InvalidNameError, match=message):
            await tree.wait_ready(dn)  # type: ignore[arg-type]


async def test_a_dn_that_a_node_may_have_later_is_no_error() -> None:
    """S25: it is not ready, and can be waited for."""
    async with open_harness(idle) as tree:
        assert not tree.ready("root.later")


# Runnables


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("where", ["mapping", "function"])
def test_all_coroutines_in_a_mapping_are_closed(where: str, size: int) -> None:
    """S2: the error is about the first, and none is reported as never awaited."""
    group = {"fine": idle} | {f"wrong{number}": idle() for number in range(size)}
    runnables = group if where == "mapping" else lambda: group
    with pytest.raises(TypeError, match=r"^the runnable 'wrong0' got <coroutine .* without call"):
        in_root(partial(supervisor.run_group, runnables))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"Bad Name": idle}, {"a": 5}, {5: idle}])
def test_coroutines_are_closed_whatever_else_is_wrong(wrong: dict[object, object]) -> None:
    """S2: also where the error is about another member, before or behind them."""
    for group in (wrong | {"coroutine": idle()}, {"coroutine": idle()} | wrong):
        with pytest.raises((TypeError, InvalidNameError)):
            in_root(partial(supervisor.run_group, group))  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [idle, partial(idle)])
def test_a_function_of_a_group_that_returns_a_coroutine_is_refused(make: object) -> None:
    """S8: the coroutine is closed."""
    with pytest.raises(TypeError, match=r"^a group under root got <coroutine .*: pass a mapping"):
        in_root(partial(supervisor.run_group, make))  # type: ignore[arg-type]


@pytest.mark.parametrize("runnables", [[idle], "idle", 5, None, {"child"}])
@pytest.mark.parametrize("where", ["mapping", "function"])
def test_a_group_of_what_is_no_mapping_is_refused(where: str, runnables: object) -> None:
    """S8: the error shows what it got."""
    passed = runnables if where == "mapping" else lambda: runnables
    message = re.escape(f"a group under root got {runnables!r}: pass a mapping from names to")
    with pytest.raises(TypeError, match=message):
        in_root(partial(supervisor.run_group, passed))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("root", [5, None, "root"])
def test_a_root_that_cannot_be_called_is_refused(name: str, root: object) -> None:
    """S2: by each function that runs a tree."""
    with pytest.raises(TypeError, match=rf"^{name}\(\) got {root!r}, which is not an async"):
        trio.run(open_tree, name, root) if name != "main" else TREES[name](root)


async def iterate() -> AsyncIterator[int]:
    await trio.lowlevel.checkpoint()
    yield 1


def generate() -> Iterator[int]:
    yield 1


class NotAwaitable:
    """A class is no runnable, but where its objects can be awaited."""


NO_RUNNABLES: Final = (iterate, partial(iterate), generate, NotAwaitable)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize(
    "root", NO_RUNNABLES, ids=["async generator", "partial", "generator", "class"]
)
def test_a_root_that_returns_nothing_to_await_is_refused(name: str, root: object) -> None:
    """S2: as far as that is known before it is called."""
    with pytest.raises(TypeError, match=rf"^{name}\(\) got .* async"):
        trio.run(open_tree, name, root) if name != "main" else TREES[name](root)


@pytest.mark.parametrize(
    "runnable", NO_RUNNABLES, ids=["async generator", "partial", "generator", "class"]
)
def test_a_runnable_that_returns_nothing_to_await_is_refused(runnable: Any) -> None:  # noqa: ANN401
    """S2: in a group as well; and what only its call can show is no wrong argument."""
    with pytest.raises(TypeError, match=r"^run\('child'\) got .* async"):
        in_root(partial(supervisor.run, "child", runnable))
    with pytest.raises(TypeError, match=r"^the runnable 'child' got .* async"):
        in_root(partial(supervisor.run_group, {"fine": idle, "child": runnable}))
    states = in_root(partial(supervisor.run, "child", lambda: idle()))  # noqa: PLW0108  no async one
    assert states["root.child"] is NodeState.HEALTHY


def test_what_is_called_for_its_answer_is_not_async(recwarn: pytest.WarningsRecorder) -> None:
    """S9, S16, S34, S35: nothing would await it."""

    class Observer:
        async def __call__(self, event: object) -> None:
            """Do nothing, at length."""

    for observer in (idle, Observer(), partial(Observer()), iterate):
        with pytest.raises(TypeError, match="is async, and nothing would await it"):
            run_tree("supervise", observers=[observer])
    with pytest.raises(TypeError, match=r"random=<function idle .* is async: pass a function"):
        Backoff(random=idle)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"sidecars=<function idle .* is async: pass a function"):
        supervisor.main(idle, sidecars=idle)  # type: ignore[arg-type]
    gc.collect()
    assert not recwarn.list


def test_a_wrong_fatal_is_compared_with_nothing() -> None:
    """S26: it is named, whatever it makes of a comparison."""

    class Array:
        def __eq__(self, other: object) -> bool:
            raise OverflowError(other)

        __hash__ = None  # type: ignore[assignment]

        def __repr__(self) -> str:
            return "array"

    with pytest.raises(TypeError, match=r"^fatal=array is no class of exceptions"):
        in_root(partial(supervisor.run, "child", idle, fatal=Array()))  # type: ignore[arg-type]


async def test_an_open_supervisor_is_entered_once() -> None:
    """S12: neither while its tree runs nor after that; the tree that runs goes on."""
    opened = supervisor.open_supervisor(idle)
    async with opened as tree:
        await tree.wait_ready()
        with pytest.raises(RuntimeError, match="was entered before: call it for each tree"):
            await opened.__aenter__()
        assert tree.ready()
    with pytest.raises(RuntimeError, match="was entered before"):
        await opened.__aenter__()


async def open_tree(name: str, root: object) -> None:
    tree = TREES[name](root)
    if name == "supervise":
        await tree  # type: ignore[misc]  # it is async
    else:
        async with tree:  # type: ignore[attr-defined]  # these are context managers
            pass


# Grace periods by name


@pytest.mark.parametrize("where", ["mapping", "function"])
@pytest.mark.parametrize("names", [{"nobody": 1.0}, {"child": 1.0, "nobody": 0.0}, {5: 1.0}])
def test_a_grace_for_nobody_is_refused(where: str, names: Mapping[object, float]) -> None:
    """S2, S21: a name that no member has is a mistake in writing."""
    group = {"child": idle}
    runnables = group if where == "mapping" else lambda: group
    name = list(names)[-1]
    with pytest.raises(ValueError, match=f"^grace names {name!r}, which is no member of the group"):
        in_root(partial(supervisor.run_group, runnables, grace=names))  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [True, "1", None])
def test_each_grace_by_name_is_a_number(seconds: object) -> None:
    """S2, S21: the error shows the one that is not."""
    with pytest.raises(TypeError, match=f"^grace={seconds!r} is not a number of seconds"):
        call_with("run_group", {"grace": {"child": seconds}})


@pytest.mark.parametrize("name", ["run", "pool.run", "supervise"])
def test_a_runnable_alone_has_one_grace(name: str) -> None:
    """S2, S21: grace periods by name are for groups."""
    with pytest.raises(TypeError, match=r"^grace={'child': 1\.0} is not a number of seconds"):
        call_with(name, {"grace": {"child": 1.0}})


async def test_a_grace_for_nobody_at_a_restart_is_a_failure_of_the_group(
    autojump_clock: MockClock,  # noqa: ARG001  time is Trio's
) -> None:
    """S8, S21: the members that a function returns are checked at each start."""
    remote, names = Remote(), ["first", "second", "first"]

    async def root() -> None:
        backoff = Backoff(initial=1.0, factor=1.0, jitter=0.0)
        grace = {"first": 1.0}
        supervisor.run_group(lambda: {names.pop(0): remote}, backoff=backoff, grace=grace)

    async with open_harness(root) as tree:
        await remote.become_healthy()
        await remote.die()
        await remote.become_healthy()
        assert trio.current_time() == 2.0
        assert names == []
        assert tree.snapshot().nodes["root.first"].group.failures == 2


# For tests


@pytest.mark.parametrize("error", ["text", ValueError, 5])
async def test_a_remote_dies_of_exceptions_only(error: object) -> None:
    """S2: it goes on, and the test is told."""
    remote = Remote()
    async with open_harness(remote):
        with pytest.raises(TypeError, match=r"^error=.* is not an exception: pass one"):
            await remote.die(error)  # type: ignore[arg-type]
        await remote.become_healthy()


@pytest.mark.parametrize("seconds", [-1.0, nan, "1", None])
def test_a_remote_stops_as_slowly_as_a_number_says(seconds: object) -> None:
    """S2: the error names the number."""
    with pytest.raises((TypeError, ValueError), match=f"^seconds={seconds!r} is not a number of"):
        Remote().stop_slowly(seconds)  # type: ignore[arg-type]
