"""A change that fails half-way has changed nothing, and one that succeeds is told (V1, V19, V20).

A key is hashed and compared, a value is compared, ``eq`` is asked, a mapping is read: all of it is
code of the user, and each of its calls may be the one that raises.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import UNSET, MemoryValue, ValueMap, atomic, compose

from ..helpers.calls import Call
from ..helpers.internals import DELETES_KEPT, check_journal, tasks_waiting
from ..helpers.maps import apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_event import Change

T = TypeVar("T")


class FailedError(Exception):
    """What the code of the user raises."""


@final
class Failure:
    """Raises at one of the calls that code of the user gets, once."""

    def __init__(self) -> None:
        self.left = 0

    def arm(self, call: int) -> None:
        """Raise at this call from now on; 0 for none."""
        self.left = call

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise FailedError


@final
class Key:
    """A key whose hash, the same for all, and whose comparisons may fail."""

    def __init__(self, failure: Failure, name: str) -> None:
        self._failure = failure
        self.name = name

    def __hash__(self) -> int:
        self._failure.step()
        return 1

    def __eq__(self, other: object) -> bool:
        self._failure.step()
        return isinstance(other, Key) and self.name == other.name

    def __repr__(self) -> str:
        return self.name


@final
class Data:
    """A value whose comparisons may fail."""

    def __init__(self, failure: Failure, number: int) -> None:
        self._failure = failure
        self.number = number

    def __eq__(self, other: object) -> bool:
        self._failure.step()
        return isinstance(other, Data) and self.number == other.number

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(self.number)


@final
class Source(Mapping[Key, Data]):
    """A mapping each of whose methods may fail."""

    def __init__(self, failure: Failure, items: dict[Key, Data]) -> None:
        self._failure = failure
        self._items = items

    def __getitem__(self, key: Key) -> Data:
        self._failure.step()
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        for key in self._items:
            self._failure.step()
            yield key

    def __len__(self) -> int:
        self._failure.step()
        return len(self._items)


Shown = list[tuple[str, int]]


def shown(mapping: Mapping[Key, Data]) -> Shown:
    return [(key.name, value.number) for key, value in mapping.items()]


def shown_batch(batch: Sequence[Change[Key, Data]]) -> list[tuple[str, str, str]]:
    return [(change.key.name, repr(change.old), repr(change.new)) for change in batch]


@final
class Case:
    """A map with some history, and watchers that have seen some of it."""

    def __init__(self) -> None:
        self.failure = Failure()
        self.peers: ValueMap[Key, Data] = ValueMap(
            {self.key(name): self.data(number) for number, name in enumerate("abcd")}
        )
        self.early = self.peers.watch()
        self.early.get_nowait()
        self.peers.delete(self.key("a"))
        self.peers.set(self.key("b"), self.data(7))
        self.middle = self.peers.watch()
        self.middle.get_nowait()
        self.peers.set(self.key("e"), self.data(8))
        self.peers.delete(self.key("c"))

    def key(self, name: str) -> Key:
        return Key(self.failure, name)

    def data(self, number: int) -> Data:
        return Data(self.failure, number)

    def set_new(self) -> None:
        self.peers.set(self.key("z"), self.data(1))

    def set_old(self) -> None:
        self.peers.set(self.key("b"), self.data(1))

    def set_deleted(self) -> None:
        self.peers.set(self.key("a"), self.data(1))

    def delete(self) -> None:
        self.peers.delete(self.key("d"))

    def replace_all(self) -> None:
        self.peers.replace_all(
            {self.key("a"): self.data(1), self.key("d"): self.data(3), self.key("z"): self.data(2)}
        )

    def replace_all_by_a_source(self) -> None:
        items = {self.key("b"): self.data(7), self.key("d"): self.data(9)}
        self.peers.replace_all(Source(self.failure, items))

    def replace_all_by_nothing(self) -> None:
        self.peers.replace_all({})


CHANGES: Final = (
    Case.set_new,
    Case.set_old,
    Case.set_deleted,
    Case.delete,
    Case.replace_all,
    Case.replace_all_by_a_source,
    Case.replace_all_by_nothing,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_change_of_a_map_that_fails_at_any_call_changes_nothing(
    change: Callable[[Case], None],
) -> None:
    """V20: mapping, version, waits and batches are as if it had not been called."""
    moment, failed = 0, True
    while failed:
        moment += 1
        case, untouched = Case(), Case()
        before, version = shown(case.peers.mapping()), case.peers.version
        async with trio.open_nursery() as nursery:
            waiting = Call(nursery, partial(case.peers.wait_version, version + 1))
            await wait_all_tasks_blocked()
            case.failure.arm(moment)
            try:
                change(case)
            except FailedError:
                pass
            else:
                failed = False
            case.failure.arm(0)
            await wait_all_tasks_blocked()
            assert waiting.ended is not failed
            if not failed:
                break
            assert (shown(case.peers.mapping()), case.peers.version) == (before, version)
            check_journal(case.peers)
            # What comes later is what comes without the failure.
            for each in (case, untouched):
                each.set_new()
                each.delete()
            for ours, others in ((case.early, untouched.early), (case.middle, untouched.middle)):
                assert shown_batch(ours.get_nowait()) == shown_batch(others.get_nowait())
            assert shown(case.peers.mapping()) == shown(untouched.peers.mapping())
            nursery.cancel_scope.cancel()
    assert moment > 1 or change is Case.replace_all_by_nothing  # which asks no key and no value


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_change_of_a_map_in_a_block_that_fails_changes_nothing(
    change: Callable[[Case], None],
) -> None:
    """V18, V20: what was changed before in the block is told at its end."""
    moment, failed = 0, True
    while failed:
        moment += 1
        case = Case()
        version = case.peers.version
        async with trio.open_nursery() as nursery:
            waiting = Call(nursery, partial(case.peers.wait_version, version + 1))
            await wait_all_tasks_blocked()
            with atomic():
                case.set_old()
                before = shown(case.peers.mapping())
                case.failure.arm(moment)
                try:
                    change(case)
                except FailedError:
                    assert (shown(case.peers.mapping()), case.peers.version) == (
                        before,
                        version + 1,
                    )
                else:
                    failed = False
                case.failure.arm(0)
            await waiting.result()


async def test_get_of_a_map_that_fails_at_any_call_takes_nothing() -> None:
    """V6, V20: the next get has the whole batch, with what the watcher knew."""
    for which in ("early", "middle", "fresh"):
        moment, failed = 0, True
        while failed:
            moment += 1
            case, untouched = Case(), Case()
            watchers = [
                each.peers.watch() if which == "fresh" else getattr(each, which)
                for each in (case, untouched)
            ]
            case.failure.arm(moment)
            try:
                watchers[0].get_nowait()
            except FailedError:
                case.failure.arm(0)
                batch = watchers[0].get_nowait()
                assert shown_batch(batch) == shown_batch(watchers[1].get_nowait())
            else:
                failed = False
            case.failure.arm(0)
            for each in (case, untouched):
                each.replace_all()
            if failed:
                batches = [shown_batch(watcher.get_nowait()) for watcher in watchers]
                assert batches[0] == batches[1]


def test_map_that_fails_to_be_made_is_not_made() -> None:
    """V20: the error is the key's."""
    moment, failed = 0, True
    while failed:
        moment += 1
        failure = Failure()
        items = {Key(failure, name): Data(failure, 1) for name in "abc"}
        failure.arm(moment)
        try:
            peers = ValueMap(Source(failure, items))
        except FailedError:
            continue
        failure.arm(0)
        failed = False
        assert shown(peers.mapping()) == [("a", 1), ("b", 1), ("c", 1)]
    assert moment > 1


