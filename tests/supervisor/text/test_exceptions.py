"""The text of a death: what Python's own traceback says, and groups of one read as one (S14)."""

from __future__ import annotations

import gc
import random
import traceback
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, RestartLimit, Signal
from supervisor._text import _exceptions, _frames
from supervisor._text._crash import split_fatal
from supervisor._text._exceptions import drop_tracebacks, format_error, one_line
from supervisor.testing import open_harness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

AT_ONCE = Backoff(initial=0.0)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    for memory in (_exceptions._texts, _frames._known):
        memory.clear()
    yield
    for memory in (_exceptions._texts, _frames._known):
        memory.clear()


def caught(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001  whatever it is
        return error
    raise AssertionError(function)


def fail(error: BaseException) -> NoReturn:
    raise error


def leave(error: BaseException) -> NoReturn:
    raise error


# As Python's own


class Thing:
    """Has a name that is like another."""

    colour = 1


def divide() -> object:
    return 1 + (2 / (3 - 3)) + 4


def subscript() -> object:
    table: dict[str, dict[str, int]] = {"a": {}}
    return [table["a"]["b"] for _ in range(1)]


def call_over_lines() -> object:
    return fail(
        OSError(
            "of several",
            "lines",
        )
    )


def misspell_attribute() -> object:
    return Thing().color  # type: ignore[attr-defined]  # that is the point


def misspell_name() -> object:
    colour = 1
    return color + colour  # type: ignore[name-defined]  # noqa: F821  # that is the point


def misspell_import() -> None:
    from collections import ordereddict  # type: ignore[attr-defined]  # noqa: F401, PLC0415  # as above


def cause() -> None:
    try:
        divide()
    except ZeroDivisionError as error:
        raise OSError("because") from error


def context() -> None:
    try:
        cause()
    except OSError:
        fail(ValueError("in a handler"))


def no_context() -> None:
    try:
        cause()
    except OSError:
        raise ValueError("nothing else") from None


def circle() -> None:
    error = caught(divide)
    other = caught(subscript)
    error.__cause__, other.__cause__ = other, error
    raise error


def notes() -> None:
    error = ValueError("noted")
    error.add_note("one\ntwo")
    error.add_note("")
    raise error


def odd_notes() -> None:
    error = ValueError("noted")
    vars(error)["__notes__"] = 5
    raise error


def syntax() -> None:
    compile("x = (1,\ny = = 2\n", "config", "exec")


def indentation() -> None:
    compile("if x:\npass\n", "config", "exec")


def bare_syntax() -> None:
    raise SyntaxError("by hand")


def recurse(depth: int = 0) -> int:
    return recurse(depth + 1) + 1


def recurse_a_little(depth: int = 3) -> int:
    return recurse_a_little(depth - 1) if depth else fail(OSError("deep"))


def group() -> None:
    raise BaseExceptionGroup("several", [caught(divide), caught(cause), ValueError("no frames")])


def nested_group() -> None:
    inner, reason = [caught(group), OSError("x"), caught(group)], caught(context)
    raise BaseExceptionGroup("outer", inner) from reason


def group_in_a_handler() -> None:
    members = [caught(divide), caught(subscript)]
    try:
        divide()
    except ZeroDivisionError:
        raise BaseExceptionGroup("in a handler", members)  # noqa: B904  that is the point


def group_of_fifteen() -> None:
    raise ExceptionGroup("many", [OSError(number) for number in range(15)])


def cause_is_a_group() -> None:
    try:
        group()
    except ExceptionGroup as error:
        raise OSError("of them") from error


def evaluate() -> object:
    return eval("1 / 0", {})  # noqa: S307  a frame without source


class LocalError(Exception):
    """One with a qualified name."""

    class InnerError(Exception):
        """Another."""


CASES: list[Callable[[], object]] = [
    divide,
    subscript,
    call_over_lines,
    misspell_attribute,
    misspell_name,
    misspell_import,
    cause,
    context,
    no_context,
    circle,
    notes,
    odd_notes,
    syntax,
    indentation,
    bare_syntax,
    recurse,
    recurse_a_little,
    group,
    nested_group,
    group_in_a_handler,
    group_of_fifteen,
    cause_is_a_group,
    evaluate,
    partial(fail, KeyError("a\nb")),
    partial(fail, LocalError.InnerError()),
    partial(fail, ValueError("two\nlines")),
    lambda: (None, fail(OSError("from a lambda"))),
]


@pytest.mark.parametrize("case", CASES)
def test_the_text_is_that_of_the_traceback_module(case: Callable[[], object]) -> None:
    """S14: with its marks, notes, causes, groups and hints, at first and when frames are known."""
    error = caught(case)
    expected = "".join(traceback.TracebackException.from_exception(error).format()).rstrip()
    assert format_error(error) == expected
    assert format_error(error) == expected
    _exceptions._texts.clear()
    assert format_error(error) == expected


# Groups


def in_groups(
    depth: int, *, width: int = 1, about: str = "Exceptions from Trio nursery"
) -> Exception:
    """Put an error into groups in each other, with others beside it if there is room."""
    error: Exception = caught(partial(fail, OSError("the real cause")))  # type: ignore[assignment]
    for level in range(depth):
        beside = [KeyError(level) for _ in range(width - 1)]
        error = caught(partial(leave, ExceptionGroup(about, [error, *beside])))  # type: ignore[assignment]
    return error


async def nest(depth: int) -> None:
    if depth == 0:
        fail(OSError("the real cause"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nest, depth - 1)


async def outer() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(middle)


async def middle() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inner)
        nursery.start_soon(trio.sleep_forever)


async def inner() -> None:
    async with trio.open_nursery() as nursery:
        await trio.lowlevel.checkpoint()
        nursery.start_soon(trio.sleep_forever)
        fail(OSError("the real cause"))


async def start(function: Callable[..., object], *args: object) -> None:
    """Start something as a root that needs nothing else."""
    function(*args)
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def death_of(child: Callable[[], Awaitable[object]]) -> supervisor.Crash:
    """Return the record of the death of ``child``."""
    patient = Backoff(initial=1000.0, maximum=1000.0)
    async with open_harness(start, supervisor.run, "child", child, backoff=patient) as tree:
        await tree.wait_settled()
        return tree.snapshot().nodes["root.child"].crashes[-1]


async def test_a_crash_below_three_nurseries_is_one_traceback() -> None:
    """S14: at most 12 lines, of which the last frame is the user's and the last line the error."""
    crash = await death_of(outer)
    lines = crash.traceback.splitlines()
    assert len(lines) <= 12
    assert lines[0] == "Traceback (most recent call last):"
    assert [line.rpartition(" in ")[2] for line in lines if line.startswith("  File ")] == [
        "outer",
        "middle",
        "inner",
        "fail",
    ]
    assert "group" not in crash.traceback.lower()
    assert lines[-3].endswith("in fail")
    assert lines[-1] == "OSError: the real cause"
    assert crash.error == "OSError: the real cause"


@pytest.mark.parametrize("depth", [11, 200])
async def test_no_number_of_nurseries_hides_the_cause(depth: int) -> None:
    """S14: frames that repeat are counted, and the cause is below them."""
    crash = await death_of(partial(nest, depth))
    assert f"  [Previous line repeated {depth - 3} more times]\n" in crash.traceback
    assert crash.traceback.endswith("\nOSError: the real cause")


@pytest.mark.parametrize("depth", [10, 11, 12, 300])
def test_no_number_of_wide_groups_hides_the_cause(depth: int) -> None:
    """S14: what is in more groups than are shown gets a line, which says where it was raised."""
    text = format_error(in_groups(depth, width=2))
    assert "OSError: the real cause" in text
    assert ("in fail)" in text) == (depth > 10)
    assert all(f"KeyError: {level}" in text for level in range(min(depth, 50)))


def test_members_after_the_fifteenth_have_a_line_each() -> None:
    """S14: those that are the same have one together, and what is too much is counted."""
    group = ExceptionGroup("many", [OSError(number) for number in range(30)])
    lines = format_error(group).splitlines()
    for number in range(30):
        assert sum(line.endswith(f"OSError: {number}") for line in lines) == 1
    group = ExceptionGroup("many", [OSError("the same") for _ in range(500)])
    assert "    | 485 times OSError: the same\n" in format_error(group)
    group = ExceptionGroup("many", [OSError(number) for number in range(5000)])
    text = format_error(group)
    assert "OSError: 114\n" in text
    assert "OSError: 115\n" not in text
    assert "    | and 4885 more exceptions\n" in text


def test_a_group_of_one_that_says_something_is_quoted() -> None:
    """S14: its message and its notes have a line where its member's frames begin."""
    group = in_groups(1, about="importing the tables")
    group.add_note("of yesterday")
    lines = format_error(group).splitlines()
    first = lines.index("  [ExceptionGroup: importing the tables]")
    assert lines[first + 1] == "  [of yesterday]"
    assert lines[first - 2].endswith("in leave")
    assert lines[first + 2].endswith("in caught")
    assert lines[-1] == "OSError: the real cause"


def test_a_group_that_was_not_raised_adds_no_frames() -> None:
    """S14: it is its member and no more, with the frames of Trio or without."""
    error = caught(partial(fail, OSError("x")))
    text = format_error(error)
    group = BaseExceptionGroup("unhandled errors in a TaskGroup", [error])
    assert format_error(group) == format_error(group, machinery=True) == text


async def test_a_member_without_frames_of_the_user_ends_in_the_nursery() -> None:
    """S14: it is a task that is Trio's own."""

    async def child() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, -1)

    lines = (await death_of(child)).traceback.splitlines()
    assert lines[1].endswith("in child")
    assert lines[2:] == [
        "    async with trio.open_nursery() as nursery:",
        "ValueError: `seconds` must be non-negative",
    ]


