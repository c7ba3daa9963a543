"""Electing a leader: one leads, another one when it is gone, and nobody writes for a lost term."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import supervisor
from supervisor import Signal
from trio_event import ABSENT, MemoryValue
from trio_event.etcd import (
    Bytes,
    Compare,
    EtcdClient,
    Get,
    Leadership,
    LeadershipLostError,
    Put,
    RefusedError,
    current_leadership,
    elect,
)

from .helpers.scripted import DENIED, LOST, Member, message, watching_client_of
from .helpers.servers import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .helpers.servers import Cluster

pytestmark = pytest.mark.processes


@final
class Candidate:
    """A process that takes part, as a tree in this one."""

    def __init__(self, client: EtcdClient, name: str, ttl: int = 10) -> None:
        self.client = client
        self.name = name
        self.ttl = ttl
        self.leads: MemoryValue[Leadership | None] = MemoryValue(None)
        self.terms: list[Leadership] = []
        self.tree: supervisor.Supervisor | None = None
        # What the leader does after it was told to go on.
        self.go_on = trio.Event()
        self.error: Exception | None = None

    async def lead(self) -> None:
        """Lead until told to go on."""
        supervisor.signal(Signal.HEALTHY)
        leadership = current_leadership()
        self.terms.append(leadership)
        self.leads.set(leadership)
        try:
            await self.go_on.wait()
        finally:
            self.leads.set(None)
        if self.error is not None:
            error, self.error = self.error, None
            self.go_on = trio.Event()
            raise error
        supervisor.signal(Signal.DONE)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until it is done."""
        backoff = supervisor.Backoff(initial=0.01)

        async def root() -> None:
            self.tree = supervisor.current_supervisor()
            supervisor.run("leader", elect(self.client, self.name, self.lead, ttl=self.ttl))
            supervisor.signal(Signal.HEALTHY)
            task_status.started()
            supervisor.signal(Signal.DONE)

        await supervisor.supervise(root, backoff=backoff)

    async def wait_leads(self) -> Leadership:
        """Wait until it leads."""
        leadership = await self.leads.wait_for(lambda each: each is not None)
        assert leadership is not None
        return leadership

    async def wait_ended(self) -> None:
        """Wait until it does not lead."""
        await self.leads.wait_for(lambda each: each is None)


@pytest.fixture
async def client(node: Cluster) -> AsyncIterator[EtcdClient]:
    async with EtcdClient(node.endpoints) as made:
        yield made


async def wait_keys(client: EtcdClient, name: str, count: int) -> list[str]:
    """Wait until so many candidates are there; return their keys, the oldest first."""
    async with client.map(f"{name}/", Bytes()) as keys:
        await keys.wait_for(lambda _: len(keys) == count)
    found = await client.get_range(f"{name}/")
    return [
        item.key.decode() for item in sorted(found.items, key=lambda item: item.create_revision)
    ]


async def test_the_next_one_leads_when_a_leader_is_done(client: EtcdClient, prefix: str) -> None:
    """E10: it leads by a later revision; the one that is done takes part no longer."""
    first, second = Candidate(client, prefix + "e"), Candidate(client, prefix + "e")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        before = await first.wait_leads()
        nursery.start_soon(second.run)
        keys = await wait_keys(client, prefix + "e", 2)
        assert keys[0] == before.key
        assert second.terms == []
        first.go_on.set()
        after = await second.wait_leads()
        assert after.revision > before.revision
        assert await wait_keys(client, prefix + "e", 1) == [after.key]
        second.go_on.set()
    assert (await client.get_range(prefix + "e/")).items == ()
    assert (len(first.terms), len(second.terms)) == (1, 1)


async def test_a_candidate_is_healthy_and_its_term_is_a_child(
    client: EtcdClient, prefix: str
) -> None:
    """E10: of its pool, under the revision by which it leads."""
    first, second = Candidate(client, prefix + "e"), Candidate(client, prefix + "e")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        leadership = await first.wait_leads()
        nursery.start_soon(second.run)
        await wait_keys(client, prefix + "e", 2)
        assert first.tree is not None
        assert second.tree is not None
        assert f"root.leader.terms.{leadership.revision}" in first.tree.snapshot().nodes
        await second.tree.wait_ready()
        nursery.cancel_scope.cancel()


