"""What is known of a range after each message, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from hypothesis import given, strategies as st

from trio_event.etcd import KeyValue
from trio_event.etcd._watching._reflection import Reflection
from trio_event.etcd._wire._messages import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Mapping


@final
class Log:
    """A target that keeps what it gets."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, dict[str, str | None]]] = []
        self.state: dict[str, str] = {}

    def apply(self, revision: int, changes: Mapping[bytes, KeyValue | None]) -> None:
        step = {
            key.decode(): None if item is None else item.value.decode()
            for key, item in changes.items()
        }
        self.steps.append((revision, step))
        for key, value in step.items():
            if value is None:
                del self.state[key]
            else:
                self.state[key] = value

    def finish(self, error: BaseException | None) -> None:
        raise AssertionError(error)


def put(revision: int, key: str, value: str = "") -> Any:  # noqa: ANN401  a message
    return MESSAGES["Event"](
        type=0, kv={"key": key.encode(), "value": value.encode(), "mod_revision": revision}
    )


def delete(revision: int, key: str) -> Any:  # noqa: ANN401  a message
    return MESSAGES["Event"](type=1, kv={"key": key.encode(), "mod_revision": revision})


def item(key: str, revision: int, value: str = "") -> KeyValue:
    return KeyValue(key.encode(), value.encode(), revision, revision)


def made(*items: KeyValue, revision: int = 10) -> tuple[Reflection, Log]:
    """Make a reflection that was read."""
    log = Log()
    reflection = Reflection(log)
    reflection.take_read(revision, items)
    return reflection, log


def test_a_read_is_one_step_and_the_place_to_resume_from() -> None:
    """E1: what comes next begins at the revision after it."""
    reflection, log = made(item("a", 3, "1"), item("b", 7, "2"))
    assert log.steps == [(10, {"a": "1", "b": "2"})]
    assert reflection.next_revision == 11
    assert [reflection.mod_revision(key) for key in (b"a", b"b", b"c")] == [3, 7, 0]


def test_each_revision_is_a_step() -> None:
    """E2: events of one revision are together, and those of several apart."""
    reflection, log = made()
    reflection.take_events(
        [put(11, "a", "1"), put(11, "b", "1"), put(12, "a", "2"), delete(13, "b")],
        is_fragment=False,
    )
    assert log.steps[1:] == [(11, {"a": "1", "b": "1"}), (12, {"a": "2"}), (13, {"b": None})]
    assert reflection.next_revision == 14


def test_a_revision_in_three_fragments_is_one_step() -> None:
    """E2: and the revisions before it are not kept waiting."""
    reflection, log = made()
    reflection.take_events([put(11, "a"), put(12, "a", "2")], is_fragment=True)
    assert log.steps[1:] == [(11, {"a": ""})]
    reflection.take_events([put(12, "b", "2")], is_fragment=True)
    assert reflection.next_revision == 12
    reflection.take_events([put(12, "c", "2"), put(13, "c", "3")], is_fragment=False)
    assert log.steps[2:] == [(12, {"a": "2", "b": "2", "c": "2"}), (13, {"c": "3"})]


def test_a_stream_that_is_cut_between_fragments_tells_the_revision_again() -> None:
    """E2: the part that had come does no harm, and nothing is applied by half."""
    reflection, log = made()
    reflection.take_events([put(11, "a", "1"), put(11, "b", "1")], is_fragment=True)
    reflection.restart()
    assert reflection.next_revision == 11
    assert log.steps[1:] == []
    reflection.take_events([put(11, key, "1") for key in "abc"], is_fragment=False)
    assert log.steps[1:] == [(11, {"a": "1", "b": "1", "c": "1"})]


def test_what_was_applied_is_dropped_when_it_is_told_again() -> None:
    """E2: nothing comes twice, and nothing goes back (etcd-io/etcd#15271)."""
    reflection, log = made(item("a", 9, "9"))
    reflection.take_events([put(9, "a", "9"), put(10, "b")], is_fragment=False)
    reflection.take_events([put(8, "a", "8"), put(11, "a", "11")], is_fragment=False)
    assert log.steps[1:] == [(11, {"a": "11"})]


def test_after_a_gap_exactly_the_difference_is_applied() -> None:
    """E3: added, changed, deleted, and deleted and put again; nothing unchanged; in one step."""
    reflection, log = made(*(item(key, 5, "old") for key in ("changed", "same", "gone", "again")))
    reflection.forget_place()
    assert reflection.next_revision == 0
    reflection.take_read(
        30,
        [
            item("changed", 21, "new"),
            item("same", 5, "old"),
            item("again", 22, "old"),
            item("new", 23),
        ],
    )
    assert log.steps[1:] == [(30, {"changed": "new", "again": "old", "new": "", "gone": None})]


def test_where_revisions_mean_nothing_every_key_counts_as_changed() -> None:
    """E3: the same revision may be of another value."""
    reflection, log = made(item("a", 5, "old"), item("b", 6))
    reflection.forget_all()
    reflection.take_read(7, [item("a", 5, "other")])
    assert log.steps[1:] == [(7, {"a": "other", "b": None})]
    assert reflection.next_revision == 8


def test_a_read_that_finds_nothing_new_is_known() -> None:
    """E1: keys and their revisions are compared."""
    reflection, _ = made(item("a", 5), item("b", 6))
    assert reflection.is_unchanged([item("a", 5), item("b", 6)])
    assert not reflection.is_unchanged([item("a", 5)])
    assert not reflection.is_unchanged([item("a", 5), item("b", 7)])


@given(
    revisions=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.booleans(), min_size=1), max_size=12
    ),
    cuts=st.lists(st.integers(1, 4), max_size=30),
    breaks=st.sets(st.integers(0, 30)),
)
def test_however_a_history_is_cut_it_is_applied_once_and_in_order(
    revisions: list[dict[str, bool]], cuts: list[int], breaks: set[int]
) -> None:
    """E2: fragments of any size, and connections lost after any of them."""
    history: list[Any] = []
    expected: list[tuple[int, dict[str, str | None]]] = []
    present: set[str] = set()
    for revision, changes in enumerate(revisions, 11):
        step: dict[str, str | None] = {}
        for key, is_put in changes.items():
            if is_put:
                history.append(put(revision, key, str(revision)))
                step[key] = str(revision)
                present.add(key)
            elif key in present:
                history.append(delete(revision, key))
                step[key] = None
                present.discard(key)
        if step:
            expected.append((revision, step))
    reflection, log = made()
    number = 0
    position = 0
    while position < len(history):
        size = cuts[number] if number < len(cuts) else len(history)
        part = history[position : position + size]
        position += len(part)
        reflection.take_events(part, is_fragment=position < len(history))
        if number in breaks and position < len(history):
            reflection.restart()
            position = next(
                i
                for i, event in enumerate(history)
                if event.kv.mod_revision >= reflection.next_revision
            )
            breaks = breaks - {number}
        number += 1
    assert log.steps[1:] == expected