def test_each_group_of_one_keeps_its_own_cause() -> None:
    """S14: that of the group is told before that of its member."""
    error = in_groups(1)
    error.__cause__ = KeyError("of the group")
    assert isinstance(error, ExceptionGroup)
    error.exceptions[0].__context__ = KeyError("of the member")
    text = format_error(error)
    places = [text.index(part) for part in ("of the group", "direct cause", "of the member")]
    places += [text.index("During handling"), text.index("Traceback"), text.index("the real cause")]
    assert places == sorted(places)


def test_a_member_that_was_being_handled_is_shown_once() -> None:
    """S14: it is the group's context as well."""

    def collect() -> None:
        try:
            divide()
        except ZeroDivisionError as error:
            raise ExceptionGroup("two", [error, OSError("other")])  # noqa: B904  that is the point

    assert format_error(caught(collect)).count("ZeroDivisionError: ") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (in_groups(1), "OSError: the real cause"),
        (in_groups(1000), "OSError: the real cause"),
        (in_groups(3, width=2), "OSError: the real cause (and 3 more)"),
        (
            ExceptionGroup("x", [OSError(1), ExceptionGroup("y", [OSError(2), OSError(3)])]),
            "OSError: 1 (and 2 more)",
        ),
        (ExceptionGroup("x", [OSError(n) for n in range(5000)]), "OSError: 0 (and 4999 more)"),
        (
            BaseExceptionGroup("x", [KeyboardInterrupt(), OSError("y")]),
            "KeyboardInterrupt (and 1 more)",
        ),
    ],
    ids=["nursery", "deep", "wide", "nested", "many", "fatal"],
)
def test_in_one_line_a_group_is_its_first_member(error: BaseException, line: str) -> None:
    """S14: and says how many more there are; a nursery's own words say nothing."""
    assert one_line(error) == line


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\u202eb", "a\udc80b"], ids=ascii)
def test_the_line_of_an_error_is_one_that_can_be_printed(name: str) -> None:
    """S14: whatever is in the message and in the name of its type."""
    line = one_line(type(name.replace("\udc80", "\x9b"), (Exception,), {})(name))
    assert line.isprintable()
    assert line.startswith("a")
    assert line.endswith("b")


