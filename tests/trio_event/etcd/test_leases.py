"""Leases: kept alive by whichever member answers, and lost in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_event import ABSENT
from trio_event.etcd import Bytes, EtcdClient, Put, RefusedError, Text
from trio_event.etcd._wire._messages import MESSAGES
from trio_event.etcd._wire._seam import CallError, Code

from .helpers.scripted import BAD_TOKEN, LOST, UNREACHABLE, Member, client_of, put_done
from .helpers.servers import in_thread

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_event.etcd import Lease

    from .helpers.servers import Cluster

TIMED_OUT = CallError(Code.UNAVAILABLE, "etcdserver: request timed out")
GRANTED_BEFORE = CallError(Code.FAILED_PRECONDITION, "etcdserver: lease already exists")


@pytest.fixture
def one() -> Member:
    return Member("one:1")


@pytest.fixture
def two() -> Member:
    return Member("two:2")


# With a real etcd


async def test_keys_end_with_their_lease(node: Cluster, prefix: str) -> None:
    """E13: however they were put with it."""
    async with (
        EtcdClient(node.endpoints) as client,
        client.value(f"{prefix}value", Text()) as value,
        client.map(f"{prefix}map/", Text()) as peers,
    ):
        async with client.lease(60) as lease:
            await client.put(f"{prefix}a", b"1", lease=lease)
            await client.transaction([], [Put(f"{prefix}b", b"1", lease)])
            await value.put("1", lease=lease)
            await peers.put("c", "1", lease=lease)
            await client.put(f"{prefix}stays", b"1")
            found = await client.get_range(prefix)
            assert [item.lease for item in found.items] == [lease.id] * 3 + [0, lease.id]
        found = await client.get_range(prefix)
        assert [item.key.decode() for item in found.items] == [f"{prefix}stays"]
        await value.wait_for(lambda data: data is ABSENT)
        await peers.item("c").wait_for(lambda data: data is ABSENT)


async def test_a_lease_is_kept_alive(node: Cluster, prefix: str) -> None:
    """E13: longer than one that is granted later and that nobody keeps alive."""
    async with (
        EtcdClient(node.endpoints) as client,
        client.lease(1) as lease,
        client.value(f"{prefix}other", Bytes()) as other,
    ):
        await client.put(f"{prefix}own", b"1", lease=lease)
        granted = await trio.to_thread.run_sync(node.control, "lease", "grant", "2")
        number = f"{granted['ID']:x}"
        await in_thread(lambda: node.control("put", f"{prefix}other", "1", f"--lease={number}"))
        await other.wait_for(lambda data: data is not ABSENT)
        await other.wait_for(lambda data: data is ABSENT)
        assert not lease.is_lost
        assert await client.get(f"{prefix}own") is not None


async def test_a_lease_that_an_operator_ends_is_lost(node: Cluster, prefix: str) -> None:
    """E13: by the next keepalive; and nothing is put with it any more."""
    async with EtcdClient(node.endpoints) as client, client.lease(2) as lease:
        await in_thread(lambda: node.control("lease", "revoke", f"{lease.id:x}"))
        with pytest.raises(RefusedError, match=r"the lease is lost, with .*: open another"):
            await client.put(f"{prefix}a", b"1", lease=lease)
        await lease.wait_lost()
        assert lease.is_lost
        with pytest.raises(RefusedError, match=r"put\(\) of '.*a': the lease is lost, with"):
            await client.put(f"{prefix}a", b"1", lease=lease)
        assert await client.get(f"{prefix}a") is None


async def test_nothing_of_a_lease_is_left(node: Cluster) -> None:
    """E9: neither in the cluster nor here."""
    async with EtcdClient(node.endpoints) as client:
        async with client.lease(60) as lease, client.lease(60):
            pass
        assert node.control("lease", "list")["leases"] == []
        keepalives = client._leases._keepalives  # type: ignore[union-attr]  # it is there
        await wait_all_tasks_blocked()
        assert keepalives.leases == ()
        assert lease.is_lost
        await lease.wait_lost()


# With members that are scripted


async def test_a_lease_is_renewed_at_a_third_of_what_was_granted(
    one: Member, autojump_clock: MockClock
) -> None:
    """E13: which may be more than was asked for; a later answer may say less."""
    one.more_ttl = 20
    async with client_of(one) as client, client.lease(10) as lease:
        assert lease.ttl == 30
        assert lease.deadline == 30
        await trio.sleep(11)
        assert [at for at, _ in one.keepalives[0].asked] == [10]
        assert (lease.ttl, lease.deadline) == (10, 20)
        await trio.sleep(9.5)
        assert [at for at, _ in one.keepalives[0].asked] == pytest.approx([10, 40 / 3, 50 / 3, 20])
    assert autojump_clock.current_time() == 20.5


async def test_the_deadline_counts_from_the_sending(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E13: also that of the grant, however long the answer takes."""

    async def grant_late() -> bytes | None:
        await trio.sleep(1)
        return one.answer("LeaseGrant", one.calls[-1][1])

    one.will(grant_late)
    one.is_renewing = False
    async with client_of(one) as client, client.lease(12) as lease:
        assert lease.deadline == 12
        await trio.sleep(5)
        (stream,) = one.keepalives
        assert stream.asked == [(4, lease.id)]
        stream.renew(lease.id, 12)
        assert lease.deadline == 16


