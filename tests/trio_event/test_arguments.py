"""A wrong argument is named at the call, before anything has happened.

The error says which argument it is, what was given, and what to give instead:
``map(): function=None is not callable: pass a function``. A test gives the call, the argument and
the value; the words between are not pinned.
"""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import UNSET, MemoryValue, ValueMap, Watcher, compose, follow, pipe, select
from trio_event._arguments import shown

from .helpers.functions import anything, same
from .helpers.several import waiting
from .helpers.threads import run_to_the_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio_event import ValueWatch

# Any of the library's calls may be given any of these.
NO_FUNCTIONS: Final = (None, True, False, 3, "text", [1])
NO_NUMBERS: Final = (None, "1", [1])


@attrs.frozen
class Wrong:
    """A call with a wrong argument, and what the error has to say of it."""

    call: Callable[[], object]
    said: tuple[str, ...]
    error: type[Exception] | tuple[type[Exception], ...] = TypeError


def check(*cases: Wrong) -> None:
    """Check that each call raises at once, and says what is wrong."""
    for case in cases:
        with pytest.raises(case.error) as caught:
            case.call()
        text = str(caught.value)
        missing = [part for part in case.said if part not in text]
        assert not missing, f"{text!r} does not say {missing}"
        if case.error is not ValueError:
            # Behind the colon is what to do; a range says that itself.
            assert ": " in text, text


def named(name: str, value: object) -> str:
    """Say how the message shows an argument."""
    return f"{name}={value!r}"


def awaited(async_fn: Callable[..., Any], *args: object, **kwargs: object) -> Callable[[], object]:
    """Make a synchronous call of an async one, which has to end without waiting."""

    async def call() -> object:
        with trio.fail_after(60):
            return await async_fn(*args, **kwargs)

    return partial(run_to_the_end, call)


async def step(_: object) -> None:
    await trio.lowlevel.checkpoint()


def sources() -> tuple[ValueWatch[Any], ...]:
    """Make a value of each kind, set and unset: an unset one has nothing to call with."""
    value: MemoryValue[int] = MemoryValue()
    return (
        MemoryValue(1),
        value,
        value.map(same),
        value.throttle(1),
        compose(value, MemoryValue(1)),
        ValueMap[str, int](),
        ValueMap({"a": 1}),
    )


@pytest.mark.parametrize("function", NO_FUNCTIONS, ids=repr)
def test_functions_of_derived_values_are_callable(function: Any) -> None:  # noqa: ANN401
    """V17: ``distinct`` alone may have none."""
    for source in sources():
        check(
            Wrong(partial(source.map, function), ("map()", named("function", function))),
            Wrong(partial(source.filter, function), ("filter()", named("predicate", function))),
        )
        if function is not None:
            check(Wrong(partial(source.distinct, function), ("distinct()", named("key", function))))
    assert MemoryValue(1).distinct(None).peek() == 1


async def asynchronous(number: int) -> int:
    await trio.lowlevel.checkpoint()
    return number


async def asynchronous_generator(number: int) -> AsyncIterator[int]:
    await trio.lowlevel.checkpoint()
    yield number


class AsynchronousCall:
    async def __call__(self, number: int) -> int:
        return await asynchronous(number)


@pytest.mark.parametrize(
    "function",
    [asynchronous, asynchronous_generator, partial(asynchronous), partial(AsynchronousCall())],
    ids=["function", "generator", "partial", "object"],
)
def test_functions_are_not_async(function: Any) -> None:  # noqa: ANN401
    """V6, V15, V16, V17, V19: nothing would await it, and a coroutine counts as true."""
    value = MemoryValue(1)
    send, _ = trio.open_memory_channel[Any](0)
    calls: dict[str, Callable[[], object]] = {
        "map()": partial(value.map, function),
        "filter()": partial(value.filter, function),
        "distinct()": partial(value.distinct, function),
        "wait_for()": awaited(value.wait_for, function),
        "update()": partial(value.update, function),
        "MemoryValue()": partial(MemoryValue, 1, eq=function),
        "follow()": awaited(follow, value, asynchronous, predicate=function),
        "pipe()": partial(pipe, value, send, predicate=function),
    }
    for name, call in calls.items():
        check(Wrong(call, (name, shown(function), "is async")))
    check(Wrong(partial(pipe, value, send, transform=function), ("pipe()", "transform=")))
    with pytest.raises(TypeError, match="is async"):
        awaited(value.throttle(1).watch().get, predicate=function)()
    assert value.peek() == 1