async def test_what_failed_is_told_wherever_a_failure_is() -> None:
    """S14, S17: in the record, the picture of the tree, and the error of those who give up."""

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        await nest(1)

    with pytest.raises(supervisor.RestartLimitExceeded, match="OSError: the real cause") as caught:
        await supervisor.supervise(child, limit=RestartLimit(1, within=9.0), backoff=AT_ONCE)
    assert {crash.error for crash in caught.value.causes} == {"OSError: the real cause"}


# The same object again


SHARED = ConnectionError("a cached failure")


async def raise_it() -> NoReturn:
    raise SHARED


async def raise_it_in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raise_it)


async def raise_another_from_it() -> NoReturn:
    try:
        await raise_it()
    except ConnectionError as error:
        raise OSError("because") from error


async def raise_another_after_it() -> NoReturn:
    try:
        await raise_it()
    except ConnectionError:
        raise OSError("meanwhile")  # noqa: B904  that is the point


def raise_it_in_a_thread() -> NoReturn:
    raise SHARED


@pytest.mark.parametrize(
    "fall",
    [
        raise_it,
        raise_it_in_a_nursery,
        raise_another_from_it,
        raise_another_after_it,
        partial(trio.to_thread.run_sync, raise_it_in_a_thread),
    ],
    ids=["raised", "in a nursery", "as cause", "as context", "in a thread"],
)
async def test_a_death_by_the_same_object_is_the_same_death(
    fall: Callable[[], Awaitable[object]], caplog: pytest.LogCaptureFixture
) -> None:
    """S14, S17: each raise adds to an object's traceback, which is not the next death's."""
    deaths = 0

    async def child() -> None:
        nonlocal deaths
        deaths += 1
        if deaths <= 30:
            await fall()
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(start, supervisor.run, "child", child, backoff=AT_ONCE) as tree:
        await tree.wait_ready("root.child")
        crashes = tree.snapshot().nodes["root.child"].crashes
    assert len({crash.traceback for crash in crashes}) == 1
    assert crashes[-1].traceback.count("raise_it") <= 4
    messages = [record.getMessage() for record in caplog.records]
    assert sum("the same death again" in message for message in messages) == 27
    assert SHARED.__traceback__ is None


