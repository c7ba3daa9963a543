"""How the types of ``trio_event`` look from outside: for type checkers, never run.

Lines that must be refused carry a ``type: ignore`` with the reason that the checker gives;
an ignore that is not needed is itself an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeGuard, assert_type

import trio
from typing_extensions import TypeIs

import supervisor
from trio_event import (
    ABSENT,
    UNSET,
    Absent,
    BacklogDone,
    Change,
    Composition,
    MemoryValue,
    Statistics,
    Unset,
    Update,
    Value,
    ValueMap,
    ValueWatch,
    View,
    Watcher,
    atomic,
    compose,
    follow,
    pipe,
    select,
)


class Lease: ...


class StaticLease(Lease): ...


def is_big(number: int) -> bool:
    return number > 10


def is_long(text: str) -> bool:
    return len(text) > 10


def compare_case_blind(old: str, new: str) -> bool:
    return old.lower() == new.lower()


def are_equal(old: int, new: int) -> bool:
    return old == new


def spell(number: int) -> str:
    return f"{number:x}"


async def write(number: int) -> None: ...


async def write_text(text: str) -> None: ...


def write_at_once(number: int) -> None: ...


def making() -> None:
    """What a value holds is told by its first data, or said."""
    assert_type(MemoryValue(3), MemoryValue[int])
    assert_type(MemoryValue[int](), MemoryValue[int])
    assert_type(MemoryValue[int](UNSET), MemoryValue[int])
    assert_type(MemoryValue[int | None](None), MemoryValue[int | None])
    said: MemoryValue[Lease] = MemoryValue()
    wider: MemoryValue[Lease] = MemoryValue(StaticLease())
    assert_type(said, MemoryValue[Lease])
    assert_type(wider, MemoryValue[Lease])
    assert_type(MemoryValue("a", eq=compare_case_blind), MemoryValue[str])
    MemoryValue(3, eq=compare_case_blind)  # type: ignore[arg-type]
    MemoryValue[int]("three")  # type: ignore[arg-type]
    MemoryValue(3, are_equal)  # type: ignore[call-arg]
    assert_type(UNSET, Literal[Unset.UNSET])


def setting(value: MemoryValue[Lease], token: trio.lowlevel.TrioToken) -> None:
    """What is set has to be of the value's type, or of one below."""
    assert_type(value.set(Lease()), int)
    value.set(StaticLease())
    value.set(None)  # type: ignore[arg-type]
    value.set_from_thread(StaticLease())
    value.set_from_thread(Lease(), trio_token=token)
    value.set_from_thread(3)  # type: ignore[arg-type]
    value.fail(OSError())
    value.fail("gone")  # type: ignore[arg-type]
    value.close()


async def watching(value: MemoryValue[int]) -> None:
    """A watcher returns what the value holds, by whatever method."""
    assert_type(value.watch(), Watcher[int])
    with value.watch() as watcher:
        assert_type(watcher, Watcher[int])
        assert_type(await watcher.get(), int)
        assert_type(await watcher.get(predicate=is_big), int)
        assert_type(await watcher.get(backlog_only=True), int)
        assert_type(await watcher.receive(), int)
        assert_type(watcher.get_nowait(), int)
        async for number in watcher:
            assert_type(number, int)
        await watcher.get(predicate=is_long)  # type: ignore[arg-type]
        await watcher.get(is_big)  # type: ignore[call-overload]
    async with value.watch() as closed_asynchronously:
        # What trio.abc.AsyncResource says of itself.
        assert_type(await closed_asynchronously.receive(), int)


async def consuming(channel: trio.abc.ReceiveChannel[int]) -> int:
    """Take from any channel."""
    return await channel.receive()


async def channels(value: MemoryValue[int]) -> None:
    """A watcher is a channel to code that wants one."""
    channel: trio.abc.ReceiveChannel[int] = value.watch()
    assert_type(await consuming(channel), int)
    assert_type(await consuming(value.watch()), int)


async def reading(numbers: ValueWatch[int], watcher: Watcher[int]) -> int:
    """Read integers."""
    return await watcher.get() + await numbers.watch().get()