@final
class Unshown:
    """What has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("data", ["x" * 10_000_000, Unshown()], ids=["long", "unshown"])
def test_errors_show_at_most_the_start_of_what_was_given(data: object) -> None:
    """V9, V15: they are what they are, however long the data are, or if they have no repr."""
    value = MemoryValue(data)
    value.close()
    failed: MemoryValue[object] = MemoryValue()
    failed.fail(ValueError(data))
    given: Any = data
    unhashable: ValueMap[Any, Any] = ValueMap()
    for call, error in (
        (partial(value.set, 1), trio.ClosedResourceError),
        (partial(value.fail, OSError()), trio.ClosedResourceError),
        (partial(MemoryValue(data).set, UNSET), TypeError),
        (MemoryValue().map(lambda _: data).peek, LookupError),
        (partial(MemoryValue().map, given), TypeError),
        (partial(MemoryValue().debounce, given), TypeError),
        (partial(MemoryValue().fail, given), TypeError),
        (partial(compose, given), TypeError),
        (awaited(select, data), TypeError),
        (partial(unhashable.apply, given), TypeError),
        (partial(unhashable.set, data, UNSET), TypeError),
        (awaited(failed.watch().get), trio.BrokenResourceError),
    ):
        with pytest.raises(error) as caught:
            call()
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("function", NO_FUNCTIONS, ids=repr)
def test_predicates_are_callable(function: Any) -> None:  # noqa: ANN401
    """V6, V16, V22: of each call that takes one, whether there is a value to ask about or not."""
    for source in sources():
        check(
            Wrong(awaited(source.wait_for, function), ("wait_for()", named("predicate", function)))
        )
        if function is None:
            continue
        for call in (source.watch().get, source.watch().get_update):
            check(
                Wrong(
                    awaited(call, predicate=function),
                    (f"{call.__name__}()", named("predicate", function)),
                )
            )
        check(
            Wrong(
                awaited(source.watch().get, predicate=function, backlog_only=True),
                ("get()", named("predicate", function)),
            ),
            Wrong(
                awaited(follow, source, step, predicate=function),
                ("follow()", named("predicate", function)),
            ),
        )


@pytest.mark.parametrize("function", NO_FUNCTIONS, ids=repr)
def test_function_that_follow_calls_is_callable(function: Any) -> None:  # noqa: ANN401
    """V22: with latest and without, also of an unset value."""
    for source in sources():
        check(
            Wrong(awaited(follow, source, function), ("follow()", named("async_fn", function))),
        )
    check(
        Wrong(
            awaited(follow, MemoryValue[int](), function, latest=True),
            ("follow()", named("async_fn", function)),
        )
    )


@pytest.mark.parametrize("function", NO_FUNCTIONS, ids=repr)
def test_functions_of_a_value_are_callable(function: Any) -> None:  # noqa: ANN401
    """V1, V19: eq may be None."""
    value = MemoryValue(1)
    check(Wrong(partial(value.update, function), ("update()", named("function", function))))
    assert (value.peek(), value.version) == (1, 1)
    if function is not None:
        for initial in ((), (1,)):
            check(
                Wrong(
                    partial(MemoryValue, *initial, eq=function),
                    ("MemoryValue()", named("eq", function)),
                )
            )
    assert MemoryValue(1, eq=None).set(1) == 2
    assert MemoryValue(1, eq=operator.eq).set(1) == 1


@pytest.mark.parametrize("number", NO_NUMBERS, ids=repr)
def test_times_are_numbers(number: Any) -> None:  # noqa: ANN401
    """V16, V17: what is no number is a TypeError, and says for what it was given."""
    for source in sources():
        check(
            Wrong(partial(source.debounce, number), ("debounce()", named("seconds", number))),
            Wrong(partial(source.throttle, number), ("throttle()", named("seconds", number))),
            Wrong(
                awaited(source.wait_for, anything, held_for=number),
                ("wait_for()", named("held_for", number)),
            ),
        )


@pytest.mark.parametrize("number", [-1, -math.inf, math.inf, math.nan])
def test_times_are_finite_numbers_of_at_least_0(number: float) -> None:
    """V16, V17: a number that is out of range is a ValueError."""
    for source in sources():
        check(
            Wrong(
                partial(source.debounce, number), (named("seconds", number), "finite"), ValueError
            ),
            Wrong(
                partial(source.throttle, number), (named("seconds", number), "finite"), ValueError
            ),
            Wrong(
                awaited(source.wait_for, anything, held_for=number),
                (named("held_for", number), "finite"),
                ValueError,
            ),
        )


@pytest.mark.parametrize("version", [math.nan, math.inf, -math.inf, 1.5, "1", None, [1]])
def test_versions_are_whole_numbers(version: Any) -> None:  # noqa: ANN401
    """V15, V19: one that can never come would be waited for without end."""
    for source in sources():
        check(
            Wrong(
                awaited(source.wait_version, version),
                ("wait_version()", named("version", version)),
                (TypeError, ValueError),
            )
        )
    value = MemoryValue(1)
    check(
        Wrong(
            partial(value.compare_and_set, version, 2),
            ("compare_and_set()", named("version", version)),
            (TypeError, ValueError),
        )
    )
    assert (value.peek(), value.version) == (1, 1)


def no_values() -> tuple[object, ...]:
    """Make what is given for a value by mistake."""
    value = MemoryValue(1)
    return (
        10,
        None,
        True,
        "text",
        value.watch(),
        value.map(same).watch(),
        ValueMap({"a": 1}).watch(),
        MemoryValue,
        value.peek,
        {"a": 1},
        trio.open_memory_channel[int](0)[1],
    )


def test_compose_takes_values() -> None:
    """V18: by position or by name, each is named; a watcher is told to be its value."""
    value = MemoryValue(1)
    for wrong in no_values():
        check(
            Wrong(partial(compose, wrong), ("compose()", "0", repr(wrong))),
            Wrong(partial(compose, value, value, wrong), ("compose()", "2", repr(wrong))),
            Wrong(partial(compose, port=wrong), ("compose()", "'port'", repr(wrong))),
            Wrong(partial(compose, host=value, port=wrong), ("compose()", "'port'", repr(wrong))),
        )


def test_compose_of_a_list_says_how_to_unpack_it() -> None:
    """V18: the remedy is a star; for a dictionary two."""
    value = MemoryValue(1)
    for wrong in ([value, value], (value, value), [value.map(same)], {value}):
        check(Wrong(partial(compose, wrong), ("compose()", "0", "*")))
    check(Wrong(partial(compose, {"host": value}), ("compose()", "0", "**")))
    check(Wrong(partial(compose, hosts=[value, value]), ("compose()", "'hosts'")))


def no_watchers() -> tuple[object, ...]:
    """Make what is given for a watcher by mistake."""
    value = MemoryValue(1)
    return (
        10,
        None,
        "text",
        value,
        value.map(same),
        compose(value, value),
        ValueMap({"a": 1}),
        value.watch,
        Watcher,
        trio.open_memory_channel[int](0)[1],
    )


def test_select_takes_watchers() -> None:
    """V14: by position or by name; the other watchers are free, and nothing is taken."""
    value = MemoryValue(1)
    for wrong in no_watchers():
        watcher = value.watch()
        check(
            Wrong(awaited(select, wrong), ("select()", "0", repr(wrong))),
            Wrong(awaited(select, watcher, wrong), ("select()", "1", repr(wrong))),
            Wrong(awaited(select, hosts=wrong), ("select()", "'hosts'", repr(wrong))),
            Wrong(
                awaited(select, lease=watcher, hosts=wrong), ("select()", "'hosts'", repr(wrong))
            ),
        )
        assert watcher.get_nowait() == 1
    assert waiting([value]) == 0


def test_select_of_a_value_says_to_watch_it() -> None:
    """V14: the commonest mistake has the remedy that fits it."""
    for source in sources():
        check(Wrong(awaited(select, source), ("select()", "0", "watch()")))


def test_select_of_a_list_says_how_to_unpack_it() -> None:
    """V14: the remedy is a star; for a dictionary two."""
    value = MemoryValue(1)
    for wrong in ([value.watch(), value.watch()], (value.watch(),), {value.watch()}):
        check(Wrong(awaited(select, wrong), ("select()", "0", "*")))
    check(Wrong(awaited(select, {"hosts": value.watch()}), ("select()", "0", "**")))


def test_follow_takes_a_value() -> None:
    """V22: also with latest; a watcher is told to be its value."""
    for wrong in no_values():
        for latest in (False, True):
            check(
                Wrong(
                    awaited(follow, wrong, step, latest=latest),
                    ("follow()", named("value", wrong)),
                )
            )


def test_pipe_takes_a_value_and_a_channel_to_send_to() -> None:
    """V13: it is found out when the runnable is made, and not in each incarnation."""
    value = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)
    for wrong in no_values():
        check(Wrong(partial(pipe, wrong, send), ("pipe()", named("value", wrong))))
    for wrong_channel in (None, 1, receive, (send, receive), value, value.watch(), send.send):
        check(
            Wrong(
                partial(pipe, value, wrong_channel),
                ("pipe()", named("send_channel", wrong_channel)),
            )
        )


@pytest.mark.parametrize("function", NO_FUNCTIONS[1:], ids=repr)
def test_options_of_a_pipe_are_callable(function: Any) -> None:  # noqa: ANN401
    """V13: None is none."""
    send, _ = trio.open_memory_channel[int](0)
    value = MemoryValue(1)
    check(
        Wrong(
            partial(pipe, value, send, predicate=function),
            ("pipe()", named("predicate", function)),
        ),
        Wrong(
            partial(pipe, value, send, transform=function),
            ("pipe()", named("transform", function)),
        ),
    )
    pipe(value, send, predicate=None, transform=None)


@pytest.mark.parametrize("mapping", [5, True, "text", object, [1, 2]], ids=repr)
def test_maps_take_mappings(mapping: Any) -> None:  # noqa: ANN401
    """V20: the map that is to be replaced is as it was."""
    peers = ValueMap({"a": 1})
    check(
        Wrong(partial(ValueMap, mapping), ("ValueMap()", named("initial", mapping))),
        Wrong(partial(peers.replace_all, mapping), ("replace_all()", named("mapping", mapping))),
    )
    assert (peers.mapping(), peers.version) == ({"a": 1}, 1)


@pytest.mark.parametrize("mapping", [None, [("a", 1)]], ids=repr)
def test_replace_all_needs_a_mapping(mapping: Any) -> None:  # noqa: ANN401
    """V20: the map is as it was."""
    peers = ValueMap({"a": 1})
    check(Wrong(partial(peers.replace_all, mapping), ("replace_all()", named("mapping", mapping))))
    assert (peers.mapping(), peers.version) == ({"a": 1}, 1)


@pytest.mark.parametrize("token", [5, "token", object()], ids=["number", "text", "object"])
def test_trio_token_is_a_token(token: Any) -> None:  # noqa: ANN401
    """V11: nothing is set, and nothing is on its way."""
    value = MemoryValue(1)

    async def main() -> None:
        value.watch()
        check(
            Wrong(
                partial(value.set_from_thread, 2, trio_token=token),
                ("set_from_thread()", named("trio_token", token)),
            )
        )
        await wait_all_tasks_blocked()
        assert value.peek() == 1

    run_to_the_end(main)


async def test_watcher_is_free_after_a_wrong_argument() -> None:
    """V7: it is neither busy nor has it seen anything."""
    value = MemoryValue(1)
    watcher = value.watch()
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        partial(watcher.get, predicate=True),
        partial(watcher.get_update, predicate=3),  # type: ignore[arg-type]
        partial(select, watcher, value),
    )
    for call in calls:
        with pytest.raises(TypeError):
            await call()
    assert await watcher.get() == 1
    assert value.statistics().tasks_waiting == 0


async def test_wrong_argument_in_a_cancelled_scope_is_a_wrong_argument() -> None:
    """V5: it is found out before the checkpoint."""
    value = MemoryValue(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            partial(value.watch().get, predicate=True),
            partial(value.wait_for, None),
            partial(value.wait_version, math.nan),  # type: ignore[arg-type]
            partial(select, value),
            partial(follow, value, None),  # type: ignore[arg-type]
        )
        for call in calls:
            with pytest.raises((TypeError, ValueError)):
                await call()
    assert not scope.cancelled_caught


def test_right_arguments_of_every_kind_are_taken() -> None:
    """V15, V17, V19: whatever can be called is a function; a bool is a number in Python."""

    class Function:
        def __call__(self, number: int) -> int:
            return number

    value = MemoryValue(1)
    for function in (Function(), abs, partial(operator.add, 0), int, operator.neg):
        value.map(function)
        value.filter(function)  # type: ignore[arg-type]  # any answer is true or false
        value.distinct(function)
        value.update(function)
    value.debounce(True)  # noqa: FBT003  a bool is a number in Python
    value.throttle(0)

    async def main() -> None:
        assert await value.wait_version(True) == value.peek()  # noqa: FBT003
        assert await value.wait_version(0) == value.peek()
        assert await value.wait_version(-1) == value.peek()

    run_to_the_end(main)