async def test_a_candidate_whose_key_is_deleted_takes_part_again(
    client: EtcdClient, prefix: str
) -> None:
    """E10: behind the others; the leader is not disturbed."""
    candidates = [Candidate(client, prefix + "e") for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for i, candidate in enumerate(candidates):
            nursery.start_soon(candidate.run)
            if not i:
                await candidate.wait_leads()
            await wait_keys(client, prefix + "e", i + 1)
        await client.delete((await wait_keys(client, prefix + "e", 3))[1])
        async with client.map(f"{prefix}e/", Bytes()) as there:
            await there.wait_for(lambda _: len(there) == 3)
        assert len(await wait_keys(client, prefix + "e", 3)) == 3
        assert [len(candidate.terms) for candidate in candidates] == [1, 0, 0]
        candidates[0].go_on.set()
        await candidates[2].wait_leads()
        candidates[2].go_on.set()
        await candidates[1].wait_leads()
        nursery.cancel_scope.cancel()


async def test_a_leader_whose_key_is_deleted_leads_no_longer(
    client: EtcdClient, prefix: str
) -> None:
    """E10: its child is cancelled, its writes are refused, and it is a candidate again."""
    first, second = Candidate(client, prefix + "e"), Candidate(client, prefix + "e")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        before = await first.wait_leads()
        nursery.start_soon(second.run)
        await wait_keys(client, prefix + "e", 2)
        await client.delete(before.key)
        with pytest.raises(LeadershipLostError, match="lost: leave the work to the next leader"):
            await before.put(prefix + "a", b"1")
        await first.wait_ended()
        after = await second.wait_leads()
        assert after.revision > before.revision
        assert (await wait_keys(client, prefix + "e", 2))[0] == after.key
        second.go_on.set()
        await first.wait_leads()
        nursery.cancel_scope.cancel()


async def test_a_leader_whose_lease_is_ended_leads_no_longer(
    node: Cluster, client: EtcdClient, prefix: str
) -> None:
    """E10: it is a candidate again, with another lease."""
    first = Candidate(client, prefix + "e")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        before = await first.wait_leads()
        await in_thread(lambda: node.control("lease", "revoke", f"{before.lease.id:x}"))
        await first.wait_ended()
        after = await first.wait_leads()
        assert after.lease is not before.lease
        assert after.key != before.key
        nursery.cancel_scope.cancel()


async def test_a_candidate_that_waits_for_longer_than_its_lease_is_there(
    node: Cluster, client: EtcdClient, prefix: str
) -> None:
    """E10: its lease is kept alive from before the campaign."""
    first, second = (Candidate(client, prefix + "e", ttl=1) for _ in range(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        await first.wait_leads()
        nursery.start_soon(second.run)
        keys = await wait_keys(client, prefix + "e", 2)
        granted = await trio.to_thread.run_sync(node.control, "lease", "grant", "2")
        lease = f"--lease={granted['ID']:x}"
        await in_thread(lambda: node.control("put", f"{prefix}other", "1", lease))
        async with client.value(f"{prefix}other", Bytes()) as other:
            await other.wait_for(lambda data: data is ABSENT)
        assert await wait_keys(client, prefix + "e", 2) == keys
        nursery.cancel_scope.cancel()


async def test_the_child_dies_and_another_one_leads(client: EtcdClient, prefix: str) -> None:
    """E10: the runnable dies of the same error, and is a candidate when it is started again."""
    first, second = Candidate(client, prefix + "e"), Candidate(client, prefix + "e")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        await first.wait_leads()
        nursery.start_soon(second.run)
        await wait_keys(client, prefix + "e", 2)
        first.error = ValueError("of the user")
        first.go_on.set()
        await second.wait_leads()
        await wait_keys(client, prefix + "e", 2)
        assert first.tree is not None
        assert "ValueError" in str(first.tree.snapshot())
        second.go_on.set()
        await first.wait_leads()
        nursery.cancel_scope.cancel()


async def test_a_child_that_finds_its_leadership_lost_is_no_failure(
    client: EtcdClient, prefix: str
) -> None:
    """E10: the runnable is a candidate again, without a restart."""
    first = Candidate(client, prefix + "e")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        await first.wait_leads()
        first.error = LeadershipLostError("said by the cluster")
        first.go_on.set()
        await first.wait_ended()
        await first.wait_leads()
        assert first.tree is not None
        assert first.tree.snapshot().nodes["root.leader"].group.failures == 0
        nursery.cancel_scope.cancel()


async def test_what_a_leader_writes_is_fenced(client: EtcdClient, prefix: str) -> None:
    """E10: puts, deletes and transactions; nothing of them is done when it is lost."""
    first = Candidate(client, prefix + "e")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        leader = await first.wait_leads()
        a, b = f"{prefix}a", f"{prefix}b"
        revision = await leader.put(a, b"1", lease=leader.lease)
        stored = await client.get(a)
        assert stored is not None
        assert (stored.mod_revision, stored.lease) == (revision, leader.lease.id)
        absent = [Compare(a, "create_revision", "==", 0)]
        result = await leader.transaction(absent, [Put(b, b"no")], [Get(a), Put(b, b"yes")])
        assert (result.succeeded, result.revision) == (False, revision + 1)
        assert [each and each.value for each in result.gets] == [b"1"]
        assert await leader.delete(a) == revision + 2
        assert await client.get(a) is None
        await client.delete(leader.key)
        for call in (leader.put(a, b"2"), leader.delete(b), leader.transaction([], [], [])):
            with pytest.raises(LeadershipLostError):
                await call
        assert await client.get(a) is None
        stored = await client.get(b)
        assert stored is not None
        assert stored.value == b"yes"
        nursery.cancel_scope.cancel()
    with pytest.raises(LeadershipLostError):
        await leader.put(a, b"2")
    assert repr(leader) == f"<Leadership of '{prefix}e' since revision {leader.revision} lost>"


async def test_a_stop_ends_the_child_before_the_lease(
    node: Cluster, client: EtcdClient, prefix: str
) -> None:
    """E10: its grace included; then the next one leads at once."""
    there: list[bool] = []

    @final
    class Slow:
        grace = 5.0

        async def __call__(self) -> None:
            supervisor.signal(Signal.HEALTHY)
            leadership = current_leadership()
            with supervisor.stop_scope():
                await trio.Event().wait()
            there.append(await client.get(leadership.key) is not None)

    async def root() -> None:
        supervisor.run("leader", elect(client, prefix + "e", Slow()))
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    async with supervisor.open_supervisor(root) as tree:
        await wait_keys(client, prefix + "e", 1)
        async with client.map(f"{prefix}e/", Bytes()) as keys:
            await tree.wait_ready()
            await tree.stop()
            assert there in ([True], [])
            await keys.wait_for(lambda _: not keys)
    assert node.control("lease", "list")["leases"] == []


# With members that are scripted


def elected(revision: int) -> Iterator[bytes]:
    """Answer the transactions by which a candidate leads."""
    yield message("TxnResponse", revision, succeeded=True)
    yield message("TxnResponse", revision, succeeded=True)


async def test_a_child_ends_before_the_lease_does(autojump_clock: trio.testing.MockClock) -> None:
    """E10: by the margin, counted from the sending of what was acknowledged last."""
    member = Member()
    member.revision = 10
    ended: list[float] = []

    async def lead() -> None:
        supervisor.signal(Signal.HEALTHY)
        try:
            await trio.Event().wait()
        finally:
            ended.append(trio.current_time())

    async def grant() -> bytes | None:
        await trio.sleep(0.5)
        member.will(*elected(11), *[member.silence] * 100)
        return member.answer("LeaseGrant", member.calls[-1][1])

    async with watching_client_of(member) as client, trio.open_nursery() as nursery:
        member.items["e"] = 5
        async with client.value("e", Bytes()):
            member.is_renewing = False
            member.will(grant)
            nursery.start_soon(supervisor.supervise, elect(client, "e", lead, ttl=12, margin=3))
            await trio.sleep(11)
        assert ended == [9]
        nursery.cancel_scope.cancel()
    assert autojump_clock.current_time() >= 11


@pytest.mark.parametrize("answers", [0, 1, 2])
async def test_cancelled_at_each_call(answers: int) -> None:
    """E9: while it joins, looks for older ones, and leads; the lease is ended."""
    member = Member()
    member.revision = 10

    async def grant() -> bytes | None:
        member.will(*list(elected(11))[:answers])
        if answers < 2:
            member.will(member.silence)
        granted = member.answer("LeaseGrant", member.calls[-1][1])
        (number,) = member.leases
        member.items[f"e/{number:016x}"] = 11
        return granted

    async def lead() -> None:
        await trio.Event().wait()

    async with watching_client_of(member) as client, trio.open_nursery() as nursery:
        member.items["e"] = 5
        async with client.value("e", Bytes()):
            member.will(grant)
            nursery.start_soon(supervisor.supervise, elect(client, "e", lead))
            await wait_all_tasks_blocked(0.01)
            assert len(member.leases) == 1
            nursery.cancel_scope.cancel()
    assert member.leases == set()


async def test_a_join_is_made_again(
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E10, E7: after an unknown outcome, for the key is its own alone."""
    member = Member()
    member.revision = 10
    leads = trio.Event()

    async def lead() -> None:
        leads.set()
        await trio.Event().wait()

    async def grant() -> bytes | None:
        found = {"response_range": {"kvs": [{"key": b"e/1", "create_revision": 11}]}}
        member.will(LOST, message("TxnResponse", 12, succeeded=False, responses=[found]))
        member.will(message("TxnResponse", 12, succeeded=True))
        return member.answer("LeaseGrant", member.calls[-1][1])

    async with watching_client_of(member) as client, trio.open_nursery() as nursery:
        member.items["e"] = 5
        async with client.value("e", Bytes()):
            member.will(grant)
            nursery.start_soon(supervisor.supervise, elect(client, "e", lead))
            await leads.wait()
            nursery.cancel_scope.cancel()


async def test_a_candidate_without_permission_dies() -> None:
    """E10, E6: its supervisor is told why."""
    member = Member()
    member.revision = 10

    async def grant() -> bytes | None:
        member.will(DENIED)
        return member.answer("LeaseGrant", member.calls[-1][1])

    async with watching_client_of(member) as client:
        member.items["e"] = 5
        async with client.value("e", Bytes()):
            member.will(grant)
            with pytest.raises(RefusedError, match="no permission"):
                await supervisor.supervise(elect(client, "e", trio.sleep_forever), propagate=True)


# Bad input


async def test_bad_arguments_are_told_at_the_call() -> None:
    """E10: with what was given, and what to give."""
    client = EtcdClient(["localhost:1"])
    with pytest.raises(ValueError, match=r"elect\(\): '' is no key"):
        elect(client, "", trio.sleep_forever)
    with pytest.raises(TypeError, match=r"elect\(\): runnable=None is no async function"):
        elect(client, "e", None)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ValueError, match=r"elect\(\): ttl=0 is not between"):
        elect(client, "e", trio.sleep_forever, ttl=0)
    with pytest.raises(ValueError, match=r"margin=5 is not below half of ttl=10: make it small"):
        elect(client, "e", trio.sleep_forever, margin=5)
    with pytest.raises(LookupError, match=r"outside of what elect\(\) runs"):
        current_leadership()
    assert repr(elect(client, "e", trio.sleep_forever)) == "<Election 'e'>"