async def reading_is_covariant(flag: MemoryValue[bool], text: MemoryValue[str]) -> None:
    """Code that reads integers may be given booleans, which are integers."""
    await reading(flag, flag.watch())
    await reading(text, flag.watch())  # type: ignore[arg-type]
    await reading(flag, text.watch())  # type: ignore[arg-type]


async def reading_flags(flags: ValueWatch[bool]) -> None:
    """Read booleans, and set nothing."""
    assert_type(await flags.watch().get(), bool)
    flags.set(True)  # type: ignore[attr-defined]


def writing(numbers: Value[int]) -> None:
    """Set an integer."""
    numbers.set(3)


async def writing_is_invariant(flag: MemoryValue[bool], number: MemoryValue[int]) -> None:
    """Code that sets integers can't be given a value for booleans, nor read those of integers."""
    writing(number)
    writing(flag)  # type: ignore[arg-type]
    await reading_flags(flag)
    await reading_flags(number)  # type: ignore[arg-type]


async def selecting(
    first: Watcher[int], second: Watcher[int], text: Watcher[str], flag: Watcher[bool]
) -> None:
    """What tells the watchers apart is an index or a name; the value is of any of their types."""
    assert_type(await select(first, second), tuple[int, int])
    assert_type(await select(hosts=first, lease=second), tuple[str, int])
    wider: tuple[int, int] = await select(first, flag)
    assert_type(wider[0], int)
    mixed: tuple[int, int | str] = await select(first, text)
    named: tuple[str, int | str] = await select(hosts=first, lease=text)
    assert_type(mixed[1], int | str)
    assert_type(named[1], int | str)
    await select(first, lease=second)  # type: ignore[call-overload]
    await select(MemoryValue(3))  # type: ignore[call-overload]


async def following(
    value: MemoryValue[int], watch: ValueWatch[bool], nursery: trio.Nursery
) -> None:
    """The function and the predicate take what the value holds."""
    assert_type(await follow(value, write), None)
    await follow(watch, write, predicate=is_big, latest=True)
    nursery.start_soon(follow, value, write)
    nursery.start_soon(partial(follow, value, write, latest=True))
    await follow(value, write_text)  # type: ignore[arg-type]
    await follow(value, write_at_once)  # type: ignore[arg-type]
    await follow(value, write, predicate=is_long)  # type: ignore[arg-type]
    await follow(value, write, is_big)  # type: ignore[call-arg]


def piping(
    value: MemoryValue[int],
    flag: ValueWatch[bool],
    numbers: trio.MemorySendChannel[int],
    texts: trio.MemorySendChannel[str],
) -> None:
    """A pipe fits its channel, by itself or by its transform, and is a runnable."""
    assert_type(pipe(value, numbers), Callable[[], Awaitable[None]])
    assert_type(pipe(value, numbers, predicate=is_big), Callable[[], Awaitable[None]])
    assert_type(pipe(value, texts, transform=str), Callable[[], Awaitable[None]])
    pipe(flag, numbers)
    pipe(value, texts, predicate=is_big, transform=spell)
    pipe(value, texts, transform=lambda number: spell(number + 1))
    supervisor.run("pipe", pipe(value, numbers))
    supervisor.run_group({"pipe": pipe(value, numbers)})
    pipe(value, texts)  # type: ignore[misc]
    pipe(value, numbers, transform=spell)  # type: ignore[arg-type]
    pipe(value, numbers, predicate=is_long)  # type: ignore[arg-type]


class Constant(ValueWatch[str]):
    """A read side that a user made needs nothing but ``watch``."""

    def watch(self) -> Watcher[str]:
        return MemoryValue("always").watch()


async def own_read_side(texts: trio.MemorySendChannel[str]) -> None:
    """It goes wherever a value is only read."""
    pipe(Constant(), texts)
    await follow(Constant(), write_text)
    assert_type(await Constant().watch().get(), str)
    ValueWatch[str]()  # type: ignore[abstract]