async def test_stop_errors_by_the_same_object_do_not_add_up() -> None:
    """S14: nor does what a runnable raises when it had been asked to stop."""
    error = ConnectionError("a cached failure")

    async def child() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.sleep_forever()
        finally:
            raise error

    texts: list[str] = []

    async def root() -> None:
        handle = supervisor.run("child", child, backoff=AT_ONCE)
        supervisor.signal(Signal.HEALTHY)
        for _ in range(3):
            await handle.wait_healthy()
            await handle.restart()
            stop_error = tree.snapshot().nodes["root.child"].stop_error
            assert stop_error is not None
            texts.append(stop_error.traceback)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
    assert len(texts) == 3
    assert len(set(texts)) == 1
    assert error.__traceback__ is None


async def test_a_factory_that_raises_the_same_object_fails_the_same() -> None:
    """S14: at each restart, with the frames of that one call."""
    calls = 0

    def make() -> dict[str, Callable[[], Awaitable[None]]]:
        nonlocal calls
        calls += 1
        if 1 < calls <= 5:
            raise SHARED
        return {"a": partial(run_once, calls)}

    async def run_once(number: int) -> None:
        if number == 1:
            fail(OSError("first"))
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(start, supervisor.run_group, make, backoff=AT_ONCE) as tree:
        await tree.wait_ready("root.a")
    assert calls == 6
    assert SHARED.__traceback__ is None


