"""Names of nodes and sub-loggers: their form, and that each is given once (S2)."""

from __future__ import annotations

import string
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from hypothesis import example, given, settings, strategies as st

import supervisor
from supervisor import Backoff, DuplicateNameError, InMemoryMetrics, InvalidNameError, Signal
from supervisor.testing import Remote, open_harness

from ..helpers.runnables import finish
from ..helpers.trees import in_root

ALLOWED = string.ascii_lowercase + string.digits + "_"


NAMES = st.text(alphabet=ALLOWED, min_size=1, max_size=64)


# Near misses beside what no one would type.
TEXTS = NAMES | st.text(alphabet=ALLOWED + "A-.\n é٣", max_size=70) | st.text()


NOT_NAMES = ["", "BAD!.x", "a.b", "a-b", "Upper", "ä", "a" * 65, "a\n", "\na", " ", "٣"]


NOT_STRINGS = [None, 3, b"abc", ("a",)]


START: dict[str, Callable[[str], object]] = {
    "run": lambda name: supervisor.run(name, finish),
    "run_group": lambda name: supervisor.run_group({name: finish}),
    "run_group of a function": lambda name: supervisor.run_group(lambda: {name: finish}),
    "sub_logger": supervisor.sub_logger,
}


@settings(deadline=None, derandomize=True)
@given(name=TEXTS)
@example(name="a" * 64)
@example(name="a" * 65)
@example(name="dhcp\n")
@example(name="BAD!.x")
def test_exactly_one_to_64_of_the_allowed_characters_make_a_name(name: str) -> None:
    """S2: [a-z0-9_]{1,64}, full match; for runnables and sub-loggers alike."""
    valid = 1 <= len(name) <= 64 and set(name) <= set(ALLOWED)
    for take in START.values():
        if valid:
            in_root(partial(take, name))
        else:
            with pytest.raises(InvalidNameError):
                in_root(partial(take, name))


@pytest.mark.parametrize("take", START.values(), ids=START)
@pytest.mark.parametrize("name", [*NOT_NAMES, *NOT_STRINGS])
def test_the_error_says_name_place_and_remedy(
    take: Callable[[object], object], name: object
) -> None:
    """S2: InvalidNameError is a ValueError that shows the name and the rule."""
    with pytest.raises(ValueError, match=r"invalid name .* under root: use 1 to 64") as caught:
        in_root(partial(take, name))
    assert type(caught.value) is InvalidNameError
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("second", START.values(), ids=START)
@pytest.mark.parametrize("first", START.values(), ids=START)
def test_a_name_can_be_used_once(
    first: Callable[[str], object], second: Callable[[str], object]
) -> None:
    """S2: it is unique among children and sub-loggers, whichever comes first."""

    def check() -> None:
        first("twin")
        if first is second is START["sub_logger"]:
            second("twin")  # asking again is no second logger
            return
        with pytest.raises(
            DuplicateNameError, match=r"root\.twin exists already.*'twin'"
        ) as caught:
            second("twin")
        assert isinstance(caught.value, ValueError)

    in_root(check)


def test_a_sub_logger_asked_for_again_is_the_same() -> None:
    """S2: a sub-logger does not clash with itself."""

    def check() -> None:
        assert supervisor.sub_logger("wire") is supervisor.sub_logger("wire")

    in_root(check)


def test_a_member_of_a_group_uses_a_name_of_the_parent() -> None:
    """S2: groups have no names of their own; all members are children of one node."""

    def check() -> None:
        supervisor.run_group({"a": finish, "b": finish})
        for name in ("a", "b"):
            with pytest.raises(DuplicateNameError):
                supervisor.run(name, finish)
            with pytest.raises(DuplicateNameError):
                supervisor.sub_logger(name)

    in_root(check)


def test_the_same_name_under_two_parents_is_no_clash() -> None:
    """S2: names are unique among the children of one node, not in the tree."""

    async def parent() -> None:
        assert supervisor.run("twin", finish).dn == f"{supervisor.current_dn()}.twin"
        await finish()

    def check() -> None:
        supervisor.run("a", parent)
        supervisor.run("b", parent)

    in_root(check)