async def reading_a_backlog(watcher: Watcher[int]) -> list[int]:
    """The answer that there is no more is an exception without arguments."""
    backlog = []
    try:
        while True:
            backlog.append(await watcher.get(backlog_only=True))
    except BacklogDone:
        return backlog


async def looking(value: ValueWatch[int], watcher: Watcher[int]) -> None:
    """What is returned beside the value, and what stands for it where there is none."""
    assert_type(value.peek(), int)
    assert_type(value.peek(None), int | None)
    assert_type(value.peek(UNSET), int | Unset)
    assert_type(value.version, int)
    assert_type(watcher.changed, bool)
    assert_type(watcher.lag, int)
    update = await watcher.get_update(predicate=is_big)
    assert_type(update, Update[int])
    assert_type(update.value, int)
    assert_type(update.previous, int | Unset)
    assert_type(update.missed, int)
    assert_type(await value.wait_version(3), int)
    assert_type(await value.wait_for(is_big), int)
    assert_type(await value.wait_for(is_big, held_for=1), int)
    await value.wait_for(is_long)  # type: ignore[arg-type]
    await value.wait_for(is_big, 1)  # type: ignore[call-overload]
    update.value = 3  # type: ignore[misc]


def is_static(lease: Lease) -> TypeGuard[StaticLease]:
    return isinstance(lease, StaticLease)


def deriving(value: MemoryValue[int], lease: ValueWatch[Lease]) -> None:
    """Each stage takes what the one before it gives."""
    assert_type(value.map(str), ValueWatch[str])
    assert_type(value.map(str).distinct(), ValueWatch[str])
    assert_type(value.map(spell).distinct(len).filter(is_long), ValueWatch[str])
    assert_type(value.filter(is_big).debounce(1).throttle(0.5), ValueWatch[int])
    assert_type(lease.filter(is_static), ValueWatch[StaticLease])
    assert_type(value.map(str).watch(), Watcher[str])
    value.map(is_long)  # type: ignore[arg-type]
    value.map(str).filter(is_big)  # type: ignore[arg-type]
    value.distinct(is_long)  # type: ignore[arg-type]
    value.debounce("1")  # type: ignore[arg-type]
    value.map(str).set("1")  # type: ignore[attr-defined]


async def composing(
    number: ValueWatch[int], text: MemoryValue[str], flag: ValueWatch[bool]
) -> None:
    """By position each part has its type, by name all have one in common."""
    assert_type(compose(number), ValueWatch[tuple[int]])
    assert_type(compose(number, text), ValueWatch[tuple[int, str]])
    assert_type(compose(number, text, flag), ValueWatch[tuple[int, str, bool]])
    assert_type(compose(number, text, flag, text.map(len)), ValueWatch[tuple[int, str, bool, int]])
    assert_type(
        compose(number, text, number, text, number, text),
        ValueWatch[tuple[int, str, int, str, int, str]],
    )
    seven = compose(number, number, number, number, number, number, number)
    assert_type(seven, ValueWatch[tuple[int, ...]])
    assert_type(compose(a=number, b=number), ValueWatch[Composition[int]])
    snapshot = await compose(a=number, b=number).watch().get()
    assert_type(snapshot.a, Any)
    assert_type(snapshot["b"], int)
    mixed: ValueWatch[Composition[int | str]] = compose(a=number, b=text)
    assert_type((await mixed.watch().get())["a"], int | str)
    host: str = compose(host=text, port=number).peek().host
    assert_type(host, str)
    nested: ValueWatch[tuple[tuple[int, str], bool]] = compose(compose(number, text), flag)
    assert_type(nested.map(lambda parts: parts[0][1]), ValueWatch[str])
    compose(number, b=text)  # type: ignore[call-overload]
    compose(3, number)  # type: ignore[call-overload]
    with atomic():
        text.set("a")


def is_number(data: int | None) -> TypeIs[int]:
    return data is not None


def guards_number(data: int | None) -> TypeGuard[int]:
    return data is not None