async def test_what_leaves_the_tree_keeps_its_traceback() -> None:
    """S11, S15: the first death with propagate=True, and the cause of those who gave up."""

    async def child() -> None:
        fail(OSError("out"))

    with pytest.raises(OSError, match="out") as left:
        await supervisor.supervise(child, propagate=True)
    assert "in fail\n" in "".join(traceback.format_exception(left.value))
    with pytest.raises(supervisor.RestartLimitExceeded) as gave_up:
        await supervisor.supervise(child, limit=RestartLimit(0, within=9.0))
    assert "in fail\n" in "".join(traceback.format_exception(gave_up.value))


def test_tracebacks_are_dropped_from_all_that_is_linked() -> None:
    """S14: causes, contexts and members, in circles as well."""
    error = caught(nested_group)
    error.__context__ = caught(circle)
    drop_tracebacks(error)
    text = "".join(traceback.format_exception(error))
    assert "ZeroDivisionError" in text
    assert "File" not in text


# What is remembered


def test_deaths_that_differ_in_their_messages_share_their_frames() -> None:
    """S14: a frame is formatted once, and so many are remembered at most."""
    first = format_error(caught(partial(fail, OSError("first"))))
    known = dict(_frames._known)
    for number in range(10):
        text = format_error(caught(partial(fail, OSError(number))))
        assert text == first.replace("first", str(number))
    assert {key: id(frame) for key, frame in known.items()} == {
        key: id(frame) for key, frame in _frames._known.items()
    }
    code = "\n".join(f"def f{number}(): g()" for number in range(_frames.FRAMES_KEPT + 50))
    scope: dict[str, Any] = {"g": partial(fail, OSError("x"))}
    exec(compile(code, "<functions>", "exec"), scope)  # noqa: S102  our own
    for number in range(_frames.FRAMES_KEPT + 50):
        assert f"in f{number}\n" in format_error(caught(scope[f"f{number}"]))
        assert len(_frames._known) <= _frames.FRAMES_KEPT


def test_nothing_of_a_user_is_remembered() -> None:
    """S14: no exception, no type, no function and no variable."""

    def make() -> list[weakref.ref[Any]]:
        class OwnError(Exception):
            pass

        def die(variable: set[str]) -> NoReturn:
            fail(OwnError(len(variable)))

        variable = {"kept by a frame"}
        assert format_error(caught(partial(die, variable))).endswith("OwnError: 1")
        return [weakref.ref(each) for each in (OwnError, die, variable)]

    references = make()
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_source_is_read_when_a_frame_is_first_shown(tmp_path: Path) -> None:
    """S14: what is changed later is not what runs; what could not be read is looked for again."""
    path = tmp_path / "plugin.py"
    path.write_text("def work():\n    raise OSError('as it was')\n")
    scope: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)  # noqa: S102  our own
    path.rename(tmp_path / "away.py")
    assert "raise OSError" not in format_error(caught(scope["work"]))
    (tmp_path / "away.py").rename(path)
    assert "raise OSError('as it was')" in format_error(caught(scope["work"]))
    path.write_text("def work():\n    pass\n    # something else\n")
    assert "raise OSError('as it was')" in format_error(caught(scope["work"]))


def test_frames_of_the_machinery_are_shown_on_demand() -> None:
    """S17: which are Trio's, outcome's and this package's."""

    async def task() -> None:
        await nest(1)

    error = caught(partial(trio.run, task))
    users, whole = format_error(error), format_error(error, machinery=True)
    assert "_run.py" not in users
    assert "_run.py" in whole
    assert whole.endswith("\nOSError: the real cause")


def test_a_traceback_may_be_handed_over_apart() -> None:
    """S14: by those who have it still when the exception has not."""
    error = caught(partial(fail, OSError("x")))
    start, text = error.__traceback__, format_error(error)
    drop_tracebacks(error)
    assert format_error(error) == "OSError: x"
    assert format_error(error, start) == text


