"""Which member is asked, how often, and what the caller is told: with members that are scripted."""

from __future__ import annotations

import itertools

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trio_event.etcd import (
    Compare,
    EtcdClient,
    Get,
    Put,
    RefusedError,
    UnavailableError,
    UnknownOutcomeError,
)
from trio_event.etcd._wire._messages import MESSAGES
from trio_event.etcd._wire._seam import CallError, Code

from .helpers.scripted import (
    BAD_TOKEN,
    COMPACTED,
    DENIED,
    LOST,
    NO_LEADER,
    UNREACHABLE,
    Member,
    client_of,
    found,
    message,
    put_done,
)

NOT_DONE = [
    UNREACHABLE,
    NO_LEADER,
    CallError(Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests"),
]
UNKNOWN = [
    LOST,
    CallError(Code.UNAVAILABLE, "etcdserver: request timed out"),
    CallError(Code.UNKNOWN, "context deadline exceeded"),
    CallError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    CallError(Code.INTERNAL, "Received RST_STREAM"),
    CallError(Code.CANCELLED, "call is cancelled"),
]


@pytest.fixture
def one() -> Member:
    return Member("one:1")


@pytest.fixture
def two() -> Member:
    return Member("two:2")


# Which member is asked


async def test_the_next_member_is_asked_when_one_is_unreachable(one: Member, two: Member) -> None:
    """E6: nothing was sent to the first, so that also a write goes to the second."""
    one.will(UNREACHABLE)
    two.will(put_done(7), put_done(8))
    async with client_of(one, two) as client:
        assert await client.put("a", b"1") == 7
        assert await client.put("a", b"2") == 8
    assert (one.names, two.names) == (["Put"], ["Put", "Put"])


@pytest.mark.parametrize("error", [*NOT_DONE, *UNKNOWN], ids=str)
async def test_a_read_is_made_again(error: CallError, one: Member, two: Member) -> None:
    """E6: whatever has happened to a read, another member is asked."""
    one.will(error)
    two.will(found(3, "a"))
    async with client_of(one, two) as client:
        assert (await client.get("a")) is not None


@pytest.mark.parametrize("error", NOT_DONE, ids=str)
async def test_a_write_that_was_not_made_is_made_again(
    error: CallError, one: Member, two: Member
) -> None:
    """E7: it is certain that the cluster has not got it."""
    one.will(error)
    two.will(put_done(2))
    async with client_of(one, two) as client:
        assert await client.put("a", b"1") == 2


@pytest.mark.parametrize("error", UNKNOWN, ids=str)
async def test_a_write_that_may_have_been_made_is_never_made_again(
    error: CallError, one: Member, two: Member
) -> None:
    """E7: the caller is told what it was, and where it went."""
    one.will(error)
    async with client_of(one, two) as client:
        with pytest.raises(UnknownOutcomeError, match="put of 'a' was sent to one:1") as caught:
            await client.put("a", b"1")
        assert caught.value.operation == "put of 'a'"
    assert (one.names, two.names) == (["Put"], [])


@pytest.mark.parametrize("error", [*NOT_DONE, *UNKNOWN], ids=str)
async def test_no_write_is_sent_before_the_connection_is_good(
    error: CallError, one: Member, two: Member
) -> None:
    """E7: whatever happens before, it is certain that the write was not made."""
    one.first_answers.append(error)
    two.will(put_done(2))
    async with client_of(one, two) as client:
        assert await client.put("a", b"1") == 2
    assert one.names == []


async def test_a_silent_member_gets_no_write(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E7: however short the time of the client, it is certain that nothing was sent."""
    one.first_answers.append(one.silence)
    async with client_of(one, timeout=0.5) as client:
        with pytest.raises(UnavailableError):
            await client.put("a", b"1")
    assert one.names == []


@pytest.mark.parametrize("error", [DENIED, BAD_TOKEN], ids=str)
async def test_a_denied_first_read_makes_a_connection_good(error: CallError, one: Member) -> None:
    """E7: the member has answered, and that is all that was to be known."""
    one.first_answers.append(error)
    one.will(put_done(2))
    async with client_of(one) as client:
        assert await client.put("a", b"1") == 2


async def test_a_transaction_that_only_reads_is_made_again(one: Member, two: Member) -> None:
    """E7: what changes nothing has no unknown outcome."""
    one.will(LOST, LOST)
    two.will(message("TxnResponse", succeeded=True), LOST)
    async with client_of(one, two) as client:
        await client.transaction([Compare("a", "value", "==", b"1")], [Get("a")])
        with pytest.raises(UnknownOutcomeError, match="transaction with put of 'a', get of 'b'"):
            await client.transaction([], [Put("a", b"1"), Get("b")])


async def test_a_silent_member_is_left_after_two_seconds(
    one: Member, two: Member, autojump_clock: MockClock
) -> None:
    """E6: a read goes to the next member, over which later calls go at once."""
    two.will(found(1), put_done(2))
    async with client_of(one, two) as client:
        assert await client.get("a") is None
        assert 2 <= autojump_clock.current_time() <= 2.1
        assert await client.put("a", b"1") == 2
    assert one.names == ["Range"]
    assert one.connections[0].is_closed


async def test_a_write_to_a_silent_member_ends_after_two_seconds(
    one: Member, autojump_clock: MockClock
) -> None:
    """E7: its outcome is not known."""
    async with client_of(one) as client:
        with pytest.raises(UnknownOutcomeError, match="DEADLINE_EXCEEDED"):
            await client.put("a", b"1")
        assert autojump_clock.current_time() == 2


async def test_a_connection_that_was_good_is_replaced_without_a_pause(
    one: Member, two: Member, autojump_clock: MockClock
) -> None:
    """E6: when a member has died, the next one is asked at once."""
    one.will(found(1), LOST)
    two.will(found(1))
    async with client_of(one, two) as client:
        await client.get("a")
        await client.get("a")
        assert autojump_clock.current_time() == 0


async def test_pauses_grow_while_no_member_answers(one: Member, autojump_clock: MockClock) -> None:
    """E6: they are random parts of 20 ms to 1 s, and the client's timeout bounds them all."""
    times: list[float] = []

    async def refuse() -> bytes:
        times.append(autojump_clock.current_time())
        raise UNREACHABLE

    one.will(*[refuse] * 100)
    async with client_of(one, timeout=10) as client:
        with pytest.raises(UnavailableError, match=r"get of 'a' within 10.0 s; .* one:1 said UNAV"):
            await client.get("a")
        assert autojump_clock.current_time() <= 10
    pauses = [after - before for before, after in itertools.pairwise(times)]
    expected = [0.02, 0.04, 0.08, 0.16, 0.32, 0.64]
    expected += [1.0] * (len(pauses) - len(expected))
    assert len(pauses) > len(expected) / 2
    for pause, longest in zip(pauses, expected, strict=True):
        assert longest / 2 <= pause <= longest * 1.001


async def test_each_attempt_has_a_connection_of_its_own_until_one_is_good(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E6: a connection that has failed is closed, and its state is not inherited."""
    one.will(UNREACHABLE, UNREACHABLE, found(1), found(1))
    async with client_of(one) as client:
        await client.get("a")
        await client.get("a")
        assert [made.is_closed for made in one.connections] == [True, True, False]
    assert one.connections[-1].is_closed


async def test_calls_under_way_are_not_disturbed_by_one_that_fails(
    one: Member, two: Member, nursery: trio.Nursery
) -> None:
    """E6: the connection is closed when the last call has left it."""
    answered = trio.Event()

    async def late() -> bytes:
        await answered.wait()
        return put_done(5)

    one.will(late, LOST)
    two.will(found(1))
    revisions: list[int] = []

    async def put() -> None:
        revisions.append(await client.put("a", b"1"))

    async with client_of(one, two) as client:
        nursery.start_soon(put)
        await wait_all_tasks_blocked()
        await client.get("a")
        assert not one.connections[0].is_closed
        answered.set()
        await wait_all_tasks_blocked()
        assert revisions == [5]
        assert one.connections[0].is_closed


async def test_many_calls_that_fail_together_skip_one_member(one: Member, two: Member) -> None:
    """E6: the rotation goes on by one, however many have noticed."""
    three = Member("three:3")
    gone = trio.Event()

    async def lose() -> bytes:
        await gone.wait()
        raise LOST

    one.will(*[lose] * 3)
    two.will(found(1), found(1), found(1))
    async with client_of(one, two, three) as client, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(client.get, "a")
        await wait_all_tasks_blocked()
        gone.set()
    assert (len(two.calls), len(three.calls)) == (3, 0)


async def test_a_member_is_left_by_impatient_callers(
    one: Member,
    two: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E6: callers whose own deadlines are short do not ask a silent member for ever."""
    two.will(put_done(2))
    async with client_of(one, two) as client:
        for _ in range(3):
            with trio.move_on_after(0.2) as scope:
                await client.put("a", b"1")
            assert scope.cancelled_caught
        assert await client.put("a", b"1") == 2
    assert len(one.calls) == 3


async def test_a_member_that_answers_is_kept_by_impatient_callers(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E6: what counts is the time since its last answer."""
    answer = put_done(2)
    async with client_of(one) as client:
        for _ in range(3):
            with trio.move_on_after(0.4):
                await client.put("a", b"1")
            one.will(answer)
            await client.put("a", b"1")
            one.answers.clear()
    assert len(one.connections) == 1


# What is sent


@pytest.mark.parametrize(
    ("serializable", "metadata"), [(False, (("hasleader", "true"),)), (True, ())]
)
async def test_all_but_local_reads_require_a_leader(
    one: Member, *, serializable: bool, metadata: object
) -> None:
    """E5: a member without one refuses, instead of waiting for it."""
    one.will(found(1, "a"), found(1, "a"))
    async with client_of(one) as client:
        await client.get("a", serializable=serializable)
        await client.get_range("a", serializable=serializable)
    for _, data, got in one.calls:
        assert MESSAGES["RangeRequest"].FromString(data).serializable is serializable
        assert got == metadata


async def test_pages_are_pinned_to_the_revision_of_the_first(one: Member) -> None:
    """E1: a later page begins behind the last key, at the same revision."""
    one.will(found(5, "p/a", "p/b", more=True), found(9, "p/c"))
    async with client_of(one) as client:
        pages = await client.get_range("p/")
    assert (pages.revision, [item.key for item in pages.items]) == (5, [b"p/a", b"p/b", b"p/c"])
    first, second = (MESSAGES["RangeRequest"].FromString(data) for _, data, _ in one.calls)
    assert (first.key, first.range_end, first.revision) == (b"p/", b"p0", 0)
    assert (second.key, second.range_end, second.revision) == (b"p/b\0", b"p0", 5)


async def test_a_range_whose_revision_is_compacted_is_read_anew(one: Member) -> None:
    """E1: no page of the old revision is in the result."""
    one.will(found(5, "p/a", "p/b", more=True), COMPACTED, found(9, "p/c"))
    async with client_of(one) as client:
        pages = await client.get_range("p/")
    assert (pages.revision, [item.key for item in pages.items]) == (9, [b"p/c"])


async def test_a_page_of_a_member_that_lags_is_asked_of_another(one: Member, two: Member) -> None:
    """E6: a revision that a member does not have yet is no error of the caller."""
    future = CallError(
        Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"
    )
    one.will(found(5, "p/a", more=True), future)
    two.will(found(5, "p/b"))
    async with client_of(one, two) as client:
        pages = await client.get_range("p/", serializable=True)
    assert [item.key for item in pages.items] == [b"p/a", b"p/b"]


# What is refused


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DENIED, "one:1 refused the put of 'a': the client has no permission: grant"),
        (
            CallError(Code.INVALID_ARGUMENT, "etcdserver: user name is empty"),
            "pass user= and password=",
        ),
        (
            CallError(Code.UNAVAILABLE, "failed to connect: Tls handshake failed", was_sent=False),
            "one:1 refused the connection .* check the certificates",
        ),
        (CallError(Code.UNIMPLEMENTED, "unknown service"), "it is no etcd .*unknown service"),
        (
            CallError(Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
            "database space exceeded",
        ),
    ],
    ids=str,
)
async def test_what_is_permanent_is_told_at_once(
    error: CallError, text: str, one: Member, two: Member
) -> None:
    """E6: no other member is asked, and the message says what to do."""
    one.will(error)
    async with client_of(one, two) as client:
        with pytest.raises(RefusedError, match=text):
            await client.put("a", b"1")
    assert two.calls == []


async def test_a_refused_connection_is_not_used_again(one: Member) -> None:
    """E8: the next call makes a new one, with the certificates that there are then."""
    one.will(
        CallError(Code.UNAVAILABLE, "failed to connect: Tls handshake failed", was_sent=False),
        DENIED,
        put_done(2),
    )
    async with client_of(one) as client:
        for _ in range(2):
            with pytest.raises(RefusedError):
                await client.put("a", b"1")
        await client.put("a", b"1")
    assert len(one.connections) == 2


# Where it is cancelled


async def test_calls_are_checkpoints_before_anything_is_sent(one: Member) -> None:
    """E7: a call that is cancelled before it begins was not made."""
    one.will(put_done(2), found(1), message("DeleteRangeResponse"), found(1), found(1))
    async with client_of(one) as client:
        with assert_checkpoints():
            await client.put("a", b"1")
        with assert_checkpoints():
            await client.get("a")
        with assert_checkpoints():
            await client.delete("a")
        with assert_checkpoints():
            await client.get_range("a")
        sent = len(one.calls)
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.put("a", b"1")
        assert scope.cancelled_caught
        assert len(one.calls) == sent


async def test_a_call_that_is_cancelled_in_a_pause_leaves_nothing(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E9: the client goes on."""
    one.will(UNREACHABLE, UNREACHABLE, UNREACHABLE, UNREACHABLE, put_done(2))
    async with client_of(one) as client:
        with trio.move_on_after(0.05) as scope:
            await client.put("a", b"1")
        assert scope.cancelled_caught
        one.answers.clear()
        one.will(put_done(2))
        await client.put("a", b"1")


# Where it can be used


async def test_a_call_needs_a_client_that_was_entered(one: Member) -> None:
    """E9: before and after, the error says what to do."""
    client = client_of(one)
    with pytest.raises(RuntimeError, match=r"get\(\) was called on <EtcdClient new .*: enter it"):
        await client.get("a")
    with pytest.raises(RuntimeError, match=r"health of <EtcdClient new .*> is not known: enter"):
        client.health  # noqa: B018  it is a property that raises
    async with client:
        pass
    with pytest.raises(trio.ClosedResourceError, match="call it inside its 'async with'"):
        await client.get("a")
    with pytest.raises(RuntimeError, match="was entered before: make a new client"):
        await client.__aenter__()
    assert one.calls == []


async def test_a_client_is_of_one_trio_run(one: Member) -> None:
    """E9: another run is told."""
    async with client_of(one) as client:
        with pytest.raises(RuntimeError, match="in another Trio run than the one that <EtcdClient"):
            await trio.to_thread.run_sync(lambda: trio.run(client.get, "a"))


async def test_calls_under_way_end_when_the_client_is_left(
    one: Member, nursery: trio.Nursery
) -> None:
    """E9: those of other tasks are told, also in a pause."""
    ended: list[type[BaseException]] = []

    async def put(client: EtcdClient) -> None:
        try:
            await client.put("a", b"1")
        except trio.ClosedResourceError as error:
            ended.append(type(error))

    async with client_of(one) as client:
        nursery.start_soon(put, client)
        await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()
    assert ended == [trio.ClosedResourceError]


async def test_a_call_that_pauses_ends_when_the_client_is_left(
    one: Member,
    nursery: trio.Nursery,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E9: it does not connect again."""
    one.will(UNREACHABLE)
    ended = trio.Event()

    async def put(client: EtcdClient) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.put("a", b"1")
        ended.set()

    async with client_of(one) as client:
        nursery.start_soon(put, client)
        await wait_all_tasks_blocked()
    await ended.wait()
    assert len(one.connections) == 1