def test_map_that_its_own_keys_change_stays_consistent() -> None:
    """V19, V20: a key that changes the map when it is compared loses no change."""

    @final
    class Meddler:
        armed = False

        def __hash__(self) -> int:
            return hash("a")

        def __eq__(self, other: object) -> bool:
            if Meddler.armed:
                Meddler.armed = False
                peers.set("b", 2)
            return other == "a"

    peers: ValueMap[object, int] = ValueMap({"a": 1})
    watcher = peers.watch()
    watcher.get_nowait()
    Meddler.armed = True
    version = peers.set(Meddler(), 3)
    assert version == peers.version == 3
    assert peers.mapping() == {"a": 3, "b": 2}
    assert {change.key: change.new for change in watcher.get_nowait()} == {"a": 3, "b": 2}
    check_journal(peers)


def test_map_that_is_changed_while_it_is_replaced_is_what_it_was_replaced_with() -> None:
    """V19, V20: the last call to end wins, with all that it was given, and each version is one."""

    @final
    class Meddler:
        armed = False

        def __eq__(self, other: object) -> bool:
            if Meddler.armed:
                Meddler.armed = False
                peers.set("b", 2)
            return False

        __hash__ = None  # type: ignore[assignment]

    peers: ValueMap[str, object] = ValueMap({"a": Meddler(), "c": 1})
    known: dict[str, object] = {}
    watcher = peers.watch()
    apply(watcher.get_nowait(), known)
    Meddler.armed = True
    new = {"a": 5, "c": 1}
    assert peers.replace_all(new) == peers.version == 3
    assert peers.mapping() == new
    apply(watcher.get_nowait(), known)
    assert known == new


