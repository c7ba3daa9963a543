"""What functions of the user raise is their own error, in every consumer (V6, V9, V17).

``EndOfChannel``, ``WouldBlock``, ``BacklogDone`` and ``Cancelled`` say something when a get raises
them. A predicate or function raises them too, mostly because it looks at another channel or watcher
that has ended. No consumer takes that for its own end, and no caller can: what leaves a get is
another exception then, which comes from the user's. Python does the same with a StopIteration that
leaves a generator's body.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisor import NodeState
from trio_event import BacklogDone, MemoryValue, ValueMap, compose, follow, pipe, select

from ..helpers.calls import Call
from ..helpers.errors import TELLING, is_of_user
from ..helpers.functions import anything, first, is_big
from ..helpers.internals import DELETES_KEPT
from ..helpers.piping import node, received, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_event import ValueWatch

    Function = Callable[[int], int]
    Predicate = Callable[[int], bool] | None
    Source = ValueWatch[int]


def failing(error: BaseException) -> Function:
    """Make a function that returns its argument, and raises for 2."""

    def function(number: int) -> int:
        if number == 2:
            raise error
        return number

    return function


@final
class Key:
    """Equal as numbers are; a comparison of 2 fails."""

    def __init__(self, function: Function, number: int) -> None:
        self.function = function
        self.number = number

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Key)
        return self.function(self.number) == other.function(other.number)

    __hash__ = None  # type: ignore[assignment]


# Ways to derive a value that fails when its source is 2.
DERIVATIONS: Final[dict[str, Callable[[Source, Function], Source]]] = {
    "map": lambda source, function: source.map(function),
    "filter": lambda source, function: source.filter(lambda number: function(number) > 0),
    "distinct_key": lambda source, function: source.distinct(function),
    "distinct_eq": lambda source, function: source.distinct(partial(Key, function)),
    "map_before_throttle": lambda source, function: source.map(function).throttle(0.5),
    "map_behind_throttle": lambda source, function: source.throttle(0.5).map(function),
    "filter_before_debounce": lambda source, function: source.filter(
        lambda number: function(number) > 0
    ).debounce(0.5),
    "distinct_before_debounce": lambda source, function: source.distinct(function).debounce(0.5),
    "compose": lambda source, function: compose(source, source.map(function)).map(first),
    "compose_of_timed": lambda source, function: compose(
        source, source.map(function).throttle(0.5)
    ).map(first),
}
DISTINCT: Final = ("distinct_key", "distinct_eq")


async def step(_: object) -> None:
    await trio.lowlevel.checkpoint()


async def sleep_forever(_: object) -> None:
    await trio.sleep_forever()


async def by_get(source: Source, predicate: Predicate) -> None:
    with source.watch() as watcher, contextlib.suppress(trio.EndOfChannel):
        while True:
            await watcher.get(predicate=predicate)


async def by_get_update(source: Source, predicate: Predicate) -> None:
    with source.watch() as watcher, contextlib.suppress(trio.EndOfChannel):
        while True:
            await watcher.get_update(predicate=predicate)


async def by_get_of_the_backlog(source: Source, predicate: Predicate) -> None:
    with source.watch() as watcher:
        await watcher.get()
        await trio.sleep(2)
        with contextlib.suppress(BacklogDone):
            await watcher.get(predicate=predicate, backlog_only=True)


async def by_get_nowait(source: Source, predicate: Predicate) -> None:
    assert predicate is None
    with source.watch() as watcher:
        await watcher.get()
        for _ in range(2):
            # A debounced value begins its time at the first call.
            await trio.sleep(2)
            with contextlib.suppress(trio.WouldBlock):
                watcher.get_nowait()


async def by_async_for(source: Source, predicate: Predicate) -> None:
    assert predicate is None
    async for _ in source.watch():
        pass


async def by_select(source: Source, predicate: Predicate) -> None:
    assert predicate is None
    with (
        source.watch() as watcher,
        MemoryValue[int]().watch() as other,
        contextlib.suppress(trio.EndOfChannel),
    ):
        while True:
            await select(other, watcher)


async def by_wait_for(source: Source, predicate: Predicate) -> None:
    assert predicate is None
    with contextlib.suppress(trio.EndOfChannel):
        await source.wait_for(is_big)


async def by_wait_for_with_a_hold(source: Source, predicate: Predicate) -> None:
    with contextlib.suppress(trio.EndOfChannel):
        await source.wait_for(predicate or anything, held_for=100)


async def by_wait_version(source: Source, predicate: Predicate) -> None:
    assert predicate is None
    with contextlib.suppress(trio.EndOfChannel):
        await source.wait_version(source.version + 1)


async def by_follow(source: Source, predicate: Predicate) -> None:
    await follow(source, step, predicate=predicate)


async def by_follow_of_the_latest(source: Source, predicate: Predicate) -> None:
    await follow(source, sleep_forever, predicate=predicate, latest=True)


CONSUMERS: Final = (
    by_get,
    by_get_update,
    by_get_of_the_backlog,
    by_get_nowait,
    by_async_for,
    by_select,
    by_wait_for,
    by_wait_for_with_a_hold,
    by_wait_version,
    by_follow,
    by_follow_of_the_latest,
)
WITH_A_PREDICATE: Final = (
    by_get,
    by_get_update,
    by_get_of_the_backlog,
    by_wait_for_with_a_hold,
    by_follow,
    by_follow_of_the_latest,
)


# A wait_for asks what is newest, which distinct does not change; a new watcher compares nothing.
NOT_CALLED: Final = (
    *((consume, kind) for consume in (by_wait_for, by_wait_for_with_a_hold) for kind in DISTINCT),
    (by_wait_version, "distinct_eq"),
)
COMBINATIONS: Final = [
    pytest.param(consume, derivation, id=f"{consume.__name__}-{derivation}")
    for consume in CONSUMERS
    for derivation in DERIVATIONS
    if (consume, derivation) not in NOT_CALLED
]


async def capture(async_fn: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Return what a function raises, or None."""
    try:
        await async_fn()
    except BaseException as error:  # noqa: BLE001  the test looks at it
        return error
    return None