async def narrowing(value: MemoryValue[int | None]) -> None:
    """What a type guard accepts is of the type that it guards, of either kind of guard."""
    watcher = value.watch()
    assert_type(value.filter(is_number), ValueWatch[int])
    assert_type(value.filter(guards_number), ValueWatch[int])
    assert_type(await value.wait_for(is_number), int)
    assert_type(await value.wait_for(guards_number, held_for=1), int)
    assert_type(await watcher.get(predicate=is_number), int)
    assert_type(await watcher.get(predicate=guards_number, backlog_only=True), int)
    assert_type(await watcher.get(), int | None)


async def selecting_different(
    number: Watcher[int], text: Watcher[str], flag: Watcher[None]
) -> None:
    """What a select of watchers of different types returns is of one of these."""
    assert_type(await select(number, text), tuple[int, int | str])
    _, found = await select(number, text, flag)
    assert_type(found, int | str | None)


def absent(peers: ValueMap[str, Lease], state: Lease | Absent) -> None:
    """An item may be absent, and what is present is not."""
    assert_type(peers.item("a"), ValueWatch[Lease | Absent])
    assert_type(peers.item("a").present(), ValueWatch[Lease])
    assert_type(View(peers.item("a")).distinct().present(), ValueWatch[Lease])
    assert_type(compose(peers.item("a"), peers.item("b").present()).peek()[1], Lease)
    assert_type(ABSENT, Literal[Absent.ABSENT])
    if state is ABSENT:
        assert_type(state, Literal[Absent.ABSENT])
    else:
        assert_type(state, Lease)
    peers.item(1)  # type: ignore[arg-type]


def viewing(number: MemoryValue[bool], peers: ValueMap[str, int]) -> None:
    """A view has the type of what it shows, and sets nothing."""
    assert_type(View(number), View[bool])
    assert_type(View(peers).watch(), Watcher[Sequence[Change[str, int]]])
    wider: list[ValueWatch[int]] = [View(number)]
    assert_type(wider[0].peek(), int)
    View(number).set(True)  # type: ignore[attr-defined]
    View(3)  # type: ignore[arg-type]


def changing(value: MemoryValue[int]) -> None:
    """What is made of a value has to be one as well."""
    assert_type(value.update(abs), int)
    assert_type(value.compare_and_set(1, 2), bool)
    assert_type(value.statistics(), Statistics)
    value.update(spell)  # type: ignore[arg-type]
    value.compare_and_set(1, "2")  # type: ignore[arg-type]


async def keyed(peers: ValueMap[str, Lease]) -> None:
    """A map takes keys and values of its types, and gives batches of their changes."""
    assert_type(ValueMap({"a": 1}), ValueMap[str, int])
    assert_type(peers.set("a", StaticLease()), int)
    assert_type(peers.delete("a"), int)
    assert_type(peers.replace_all({"a": Lease()}), int)
    assert_type(dict(peers.mapping()), dict[str, Lease])
    assert_type(peers.watch(), Watcher[Sequence[Change[str, Lease]]])
    for change in await peers.watch().get():
        assert_type(change.key, str)
        assert_type(change.old, Lease | Unset)
        if change.new is not UNSET:
            assert_type(change.new, Lease)
    watch: ValueWatch[Sequence[Change[str, Lease]]] = peers
    assert_type(watch.map(len), ValueWatch[int])
    assert_type(peers["a"], Lease)
    assert_type(peers.get("a"), Lease | None)
    assert_type(list(peers.items()), list[tuple[str, Lease]])
    assert_type(peers.apply({"a": Lease(), "b": UNSET}), int)
    peers.apply({"a": 1})  # type: ignore[dict-item]
    peers.set(1, Lease())  # type: ignore[arg-type]
    peers.set("a", 1)  # type: ignore[arg-type]
    peers.replace_all({"a": 1})  # type: ignore[dict-item]


def anything(parts: Any) -> Any:  # noqa: ANN401  it is what is tested
    return parts


def untyped(value: ValueWatch[int]) -> None:
    """Who says nothing of types is left alone."""
    assert_type(value.map(anything), ValueWatch[Any])