def test_near_the_end_of_the_stack_the_type_is_told() -> None:
    """S14: a description that can't be made for want of room is a short one."""
    error = caught(partial(fail, OSError("x")))

    def dive() -> str:
        try:
            return dive()
        except RecursionError:
            return format_error(error)

    assert dive() == "OSError (its text can't be made: RecursionError)"


# What can't be described


class Refusal(BaseException):
    """What nobody expects."""


def refuse(*_: object) -> NoReturn:
    raise REFUSALS[-1]


REFUSALS: list[BaseException] = []


class Meta(type):
    """Its classes tell no names."""

    def __getattribute__(cls, name: str) -> object:
        if name in {"__name__", "__qualname__", "__module__"}:
            refuse()
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=Meta):  # noqa: N818  it has no name anyway
    pass


class Unspeakable(Exception):  # noqa: N818  a property of it, not an error
    __str__ = __repr__ = refuse


class Unlinked(Exception):  # noqa: N818  as above
    __cause__ = __context__ = __suppress_context__ = __traceback__ = property(refuse)


class Unnoted(Exception):  # noqa: N818  as above
    __notes__ = property(refuse)
    add_note = refuse


class Noted(Exception):  # noqa: N818  as above
    @property
    def __notes__(self) -> list[object]:  # type: ignore[override]
        return [Unspeakable(), "another"]


class Unclassified(Exception):  # noqa: N818  as above
    __class__ = property(refuse)


class Unreachable(Exception):  # noqa: N818  as above
    __getattribute__ = refuse


class Unparsed(SyntaxError):  # noqa: N818  as above
    msg = lineno = offset = text = property(refuse)


class Unhinted(AttributeError):  # noqa: N818  as above
    name = obj = property(refuse)


class Group(ExceptionGroup[Exception]):
    exceptions = message = property(refuse)
    derive = __str__ = split = subgroup = refuse


class Tricky(str):
    """A text that is not to be touched."""

    __slots__ = ()
    __len__ = __getitem__ = split = __format__ = __hash__ = __eq__ = refuse  # type: ignore[assignment]


class Says(Exception):  # noqa: N818  as above
    def __str__(self) -> str:
        return Tricky("tricky words")


def nothing(_: object) -> Any:  # noqa: ANN401  it is to be taken for a text
    return None


class SaysNothing(Exception):  # noqa: N818  as above
    __str__ = nothing


HARD: dict[str, tuple[Callable[[], Exception], str]] = {
    "no name": (lambda: Nameless("why"), "Nameless: why"),
    "no text": (Unspeakable, "Unspeakable: <its __str__ raised "),
    "no links": (lambda: Unlinked("why"), "Unlinked: why"),
    "no notes": (lambda: Unnoted("why"), "Unnoted: why"),
    "notes": (lambda: Noted("why"), "Noted: why"),
    "no class": (lambda: Unclassified("why"), "Unclassified: why"),
    "no attributes": (lambda: Unreachable("why"), "Unreachable: why"),
    "no syntax": (lambda: Unparsed("why"), "Unparsed: "),
    "no hint": (lambda: Unhinted("why"), "Unhinted: why"),
    "group": (lambda: Group("words", [OSError("why")]), "OSError: why"),
    "groups": (
        lambda: Group("words", [OSError("why"), Unspeakable()]),
        "OSError: why (and 1 more)",
    ),
    "a tricky text": (Says, "Says: tricky words"),
    "no text at all": (SaysNothing, "SaysNothing: <its __str__ raised TypeError>"),
}