def adding(value: MemoryValue[int], numbers: list[int], then: Callable[[], object]) -> int:
    """Add a number, with something else in the middle of it; record what was added."""
    first = True

    def add(number: int) -> int:
        nonlocal first
        if first:
            first = False
            then()
        return number + 1

    version = value.update(add)
    numbers.append(1)
    return version


async def test_update_in_an_update_loses_nothing() -> None:
    """V19: each update that has returned is in the value, or the outer one raises."""
    value = MemoryValue(0)
    added: list[int] = []

    def add_ten() -> None:
        value.update(lambda number: number + 10)
        added.append(10)

    try:
        adding(value, added, add_ten)
    except RuntimeError as error:
        assert "update()" in str(error)  # noqa: PT017  either is right
    assert 10 in added
    assert value.peek() == sum(added)
    assert value.version == 1 + len(added)


async def test_updates_in_updates_lose_nothing() -> None:
    """V19: however deep, and with every other way to change a value."""
    value, other = MemoryValue(0), MemoryValue(0)
    added: list[int] = []

    def add_by_compare_and_set() -> None:
        assert value.compare_and_set(value.version, value.peek() + 100)
        added.append(100)

    def in_the_middle() -> None:
        adding(value, added, add_by_compare_and_set)
        other.update(lambda number: number + 1)

    try:
        adding(value, added, in_the_middle)
    except RuntimeError as error:
        assert "update()" in str(error)  # noqa: PT017  either is right
    assert value.peek() == sum(added)
    assert value.version == 1 + len(added)


async def test_update_in_the_eq_of_an_update_loses_nothing() -> None:
    """V1, V19: eq is called in the middle of a change as well."""
    added: list[int] = []
    armed = [True]

    def meddle(old: int, new: int) -> bool:
        if armed.pop() if armed else False:
            value.update(lambda number: number + 10)
            added.append(10)
        return old == new

    value = MemoryValue(0, eq=meddle)
    try:
        value.update(lambda number: number + 1)
        added.append(1)
    except RuntimeError as error:
        assert "update()" in str(error)  # noqa: PT017  either is right
    assert value.peek() == sum(added)


async def test_update_in_a_predicate_that_an_update_asks_loses_nothing(
    nursery: trio.Nursery,
) -> None:
    """V16, V19: it comes after the one under way, and builds on it."""
    value = MemoryValue(0)

    def add_ten(number: int) -> bool:
        if number == 1:
            value.update(lambda newest: newest + 10)
        return number == 11

    waiting: Call[object] = Call(nursery, partial(value.wait_for, add_ten))
    await wait_all_tasks_blocked()
    value.update(lambda number: number + 1)
    assert await waiting.result() == 11
    assert (value.peek(), value.version) == (11, 3)


@final
class Answer:
    """What eq may answer: neither true nor false."""

    def __bool__(self) -> bool:
        raise FailedError


def raise_failed(*_: object) -> bool:
    raise FailedError


def answer_badly(*_: object) -> bool:
    return Answer()  # type: ignore[return-value]  # what is tested


@pytest.mark.parametrize("eq", [raise_failed, answer_badly], ids=lambda eq: eq.__name__)
@pytest.mark.parametrize("in_a_block", [False, True], ids=["plain", "in_a_block"])
async def test_eq_that_fails_changes_nothing_and_wakes_no_task(
    nursery: trio.Nursery,
    eq: Callable[[int, int], bool],
    in_a_block: bool,  # noqa: FBT001  a parameter of the test's
) -> None:
    """V1, V18, V19: in set and in update; later sets are told as ever."""
    value, other = MemoryValue(0, eq=eq), MemoryValue(0)
    watcher = compose(value, other).watch()
    assert await watcher.get() == (0, 0)
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    before = value.statistics()

    def change() -> None:
        for each in (partial(value.set, 1), partial(value.update, lambda number: number + 1)):
            with pytest.raises(FailedError):
                each()

    if in_a_block:
        with atomic():
            change()
    else:
        change()
    await wait_all_tasks_blocked()
    assert not get.ended
    assert value.statistics() == before
    assert value.compare_and_set(1, 5)
    assert await get.result() == (5, 0)


async def test_eq_that_fails_in_a_predicate_loses_no_deferred_set(nursery: trio.Nursery) -> None:
    """V1, V19: the sets before and after the one that failed are told."""
    told: list[int] = []

    def fail_for_three(_: int, new: int) -> bool:
        if new == 3:
            raise FailedError
        return False

    value = MemoryValue(0, eq=fail_for_three)

    def change(number: int) -> bool:
        told.append(number)
        if number == 1:
            value.set(2)
            with pytest.raises(FailedError):
                value.set(3)
            value.set(4)
        return number == 4

    waiting: Call[object] = Call(nursery, partial(value.wait_for, change))
    await wait_all_tasks_blocked()
    value.set(1)
    assert await waiting.result() == 4
    assert told == [0, 1, 2, 4]
    assert value.version == 4