async def test_a_member_that_does_not_renew_is_left(
    one: Member,
    two: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E13: after a quarter of the time; the next one is asked for the same leases."""
    one.is_renewing = False
    async with client_of(one, two) as client, client.lease(12) as lease, client.lease(12) as other:
        await trio.sleep(8)
        (silent,), (answering,) = one.keepalives, two.keepalives
        assert silent.is_closed
        assert {number for _, number in silent.asked} == {lease.id, other.id}
        assert {number for _, number in answering.asked} == {lease.id, other.id}
        assert all(7 <= at <= 7.1 for at, _ in answering.asked)
        assert not lease.is_lost


@pytest.mark.parametrize("error", [TIMED_OUT, LOST, None], ids=str)
async def test_a_member_that_ends_the_stream_is_left_at_once(
    error: CallError | None,
    one: Member,
    two: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E13: such as one whose leader does not answer it."""
    one.is_renewing = False
    async with client_of(one, two) as client, client.lease(12) as lease:
        await trio.sleep(5)
        one.keepalives[0].end(error)
        await trio.sleep(0.1)
        (stream,) = two.keepalives
        assert [number for _, number in stream.asked] == [lease.id]
        assert 15 < lease.deadline < 15.1


async def test_a_member_that_was_good_is_replaced_without_a_pause(
    one: Member, two: Member, autojump_clock: MockClock
) -> None:
    """E6: as for calls."""
    async with client_of(one, two) as client, client.lease(12):
        await trio.sleep(5)
        one.keepalives[0].end(LOST)
        await wait_all_tasks_blocked(0.001)
        assert len(two.keepalives) == 1
        assert autojump_clock.current_time() < 5.01


async def test_a_lease_that_is_not_there_is_lost_at_once(
    one: Member, autojump_clock: MockClock
) -> None:
    """E13: and the stream ends, if it was the last one."""
    one.is_renewing = False
    async with client_of(one) as client, client.lease(12) as lease:
        await trio.sleep(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.wait_lost)
            await wait_all_tasks_blocked()
            one.keepalives[0].renew(lease.id, 0)
        assert autojump_clock.current_time() == 5
        assert repr(lease).endswith("gone>")
        await wait_all_tasks_blocked()
        assert one.keepalives[0].is_closed
        with assert_checkpoints():
            await lease.wait_lost()


async def test_a_lease_that_nobody_renews_is_lost_at_its_deadline(
    one: Member, autojump_clock: MockClock
) -> None:
    """E13: once and for all, whatever is said later."""
    one.is_renewing = False
    async with client_of(one) as client, client.lease(12) as lease:
        await lease.wait_lost()
        assert autojump_clock.current_time() == 12
        lease._renew(11, 12)
        assert lease.is_lost
        assert lease.deadline == 12
        before = len(one.calls)
        with pytest.raises(RefusedError, match=r"the lease is lost, with .* instead of <L"):
            await client.put("a", b"1", lease=lease)
        assert len(one.calls) == before
        await trio.sleep(20)
        assert one.keepalives[-1].is_closed


async def test_a_scope_ends_before_its_lease(
    one: Member,
    two: Member,
    autojump_clock: MockClock,
) -> None:
    """E13: its deadline moves with that of the lease."""
    one.is_renewing = two.is_renewing = False
    async with client_of(one, two) as client, client.lease(12) as lease:
        with lease._scope(2) as scope:
            await trio.sleep(5)
            one.keepalives[0].renew(lease.id, 12)
            await trio.Event().wait()
        assert scope.cancelled_caught
        assert autojump_clock.current_time() == 14


async def test_all_leases_are_kept_alive_by_one_stream(
    one: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E13: also those that are opened later; it ends with the last one, and begins again."""
    async with client_of(one) as client:
        async with client.lease(10) as first:
            await trio.sleep(1)
            async with client.lease(10) as second:
                await trio.sleep(4)
            await trio.sleep(4)
            (stream,) = one.keepalives
            assert [number for _, number in stream.asked] == [first.id, second.id, first.id]
            assert not stream.is_closed
        await wait_all_tasks_blocked()
        assert one.keepalives[0].is_closed
        async with client.lease(10):
            await trio.sleep(4)
            assert len(one.keepalives) == 2


async def test_a_grant_that_is_made_again_is_the_same_lease(one: Member, two: Member) -> None:
    """E13: its time is at least what was asked for."""
    one.will(LOST)
    two.will(GRANTED_BEFORE)
    async with client_of(one, two) as client, client.lease(10) as lease:
        assert lease.ttl == 10
        requests = [member.calls[0][1] for member in (one, two)]
        assert {MESSAGES["LeaseGrantRequest"].FromString(each).ID for each in requests} == {
            lease.id
        }


async def test_a_new_token_is_got_for_the_stream(
    one: Member,
    two: Member,
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E8: when the one it was opened with is no longer accepted."""
    one.revision = two.revision = 1
    async with client_of(one, two, user="me") as client, client.lease(10) as lease:
        await trio.sleep(4)
        one.keepalives[0].end(BAD_TOKEN)
        await trio.sleep(1)
        two.keepalives[0].end(LOST)
        await trio.sleep(1)
        tokens = [stream.metadata["token"] for stream in one.keepalives]
        assert tokens == ["t1", "t2"]
        assert not lease.is_lost


# What is left


async def test_cancelled_while_it_is_granted(one: Member, autojump_clock: MockClock) -> None:
    """E9: the lease is ended, for it may have been granted."""
    one.will(one.silence)
    async with client_of(one) as client:
        with trio.move_on_after(1):
            async with client.lease(10):
                raise AssertionError
    assert one.names == ["LeaseGrant", "LeaseRevoke"]
    grant, revoke = (request for _, request, _ in one.calls)
    number = MESSAGES["LeaseGrantRequest"].FromString(grant).ID
    assert number == MESSAGES["LeaseRevokeRequest"].FromString(revoke).ID
    assert autojump_clock.current_time() == 1


async def test_cancelled_inside(one: Member) -> None:
    """E9: the lease is ended."""
    async with client_of(one) as client:
        with trio.CancelScope() as scope:
            async with client.lease(10):
                scope.cancel()
                await trio.Event().wait()
    assert one.leases == set()


async def test_leaving_takes_a_second_at_most(one: Member, autojump_clock: MockClock) -> None:
    """E9: whether it is cancelled or not; a lease that nobody could end ends by itself."""
    async with client_of(one) as client:
        for start in (0, 1):
            with trio.CancelScope() as scope:
                async with client.lease(10):
                    one.will(one.silence)
                    if start:
                        scope.cancel()
            assert autojump_clock.current_time() == start + 1


async def test_the_error_of_the_body_is_raised(one: Member) -> None:
    """E9: whatever becomes of the lease."""
    async with client_of(one) as client:
        with pytest.raises(KeyError, match="of the user"):
            await fail_inside(client, one)


async def fail_inside(client: EtcdClient, member: Member) -> None:
    async with client.lease(10):
        member.will(UNREACHABLE)
        raise KeyError("of the user")


async def test_cancelled_while_a_loss_is_waited_for(one: Member) -> None:
    """E13: nothing is left behind."""
    async with client_of(one) as client, client.lease(10) as lease:
        with trio.CancelScope() as scope:
            scope.cancel()
            await lease.wait_lost()
        assert scope.cancelled_caught
        assert not lease.is_lost
        assert not lease._scopes


async def test_leases_end_with_their_client(one: Member) -> None:
    """E9: also where another task has them."""
    async with trio.open_nursery() as nursery:
        async with client_of(one) as client:
            lease = await nursery.start(hold, client)
        assert lease.is_lost
        await lease.wait_lost()
        assert all(connection.is_closed for connection in one.connections)
        nursery.cancel_scope.cancel()


async def hold(client: EtcdClient, *, task_status: trio.TaskStatus[Lease]) -> None:
    async with client.lease(10) as lease:
        task_status.started(lease)
        await trio.sleep_forever()


# Bad input


@pytest.mark.parametrize(
    ("ttl", "error", "text"),
    [
        (0, ValueError, r"lease\(\): ttl=0 is not between 1 and 9000000000: pass seconds"),
        (9_000_000_001, ValueError, "is not between"),
        (1.5, TypeError, r"ttl=1.5 is no whole number: pass seconds, at least 1"),
        (True, TypeError, "no whole number"),
        ("10", TypeError, "no whole number"),
    ],
)
async def test_a_ttl_that_is_none_is_not_sent(
    ttl: int, error: type[Exception], text: str, one: Member
) -> None:
    """E6: etcd counts in whole seconds."""
    async with client_of(one) as client:
        with pytest.raises(error, match=text):
            async with client.lease(ttl):
                raise AssertionError
    assert one.calls == []


async def test_only_a_lease_that_is_open_is_put_with(one: Member) -> None:
    """E6: nothing is sent with another one."""
    async with client_of(one) as client:
        with pytest.raises(TypeError, match=r"put\(\) of 'a' was given 10, which is no lease"):
            await client.put("a", b"1", lease=10)  # type: ignore[arg-type]  # the mistake
        async with client.lease(10) as lease:
            one.will(put_done(2))
            await client.put("a", b"1", lease=lease)
        with pytest.raises(trio.ClosedResourceError, match=r"inside the lease's 'async with'"):
            await client.transaction([], [Put("a", b"1", lease)])
    assert one.names == ["LeaseGrant", "Put", "LeaseRevoke"]


def test_a_lease_is_of_one_trio_run() -> None:
    """E6: in another one it is refused."""
    kept: list[Lease] = []

    async def keep() -> None:
        async with client_of(Member()) as client, client.lease(10) as lease:
            kept.append(lease)

    async def use() -> None:
        member = Member()
        async with client_of(member) as client:
            with pytest.raises(RuntimeError, match="of another Trio run: open one in this"):
                await client.put("a", b"1", lease=kept[0])
        assert member.calls == []

    trio.run(keep)
    trio.run(use)


def test_a_lease_shows_what_it_is(one: Member) -> None:
    """E13: its number in etcd's way of writing it."""

    async def main() -> None:
        async with client_of(one) as client:
            async with client.lease(10) as lease:
                assert repr(lease) == f"<Lease {lease.id:x} of 10 s>"
                lease._end()
                assert repr(lease) == f"<Lease {lease.id:x} of 10 s gone>"
            assert repr(lease) == f"<Lease {lease.id:x} of 10 s left>"

    trio.run(main)