BAD_MEMBERS: dict[str, object] = {
    "an invalid name": {"good": finish, "BAD": finish},
    "a taken name": {"good": finish, "taken": finish},
    "a name taken by a sub-logger": {"good": finish, "wire": finish},
    "no function": {"good": finish, "other": 3},
}


@pytest.mark.parametrize("members", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
@pytest.mark.parametrize("factory", [False, True])
def test_run_group_is_all_or_nothing(
    members: dict[str, Callable[[], Awaitable[object]]], *, factory: bool
) -> None:
    """S2: one bad member leaves everything as it was: nothing started, no name taken."""
    metrics = InMemoryMetrics()
    started: list[str] = []

    async def good() -> None:
        started.append(supervisor.current_dn())
        await finish()

    members = {**members, "good": good}

    def check() -> None:
        supervisor.run("taken", finish)
        supervisor.sub_logger("wire")
        before = metrics.nodes()
        with pytest.raises((ValueError, TypeError)):
            supervisor.run_group((lambda: members) if factory else members)
        assert metrics.nodes() == before
        supervisor.sub_logger("good")  # free, or it would raise

    in_root(check, metrics=metrics)
    assert started == []
    assert metrics.nodes().keys() == {"root", "root.taken"}


@pytest.mark.parametrize("name", NOT_NAMES)
def test_a_parent_can_go_on_after_a_refused_name(name: str) -> None:
    """S2: after the error it starts children as before."""
    metrics = InMemoryMetrics()

    def check() -> None:
        with pytest.raises(InvalidNameError):
            supervisor.run(name, finish)
        supervisor.run("good", finish)

    in_root(check, metrics=metrics)
    assert metrics.nodes().keys() == {"root", "root.good"}


async def test_a_restart_frees_the_names_of_children_and_sub_loggers() -> None:
    """S2: names belong to an incarnation; the next one can use them again."""
    parent, names = Remote(), iter(["first", "second"])

    async def middle() -> None:
        # What the first incarnation called its child is the second one's logger.
        name = next(names)
        supervisor.run(name, finish)
        supervisor.sub_logger("second" if name == "first" else "first")
        await parent()

    async def root() -> None:
        supervisor.run("middle", middle)
        await finish()

    async with open_harness(root, backoff=Backoff(initial=0.0)) as tree:
        await parent.become_healthy()
        await parent.die()
        await parent.become_healthy()
        assert parent.incarnations == 2
        assert list(tree.snapshot().nodes) == ["root", "root.middle", "root.middle.second"]


DNS = ["root", *(f"root.{a}" for a in "ab"), *(f"root.{a}.{b}" for a in "ab" for b in "ab")]


DNS += [f"{dn}.{c}" for dn in DNS[3:] for c in "ab"]


async def ask_in_turn(turns: list[str]) -> None:
    """Ask the runnables of a tree for their DNs, in the order of ``turns``."""
    asks = {dn: trio.open_memory_channel[str](0) for dn in DNS}

    async def node(dn: str = "root") -> None:
        for name in "ab" if f"{dn}.a" in asks else "":
            supervisor.run(name, node, f"{dn}.{name}")
        supervisor.signal(Signal.HEALTHY)
        while True:
            await asks[dn][0].send(supervisor.current_dn())

    async with open_harness(node):
        assert [await asks[dn][1].receive() for dn in turns for _ in range(2)] == [
            dn for dn in turns for _ in range(2)
        ]


@settings(deadline=None, derandomize=True, max_examples=30)
@given(turns=st.lists(st.sampled_from(DNS), min_size=1))
def test_a_dn_does_not_depend_on_which_was_asked_for_before(turns: list[str]) -> None:
    """S1: a tree remembers the DN that was asked for last, and returns it for no other node."""
    trio.run(ask_in_turn, turns)
