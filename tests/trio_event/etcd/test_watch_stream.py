"""What a watch stream does about what servers do rarely: with members that are scripted."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event.etcd import RefusedError, Text
from trio_event.etcd._wire._seam import CallError, Code

from .helpers.scripted import (
    BAD_TOKEN,
    DENIED,
    LOST,
    NO_LEADER,
    UNREACHABLE,
    Member,
    found,
    watching_client_of,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_event.etcd import EtcdClient, EtcdValue

    from .helpers.scripted import ScriptedStream


@pytest.fixture
def one() -> Member:
    member = Member("one:1")
    member.revision = 10
    return member


@pytest.fixture
def two() -> Member:
    member = Member("two:2")
    member.revision = 10
    return member


def put(key: str, revision: int) -> dict[str, object]:
    """Describe the event of a put."""
    data = str(revision).encode()
    return {"type": 0, "kv": {"key": key.encode(), "value": data, "mod_revision": revision}}


async def opened(stack: AsyncExitStack, client: EtcdClient, key: str) -> EtcdValue[str]:
    return await stack.enter_async_context(client.value(key, Text()))


async def test_a_watch_begins_behind_the_read(one: Member) -> None:
    """E1, E5: in fragments, and on a stream that requires a leader."""
    async with watching_client_of(one) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        (create,) = stream.creates
        assert (create.key, create.range_end, create.start_revision) == (b"a", b"", 11)
        assert create.fragment
        assert stream.metadata == {"hasleader": "true"}
        stream.create_all()
        stream.say(watch_id=create.watch_id, events=[put("a", 12)])
        assert value.peek() == "12"
    assert stream.is_closed


async def test_a_revision_that_goes_back_within_a_stream_is_dropped(one: Member) -> None:
    """E2: and so is what is below the start (etcd-io/etcd#15271)."""
    async with watching_client_of(one) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        stream.create_all()
        for revision in (9, 12, 11, 12, 13):
            stream.say(watch_id=1, events=[put("a", revision)])
        assert (value.peek(), value.version) == ("13", 3)


async def test_a_header_is_no_place_to_resume_from(one: Member) -> None:
    """E2: it is ahead of what was delivered, as a progress notice is."""
    async with watching_client_of(one) as client, client.value("a", Text()):
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        stream.create_all()
        stream.say(revision=50, watch_id=1, events=[put("a", 12)])
        stream.say(revision=60, watch_id=1)
        stream.say(revision=60, watch_id=-1)
        one.revision = 60
        stream.end(LOST)
        again = await one.wait_stream(2)
        await again.wait_created(1)
        assert again.creates[0].start_revision == 13


async def test_a_revision_that_was_cut_off_between_fragments_is_told_again(one: Member) -> None:
    """E2: the next stream begins at it."""
    async with watching_client_of(one) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        stream.create_all()
        stream.say(watch_id=1, events=[put("a", 11), put("a", 12)], fragment=True)
        assert value.peek() == "11"
        one.revision = 12
        stream.end()
        again = await one.wait_stream(2)
        await again.wait_created(1)
        assert again.creates[0].start_revision == 12
        again.create_all()
        again.say(watch_id=2, events=[put("a", 12)])
        again.say(watch_id=again.creates[0].watch_id, events=[put("a", 12)])
        assert value.peek() == "12"


async def test_a_refusal_without_an_id_is_of_the_oldest_create(one: Member) -> None:
    """E6: the third of ten fails, and no other one is disturbed."""
    async with watching_client_of(one) as client, AsyncExitStack() as stack:
        values = [await opened(stack, client, f"key{i}") for i in range(10)]
        stream = await one.wait_stream(1)
        await stream.wait_created(10)
        for i, create in enumerate(stream.creates):
            if i == 2:
                reason = "rpc error: code = PermissionDenied desc = permission denied"
                stream.say(watch_id=-1, created=True, canceled=True, cancel_reason=reason)
            else:
                stream.say(watch_id=create.watch_id, created=True)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await values[2].wait_version(2)
        assert isinstance(caught.value.__cause__, RefusedError)
        assert "no permission" in str(caught.value.__cause__)
        assert values[2].health.peek().state == "failed"
        for i, create in enumerate(stream.creates):
            stream.say(watch_id=create.watch_id, events=[put(f"key{i}", 11)])
        assert [value.peek() for value in values] == ["11"] * 2 + [values[2].peek()] + ["11"] * 7
        assert values[0].health.peek().state == "current"


async def test_what_is_compacted_is_read_anew(one: Member) -> None:
    """E3: under a new id; what is late of the old one is ignored."""
    one.items["a"] = 5
    async with watching_client_of(one) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        stream.create_all()
        one.revision, one.items["a"] = 40, 30
        stream.say(watch_id=1, canceled=True, compact_revision=20)
        await stream.wait_created(2)
        assert (value.peek(), value.version) == ("30", 2)
        assert stream.creates[1].start_revision == 41
        stream.say(watch_id=1, events=[put("a", 41)])
        assert value.version == 2
        stream.say(watch_id=2, created=True)
        stream.say(watch_id=2, events=[put("a", 42)])
        assert value.peek() == "42"


@pytest.mark.parametrize("change", ["revision", "cluster"])
async def test_another_history_is_read_anew(
    one: Member, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    """E3: each key counts as changed, a warning is logged, and health says so."""
    one.items["a"] = 5
    async with watching_client_of(one) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        if change == "revision":
            one.revision = 9
        else:
            one.cluster_id, one.revision = 2, 100
        with caplog.at_level(logging.WARNING, "trio_event.etcd"):
            stream.end(LOST)
            again = await one.wait_stream(2)
            await again.wait_created(1)
        assert again.creates[0].start_revision == one.revision + 1
        assert (value.peek(), value.version) == ("5", 2)
        (record,) = caplog.records
        expected = "gone back from revision 10 to 9" if change == "revision" else "another cluster"
        assert expected in record.getMessage()
        assert expected in client.health.peek().reason


async def test_a_member_that_says_nothing_and_does_not_answer_is_left(
    one: Member, two: Member, autojump_clock: MockClock
) -> None:
    """E5: within two and a half seconds; values are stale only between the two."""
    states: list[str] = []

    async def record(client: EtcdClient) -> None:
        async for health in client.health.watch():
            states.append(health.state)  # noqa: PERF401  it has no end

    async with watching_client_of(one, two) as client, trio.open_nursery() as nursery:
        nursery.start_soon(record, client)
        async with client.value("a", Text()):
            await one.wait_stream(1)
            one.first_answers.append(one.silence)
            stream = await two.wait_stream(1)
            assert autojump_clock.current_time() <= 2.5
            await stream.wait_created(1)
            assert client.health.peek().endpoint == "two:2"
        nursery.cancel_scope.cancel()
    assert states[-3:] == ["current", "stale", "current"]


async def test_a_member_that_answers_is_kept(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E5: a minute without any change, and a refusal is an answer as well; no reconnection."""
    one.first_answers.extend([DENIED] * 30)
    async with watching_client_of(one) as client, client.value("a", Text()):
        await trio.sleep(60)
        assert len(one.streams) == 1
        assert client.health.peek().since < 1


async def test_messages_are_a_sign_of_life(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E5: the member is asked only when nothing has come for a second."""
    one.first_answers.append(one.silence)
    async with watching_client_of(one) as client, client.value("a", Text()):
        stream = await one.wait_stream(1)
        for revision in range(11, 21):
            await trio.sleep(0.9)
            stream.say(watch_id=1, events=[put("a", revision)])
        assert one.first_answers


async def test_without_a_quorum_nothing_is_current(
    one: Member, two: Member, autojump_clock: MockClock
) -> None:
    """E5: a connection counts when it has read linearizably; values keep their data."""
    one.items["a"] = 5
    async with watching_client_of(one, two) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        for member in (one, two):
            member.will(*[NO_LEADER] * 3)
        stream.end(NO_LEADER)
        await wait_all_tasks_blocked()
        states = set()
        while one.answers or two.answers:
            await trio.sleep(0.01)
            states.add(client.health.peek().state)
        assert states == {"stale"}
        assert value.peek() == "5"
        assert "no leader" in client.health.peek().reason
        with client.health.watch() as watcher:
            await watcher.get(predicate=lambda health: health.state == "current")
        assert autojump_clock.current_time() < 5


async def test_a_denial_is_believed_of_a_newer_token_only(one: Member) -> None:
    """E6, E8: the stream is opened anew, on the same member, and nothing is stale."""
    reason = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
    async with watching_client_of(one, user="me") as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        assert stream.metadata["token"] == "t1"  # noqa: S105  it is one
        before = client.health.peek()
        stream.say(watch_id=1, created=True, canceled=True, cancel_reason=reason)
        again = await one.wait_stream(2)
        await again.wait_created(1)
        assert again.metadata["token"] == "t2"  # noqa: S105  it is one
        assert len(one.connections) == 1
        assert client.health.peek() is before
        await deny(again, reason)
        with pytest.raises(trio.BrokenResourceError):
            await value.wait_version(2)


async def deny(stream: ScriptedStream, reason: str) -> None:
    await stream.wait_created(1)
    number = stream.creates[0].watch_id
    stream.say(watch_id=number, created=True, canceled=True, cancel_reason=reason)


async def test_an_expired_token_fails_no_watch(one: Member) -> None:
    """E8: also if it says that permission is denied; the next stream may watch."""
    async with watching_client_of(one, user="me") as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await deny(
            stream, "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
        )
        again = await one.wait_stream(2)
        await again.wait_created(1)
        again.create_all()
        again.say(watch_id=again.creates[0].watch_id, events=[put("a", 11)])
        assert value.peek() == "11"


async def test_a_watch_that_is_left_is_cancelled_on_the_server(one: Member) -> None:
    """E9: and the answer to its create concerns no other one."""
    async with watching_client_of(one) as client, client.value("b", Text()) as other:
        stream = await one.wait_stream(1)
        async with client.value("a", Text()) as value:
            await stream.wait_created(2)
        assert stream.cancels == [2]
        stream.create_all()
        stream.say(watch_id=2, canceled=True)
        stream.say(watch_id=2, events=[put("a", 11)])
        stream.say(watch_id=1, events=[put("b", 12)])
        assert (value.version, other.peek()) == (1, "12")


async def test_a_fault_of_the_package_leaves_the_client(one: Member) -> None:
    """E9: it is not lost in Trio's queue, nor does it stop the values in silence."""

    async def use() -> None:
        async with watching_client_of(one):
            stream = await one.wait_stream(1)
            error = ValueError("a fault")
            stream._end = error  # type: ignore[assignment]  # as a sink that has raised
            stream._ended.set()
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await use()
    assert caught.group_contains(ValueError, match="a fault")


async def test_connections_that_fail_are_made_again_after_a_pause(
    one: Member, two: Member, autojump_clock: MockClock
) -> None:
    """E6: by turns, until one is good."""
    for member in (one, two):
        member.will(*[UNREACHABLE] * 3)
    async with watching_client_of(one, two) as client, client.value("a", Text()):
        assert (len(one.connections), len(two.connections)) in {(4, 3), (3, 4)}
        assert 0.1 < autojump_clock.current_time() < 3
        assert client.health.peek().state == "current"


async def test_a_member_that_was_good_is_replaced_without_a_pause(
    one: Member, two: Member, autojump_clock: MockClock
) -> None:
    """E6: another one is followed at the very moment of the loss, and says what is new."""
    async with watching_client_of(one, two) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await trio.sleep(5)
        stream.end(LOST)
        again = await two.wait_stream(1)
        await again.wait_created(1)
        assert client.health.peek().state == "current"
        again.create_all()
        again.say(watch_id=again.creates[0].watch_id, events=[put("a", 11)])
        assert value.peek() == "11"
        assert autojump_clock.current_time() == 5


async def test_a_newer_token_that_is_refused_as_well_loses_the_connection(one: Member) -> None:
    """E8: a pause comes before the next one, and the value goes on to wait."""
    reason = "etcdserver: invalid auth token"
    async with watching_client_of(one, user="me") as client, client.value("a", Text()) as value:
        await deny(await one.wait_stream(1), reason)
        await deny(await one.wait_stream(2), reason)
        stream = await one.wait_stream(3)
        assert len(one.connections) == 2
        await stream.wait_created(1)
        assert value.health.peek().state == "current"


async def test_a_wrong_password_leaves_open_values_stale(one: Member) -> None:
    """E6: they keep their data and the reason is known; what is opened then is refused."""
    wrong = CallError(
        Code.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password"
    )
    one.items["a"] = 5
    async with watching_client_of(one, user="me") as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        one.will(BAD_TOKEN, *[wrong] * 100)
        stream.end(LOST)
        with pytest.raises(RefusedError, match="check user= and password="):
            await opened(AsyncExitStack(), client, "b")
        assert value.peek() == "5"
        assert value.health.peek().state == "stale"
        assert "check user= and password=" in value.health.peek().reason


async def test_a_refused_connection_is_told_where_a_value_is_opened(one: Member) -> None:
    """E6, E8: with what to check."""
    one.will(*[CallError(Code.UNAVAILABLE, "failed: Tls handshake failed", was_sent=False)] * 100)
    async with watching_client_of(one) as client:
        with pytest.raises(RefusedError, match="the watch stream: check the certificates"):
            await opened(AsyncExitStack(), client, "a")


async def test_a_read_that_fails_is_made_by_the_next_connection(one: Member, two: Member) -> None:
    """E11: opening goes on to try."""
    one.will(found(10), LOST)
    two.items["a"] = 5
    async with watching_client_of(one, two) as client, client.value("a", Text()) as value:
        assert value.peek() == "5"
        assert client.health.peek().endpoint == "two:2"


async def test_a_value_that_is_left_during_its_read_is_not_watched(one: Member) -> None:
    """E9: nothing is created for it."""
    answered = trio.Event()

    async def late() -> bytes:
        await answered.wait()
        return found(10)

    one.will(found(10))
    async with watching_client_of(one) as client:
        stream = await one.wait_stream(1)
        one.will(late)
        with trio.move_on_after(0):
            async with client.value("a", Text()):
                raise AssertionError
        await wait_all_tasks_blocked()
        answered.set()
        await wait_all_tasks_blocked()
        assert stream.creates == []


async def test_what_comes_after_the_end_is_not_taken(one: Member) -> None:
    """E2: the next stream tells it again."""
    async with watching_client_of(one) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        session = client._watching._session  # type: ignore[union-attr]  # it is there
        assert session is not None
        session._leave(LOST)
        session._leave(NO_LEADER)
        stream.say(watch_id=1, events=[put("a", 11)])
        assert value.version == 1
        await one.wait_stream(2)


async def test_waiting_for_a_revision_goes_on_over_a_lost_connection(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E1: it is no error of the one who waits."""
    one.items["a"] = 5
    async with watching_client_of(one) as client, client.value("a", Text()) as value:
        stream = await one.wait_stream(1)
        await stream.wait_created(1)
        one.will(*[UNREACHABLE] * 5)
        stream.end(LOST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(value.wait_revision, 20)
            await trio.sleep(5)
            one.revision = 20
        assert value.revision == 20
        assert value.version == 1