async def test_function_of_an_update_that_ends_the_value_changes_nothing_else() -> None:
    """V9, V19: the update is refused, as a set is then."""
    value = MemoryValue(1)

    def close(number: int) -> int:
        value.close()
        return number + 1

    with pytest.raises(trio.ClosedResourceError):
        value.update(close)
    assert (value.peek(), value.version) == (1, 1)


async def test_map_that_fails_has_nobody_waiting_for_it(nursery: trio.Nursery) -> None:
    """V20: a change that failed leaves the tasks waiting, and the next change wakes them."""
    failure = Failure()
    peers: ValueMap[Key, int] = ValueMap({Key(failure, "a"): 1})
    watcher = peers.watch()
    await watcher.get()
    get = Call(nursery, watcher.get)
    await wait_all_tasks_blocked()
    failure.arm(1)
    with pytest.raises(FailedError):
        peers.set(Key(failure, "b"), 1)
    await wait_all_tasks_blocked()
    assert not get.ended
    assert tasks_waiting(peers) == 1
    peers.set(Key(failure, "b"), 2)
    (change,) = await get.result()
    assert (change.key.name, change.new) == ("b", 2)


async def test_eq_that_ends_the_value_changes_nothing_else() -> None:
    """V1, V9: the set is refused, as it is after the end."""

    def close(_: int, __: int) -> bool:
        value.close()
        return False

    value = MemoryValue(1, eq=close)
    with pytest.raises(trio.ClosedResourceError):
        value.set(2)
    assert (value.peek(), value.version) == (1, 1)


def test_set_that_eq_finds_equal_to_what_it_has_replaced_is_made() -> None:
    """V1: the value that it was compared with is not there any more."""

    def meddle(old: int, new: int) -> bool:
        if value.version == 1:
            assert value.compare_and_set(1, 7)
        return old == new

    value = MemoryValue(1, eq=meddle)
    assert value.set(1) == 3
    assert value.peek() == 1


def test_update_that_eq_finds_equal_is_suppressed() -> None:
    """V1, V19: it is no update, and counts as a set."""
    value = MemoryValue(1, eq=operator.eq)
    assert value.update(abs) == 1
    assert value.statistics().suppressed == 1


def test_update_with_no_data_is_refused() -> None:
    """V2, V19: a function that returns UNSET changes nothing."""
    value = MemoryValue(1)
    with pytest.raises(TypeError, match="UNSET"):
        value.update(lambda _: UNSET)  # type: ignore[arg-type, return-value]  # what is tested
    assert value.peek() == 1


@pytest.mark.parametrize("how", ["raises", "changes_the_map"])
def test_keys_that_disturb_the_pruning_of_deletes_lose_nothing(how: str) -> None:
    """V20: the change is made, and a later one prunes."""
    failure = Failure()
    peers: ValueMap[object, int] = ValueMap({})
    keys = [Key(failure, str(number)) for number in range(DELETES_KEPT + 1)]
    for key in keys:
        peers.set(key, 1)
    watcher = peers.watch()
    assert len(watcher.get_nowait()) == len(keys)
    armed = False

    @final
    class Meddler:
        def __hash__(self) -> int:
            nonlocal armed
            if armed:
                armed = False
                if how == "raises":
                    raise FailedError
                peers.set("new", 2)
            return 2

    peers.set(Meddler(), 1)
    for key in keys[:-1]:
        peers.delete(key)
    armed = True
    peers.delete(keys[-1])  # which makes them too many
    assert not armed
    assert len(peers) == 1 + (how == "changes_the_map")
    peers.set("last", 1)
    peers.delete("last")
    check_journal(peers)
    batch = watcher.get_nowait()
    assert {change.key for change in batch if change.new is UNSET} == set(keys)


def test_pruned_key_that_comes_again_is_one_change() -> None:
    """V20: a watcher that knew it before is told what has become of it."""
    peers: ValueMap[int, int] = ValueMap(dict.fromkeys(range(3 * DELETES_KEPT), 1))
    watcher = peers.watch()
    known: dict[int, int] = {}
    apply(watcher.get_nowait(), known)
    for key in range(3 * DELETES_KEPT):
        peers.delete(key)
    peers.set(0, 5)
    batch = watcher.get_nowait()
    assert [change.old for change in batch if change.key == 0] == [1]
    apply(batch, known)
    assert known == peers.mapping() == {0: 5}
    peers.set(0, 6)
    apply(watcher.get_nowait(), known)
    assert known == {0: 6}