async def outcome_of(
    value: MemoryValue[int], consume: Callable[[], Awaitable[None]]
) -> BaseException | None:
    """Consume a value at 1, set it to 2 after a second, and return how the consumer ended."""
    async with trio.open_nursery() as nursery:
        call = Call(nursery, partial(capture, consume))
        await trio.sleep(1)
        assert not call.ended, "it has failed before"
        value.set(2)
        with trio.move_on_after(200):
            return await call.result()
        nursery.cancel_scope.cancel()
    return None


@pytest.mark.parametrize(("consume", "derivation"), COMBINATIONS)
async def test_error_of_a_function_is_raised_by_its_consumer(
    autojump_clock: object,  # noqa: ARG001  time is Trio's
    consume: Callable[[Source, Predicate], Awaitable[None]],
    derivation: str,
) -> None:
    """V9, V14, V16, V17, V22: the consumer raises it, or an error that comes from it."""
    wrong: dict[str, BaseException | None] = {}
    for name, make in TELLING.items():
        error = make()
        value = MemoryValue(1)
        source = DERIVATIONS[derivation](value, failing(error))
        caught = await outcome_of(value, partial(consume, source, None))
        if caught is None or not is_of_user(caught, error):
            wrong[name] = caught
    assert not wrong


@pytest.mark.parametrize("timed", [False, True], ids=["plain", "timed"])
@pytest.mark.parametrize("consume", WITH_A_PREDICATE, ids=lambda consume: consume.__name__)
async def test_error_of_a_predicate_is_raised_by_its_consumer(
    autojump_clock: object,  # noqa: ARG001  time is Trio's
    consume: Callable[[Source, Predicate], Awaitable[None]],
    timed: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V6, V16, V22: the consumer raises it, or an error that comes from it."""
    wrong: dict[str, BaseException | None] = {}
    for name, make in TELLING.items():
        error = make()
        value = MemoryValue(1)
        function = failing(error)
        source = value.throttle(0.5) if timed else value
        caught = await outcome_of(
            value,
            partial(consume, source, lambda number: function(number) > 0),  # noqa: B023  now
        )
        if caught is None or not is_of_user(caught, error):
            wrong[name] = caught
    assert not wrong


@pytest.mark.parametrize("option", ["predicate", "transform", *DERIVATIONS])
@pytest.mark.parametrize("held", [False, True], ids=["first", "held"])
async def test_error_of_a_function_is_the_death_of_a_pipe(
    autojump_clock: object,  # noqa: ARG001  time is Trio's
    option: str,
    held: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V13: the pipe is never DONE of it; its next incarnation begins anew."""
    wrong: dict[str, object] = {}
    for name, make in TELLING.items():
        error = make()
        value = MemoryValue(1)
        state, crashes = await pipe_two(value, failing(error), option, held=held)
        text = "".join(crashes)
        if state is not NodeState.HEALTHY or type(error).__name__ not in text:
            wrong[name] = (state, text)
    assert not wrong


async def pipe_two(
    value: MemoryValue[int],
    function: Function,
    option: str,
    *,
    held: bool,
) -> tuple[NodeState, list[str]]:
    """Pipe a value that is set to 2, and to 3 when the pipe begins again.

    Return the state of the pipe and its crashes.
    """
    send, receive = trio.open_memory_channel[int](0)
    attempts = 0

    async def run() -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            value.set(3)
        if option == "predicate":
            await pipe(value, send, predicate=lambda number: function(number) > 0)()
        elif option == "transform":
            await pipe(value, send, transform=function)()
        else:
            await pipe(DERIVATIONS[option](value, function), send)()

    async with running({"pipe": run}) as tree:
        if not held:
            assert await received(receive) == 1
        await trio.sleep(1)
        value.set(2)
        await trio.sleep(1)
        with trio.move_on_after(10):
            assert await received(receive) == 3
        snapshot = node(tree)
        texts = [crash.error + crash.traceback for crash in snapshot.crashes]
        return snapshot.state, texts


@pytest.mark.parametrize("how", ["each", "latest", "latest_timed"])
async def test_error_of_the_function_that_follow_calls_is_raised_by_it(
    autojump_clock: object,  # noqa: ARG001  time is Trio's
    how: str,
) -> None:
    """V22: the error is in no group, and does not end follow silently."""
    wrong: dict[str, BaseException | None] = {}
    for name, make in TELLING.items():
        error = make()
        value = MemoryValue(1)

        async def fail(number: int) -> None:
            await trio.lowlevel.checkpoint()
            failing(error)(number)  # noqa: B023  it is called in this round

        source = value.throttle(0.5) if how == "latest_timed" else value
        caught = await outcome_of(value, partial(follow, source, fail, latest=how != "each"))
        if caught is None or not is_of_user(caught, error):
            wrong[name] = caught
    assert not wrong


async def test_error_of_a_function_in_a_select_has_no_note() -> None:
    """V14: the note says whose the end is, and this is no end of a value."""
    for make in TELLING.values():
        error = make()
        value = MemoryValue(2)
        with pytest.raises(BaseException) as caught:  # noqa: PT011  each of them
            await select(value.map(failing(error)).watch())
        assert is_of_user(caught.value, error)
        assert not getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("error", [AttributeError, TypeError])
async def test_mistake_in_a_function_is_no_wrong_argument_of_select(
    error: type[Exception],
) -> None:
    """V14: it leaves as it is, and the watcher is free."""
    watcher = MemoryValue(2).map(failing(error("of the user"))).watch()
    for _ in range(2):
        with pytest.raises(error, match=r"^of the user$"):
            await select(watcher)


async def test_error_of_a_function_marks_nothing_seen_and_ends_no_backlog() -> None:
    """V6, V10, V17: the next get of the backlog returns what the failed one looked at."""
    for make in TELLING.values():
        error = make()
        value = MemoryValue(2)
        watcher = value.watch()
        function = failing(error)
        with pytest.raises(BaseException) as caught:  # noqa: PT011  each of them
            await watcher.get(
                predicate=lambda number: function(number) > 0,  # noqa: B023  it is asked now
                backlog_only=True,
            )
        assert is_of_user(caught.value, error)
        value.set(3)
        assert await watcher.get(backlog_only=True) == 3
        with pytest.raises(BacklogDone):
            await watcher.get(backlog_only=True)


async def test_error_of_a_function_is_no_end_of_composed_values() -> None:
    """V9, V18: it is raised again and again, and the next state is returned."""
    for make in TELLING.values():
        error = make()
        value, other = MemoryValue(2), MemoryValue(0)
        other.close()
        watcher = compose(value.map(failing(error)), other).watch()
        for _ in range(2):
            with pytest.raises(BaseException) as caught:  # noqa: PT011  each of them
                await watcher.get()
            assert is_of_user(caught.value, error)
        value.set(3)
        assert await watcher.get() == (3, 0)


async def test_error_of_eq_leaves_set_and_changes_nothing() -> None:
    """V1: the value, its version and its waits are as they were."""
    for make in TELLING.values():
        error = make()
        value = MemoryValue(1, eq=lambda _, new: failing(error)(new) < 0)  # noqa: B023  asked now
        for change in (partial(value.set, 2), partial(value.update, lambda _: 2)):
            with pytest.raises(BaseException) as caught:  # noqa: PT011  each of them
                change()
            assert caught.value is error
        assert (value.peek(), value.version) == (1, 1)


@pytest.mark.parametrize("name", [*TELLING, "SystemExit"])
async def test_error_of_eq_at_the_delivery_from_a_thread_is_logged_and_the_value_set(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """V11: whatever it is, it does not end the run, in whose queue nobody could catch it."""
    error = TELLING.get(name, SystemExit)()
    value = MemoryValue(1, eq=lambda _, new: failing(error)(new) < 0)
    value.set_from_thread(2)
    assert await value.wait_for(lambda number: number == 2) == 2
    await wait_all_tasks_blocked()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("trio_event", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_error_of_a_comparison_leaves_replace_all_and_changes_nothing() -> None:
    """V20: the map is as it was."""
    for make in TELLING.values():
        error = make()
        peers: ValueMap[str, Key] = ValueMap({"a": Key(failing(error), 2)})
        with pytest.raises(BaseException) as caught:  # noqa: PT011  each of them
            peers.replace_all({"b": Key(failing(error), 1), "a": Key(failing(error), 1)})
        assert caught.value is error
        assert (list(peers.mapping()), peers.version) == (["a"], 1)


@final
class Hashed:
    """A key whose hash fails when ``error`` is set."""

    error: BaseException | None = None

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and self.number == other.number

    def __hash__(self) -> int:
        if Hashed.error is not None:
            raise Hashed.error
        return self.number


@pytest.mark.parametrize("name", TELLING)
async def test_error_of_a_key_is_no_end_of_a_map(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V6, V20: a watcher looks for keys whose deletes were pruned; then nothing is seen."""
    keys = [Hashed(number) for number in range(3 * DELETES_KEPT)]
    peers: ValueMap[Hashed, int] = ValueMap(dict.fromkeys(keys, 1))
    watcher = peers.watch()
    assert len(await watcher.get()) == len(keys)
    for key in keys[1:]:
        peers.delete(key)
    error = TELLING[name]()
    monkeypatch.setattr(Hashed, "error", error)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  each of them
        await watcher.get()
    assert is_of_user(caught.value, error)
    assert caught.value is not error or name == "UnsetError"
    monkeypatch.undo()
    assert len(await watcher.get()) == len(keys) - 1


async def test_looking_at_an_ended_watcher_in_a_predicate_does_not_end_follow() -> None:
    """V9, V22: the mistake that this is about: a function that gets from another value."""
    lookup = MemoryValue(0)
    lookup.close()
    other = lookup.watch()
    assert other.get_nowait() == 0
    value = MemoryValue(1)
    for source, predicate in (
        (value, lambda number: other.get_nowait() == number),
        (value.map(lambda number: other.get_nowait() == number), None),
    ):
        with pytest.raises(RuntimeError) as caught:
            await follow(source, step, predicate=predicate)
        assert isinstance(caught.value.__cause__, trio.EndOfChannel)


@pytest.mark.parametrize("error", ["gone", OSError, BaseException, None, 1], ids=repr)
async def test_fail_takes_exceptions_only(error: object) -> None:
    """V9: anything else raises TypeError, names it, and leaves the value open."""
    value, peers = MemoryValue(1), ValueMap({"a": 1})
    for failing_value in (value, peers):
        with pytest.raises(TypeError, match=r"(?s)fail\(\).*exception") as caught:
            failing_value.fail(error)  # type: ignore[arg-type]  # what is tested
        assert repr(error) in str(caught.value)
    assert (value.set(2), peers.set("a", 2)) == (2, 2)
    watcher = value.watch()
    assert watcher.get_nowait() == 2
    with pytest.raises(trio.WouldBlock):
        watcher.get_nowait()


async def test_fail_takes_what_is_no_exception_but_a_base_exception() -> None:
    """V9: an interrupt may be what a value has failed of."""
    value = MemoryValue[int]()
    error = KeyboardInterrupt()
    value.fail(error)
    with pytest.raises(trio.BrokenResourceError) as broken:
        await value.watch().get()
    assert broken.value.__cause__ is error


@final
class Answer:
    """What a predicate answers, of which nobody can say whether it is true."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __bool__(self) -> bool:
        raise self.error


@pytest.mark.parametrize("consume", [*WITH_A_PREDICATE, None], ids=repr)
async def test_error_of_what_a_predicate_answers_is_raised_by_its_consumer(
    autojump_clock: object,  # noqa: ARG001  time is Trio's
    consume: Callable[[Source, Predicate], Awaitable[None]] | None,
) -> None:
    """V6, V16, V17, V22: whether an answer is true is asked of the user's code as well."""
    wrong: dict[str, BaseException | None] = {}
    for name, make in TELLING.items():
        error = make()
        value = MemoryValue(1)

        def answer(number: int) -> Any:  # noqa: ANN401  as an array, it is no bool
            return Answer(error) if number == 2 else True  # noqa: B023  it is called in this round

        call: Callable[[], Awaitable[None]] = partial(by_get, value.filter(answer), None)
        if consume is not None:
            call = partial(consume, value, answer)
        caught = await outcome_of(value, call)
        if caught is None or not is_of_user(caught, error):
            wrong[name] = caught
    assert not wrong


async def test_async_answer_is_an_error_and_its_coroutine_is_closed(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """V6: where only the call shows that a predicate is async, it is not taken for true."""

    async def is_one(number: int) -> bool:
        await trio.lowlevel.checkpoint()
        return number == 1

    value = MemoryValue(1)

    def predicate(number: int) -> Any:  # noqa: ANN401  its kind shows nothing
        return is_one(number)

    calls: tuple[Callable[[], Awaitable[int]], ...] = (
        partial(value.watch().get, predicate=predicate),
        partial(value.wait_for, predicate),
        value.filter(predicate).watch().get,
    )
    for call in calls:
        with pytest.raises(TypeError, match="is async"):
            await call()
    gc.collect()
    assert not recwarn.list