@pytest.mark.parametrize("make", HARD)
@pytest.mark.parametrize(
    "refusal",
    [KeyError("no"), KeyboardInterrupt(), SystemExit(7), Refusal(), GeneratorExit(), MemoryError()],
    ids=repr,
)
async def test_what_cannot_be_described_ends_nothing(
    make: str, refusal: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """S14, S17: it is a death like any other, told as far as possible."""
    REFUSALS.append(refusal)
    new, line = HARD[make]
    deaths = 0

    async def child() -> None:
        nonlocal deaths
        deaths += 1
        if deaths == 1:
            raise new()
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with open_harness(start, supervisor.run, "child", child, backoff=AT_ONCE) as tree:
        await tree.wait_ready("root.child")
        (crash,) = tree.snapshot().nodes["root.child"].crashes
    assert crash.error.startswith(line)
    assert crash.traceback.startswith("Traceback (most recent call last):") or "group" in make
    assert "in child\n" in crash.traceback
    assert crash.traceback.partition("\n")[2]
    (record,) = caplog.records
    assert crash.error in record.getMessage()


def test_notes_that_cannot_be_read_are_mentioned() -> None:
    """S14: with the rest of the text in its place."""
    REFUSALS.append(SystemExit(7))
    assert format_error(Unnoted("why")).endswith("Unnoted: why\n<its __notes__ raised SystemExit>")
    text = format_error(Noted("why"))
    assert text.endswith("Noted: why\n<its note raised SystemExit>\nanother")


def test_a_group_that_cannot_be_split_leaves_as_it_is() -> None:
    """S11: what can't be taken apart is fatal, whatever it raises meanwhile."""
    REFUSALS.append(SystemExit(7))

    class Derived(BaseExceptionGroup[BaseException]):
        derive = refuse

    error = Derived("x", [KeyboardInterrupt(), OSError("y")])
    assert split_fatal(error) == (error, None)


@pytest.mark.parametrize("make", HARD)
async def test_what_cannot_be_described_leaves_as_it_is(make: str) -> None:
    """S15: with a note of the DN, if it takes one."""
    REFUSALS.append(SystemExit(7))
    error = HARD[make][0]()

    async def child() -> None:
        raise error

    with pytest.raises(Exception) as left:  # noqa: PT011  there are many kinds
        await supervisor.supervise(child, propagate=True)
    assert left.value is error


# Any tree of exceptions


def raise_in_a_list(error: BaseException) -> object:
    return [fail(each) for each in (error,)]


def raise_deep(error: BaseException, depth: int = 5) -> object:
    return raise_deep(error, depth - 1) if depth else {"a": raise_in_a_list(error)}["a"]


def any_error(chance: random.Random, depth: int) -> Exception:
    """Make an exception, perhaps raised, of which others are members, causes and contexts."""
    kind = chance.random()
    if depth == 0 or kind < 0.4:
        kinds = (OSError, KeyError, ValueError, RuntimeError)
        arguments: list[tuple[object, ...]] = [(), ("text",), ("two\nlines",), (1, 2)]
        error: Exception = chance.choice(kinds)(*chance.choice(arguments))
    elif kind < 0.7:
        size = chance.randint(2, 4)
        error = ExceptionGroup("several", [any_error(chance, depth - 1) for _ in range(size)])
    else:
        error = any_error(chance, depth - 1)
        if chance.random() < 0.5:
            error.__cause__ = any_error(chance, depth - 1)
        else:
            error.__context__ = any_error(chance, depth - 1)
    if chance.random() < 0.8:
        function = chance.choice((fail, raise_in_a_list, raise_deep))
        assert caught(partial(function, error)) is error
    if chance.random() < 0.2:
        error.add_note("a note")
    return error


@pytest.mark.parametrize("seed", range(50))
def test_the_text_of_any_tree_of_exceptions_is_that_of_the_traceback_module(seed: int) -> None:
    """S14: as long as it is within the limits."""
    chance = random.Random(seed)  # noqa: S311  chance is all that is wanted
    for _ in range(10):
        error = any_error(chance, 3)
        assert format_error(error) == "".join(traceback.format_exception(error)).rstrip()
