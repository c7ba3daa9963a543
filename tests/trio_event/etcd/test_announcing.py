"""Keys that are there for as long as a call of announce() runs."""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_event import ABSENT, MemoryValue
from trio_event.etcd import Bytes, EtcdClient, RefusedError, announce

from .helpers.scripted import LOST, Member, message, watching_client_of
from .helpers.servers import HANG, in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from trio_event.etcd import Lease

    from .helpers.servers import Cluster


def lease_of(client: EtcdClient) -> Lease:
    """Return the lease that a client keeps alive."""
    (lease,) = client._leases._keepalives.leases  # type: ignore[union-attr]  # it is there
    return lease


async def test_a_key_is_there_while_it_is_announced(node: Cluster, prefix: str) -> None:
    """E14: and gone as soon as the call has ended."""
    async with EtcdClient(node.endpoints) as client, trio.open_nursery() as nursery:
        await nursery.start(announce, client, f"{prefix}a", b"1")
        found = await client.get(f"{prefix}a")
        assert found is not None
        assert (found.value, found.lease) == (b"1", lease_of(client).id)
        nursery.cancel_scope.cancel()
    async with EtcdClient(node.endpoints) as client:
        assert await client.get(f"{prefix}a") is None


async def test_a_value_is_followed(node: Cluster, prefix: str) -> None:
    """E14: when it is closed, its last data stay."""
    data = MemoryValue(b"1")
    async with (
        EtcdClient(node.endpoints) as client,
        client.value(f"{prefix}a", Bytes()) as stored,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(announce, client, f"{prefix}a", data)
        data.set(b"2")
        await stored.wait_for(lambda found: found == b"2")
        data.set(b"3")
        data.close()
        await stored.wait_for(lambda found: found == b"3")
        await stored.delete()
        await stored.wait_for(lambda found: found is ABSENT)
        await stored.wait_for(lambda found: found == b"3")
        nursery.cancel_scope.cancel()


async def test_a_key_that_somebody_deletes_is_put_again(node: Cluster, prefix: str) -> None:
    """E14: with the same lease."""
    async with (
        EtcdClient(node.endpoints) as client,
        client.value(f"{prefix}a", Bytes()) as stored,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(announce, client, f"{prefix}a", b"1")
        lease = lease_of(client)
        for _ in range(5):
            revision = await client.delete(f"{prefix}a")
            await stored.wait_revision(revision)
            await stored.wait_for(lambda data: data == b"1")
        assert lease_of(client) is lease
        nursery.cancel_scope.cancel()


async def test_a_lease_that_is_lost_is_replaced(node: Cluster, prefix: str) -> None:
    """E14: whether the key or a keepalive says so first; the key is put again."""
    data = MemoryValue(b"1")
    async with (
        EtcdClient(node.endpoints) as client,
        client.value(f"{prefix}a", Bytes()) as stored,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(partial(announce, ttl=60), client, f"{prefix}a", data)
        first = lease_of(client)
        version = stored.version  # what comes is gone in a moment
        await in_thread(lambda: node.control("lease", "revoke", f"{first.id:x}"))
        await stored.wait_version(version + 2)
        await stored.wait_for(lambda found: found == b"1")
        second = lease_of(client)
        assert second is not first
        version = stored.version
        second._end()
        await stored.wait_version(version + 2)
        await stored.wait_for(lambda found: found == b"1")
        nursery.cancel_scope.cancel()


FROZEN = """\
import sys

import trio
from trio_event.etcd import EtcdClient, announce


async def main():
    async with EtcdClient([sys.argv[1]]) as client:
        await announce(client, sys.argv[2], b"here", ttl=1)


trio.run(main)
"""


async def test_a_process_that_was_frozen_puts_its_key_again(
    node: Cluster, prefix: str, tmp_path: Path
) -> None:
    """E14: the key is gone while the process is stopped for longer than its lease lives."""
    script = tmp_path / "program.py"
    script.write_text(FROZEN)
    async with (
        EtcdClient(node.endpoints) as client,
        client.value(f"{prefix}a", Bytes()) as stored,
        trio.open_nursery() as nursery,
    ):
        command = [sys.executable, script, node.endpoints[0], f"{prefix}a"]
        process: trio.Process = await nursery.start(trio.run_process, command)
        with trio.fail_after(HANG):
            await stored.wait_for(lambda found: found == b"here")
            process.send_signal(signal.SIGSTOP)
            await stored.wait_for(lambda found: found is ABSENT)
            process.send_signal(signal.SIGCONT)
            await stored.wait_for(lambda found: found == b"here")
        nursery.cancel_scope.cancel()


async def test_a_key_of_somebody_else_is_refused(node: Cluster, prefix: str) -> None:
    """E14: whether a lease has it or not; nothing is changed."""
    async with EtcdClient(node.endpoints) as client, client.lease(60) as lease:
        await client.put(f"{prefix}a", b"other", lease=lease)
        with pytest.raises(RefusedError, match=rf"is there already, with lease {lease.id:x}: ann"):
            await announce(client, f"{prefix}a", b"1")
        await client.put(f"{prefix}b", b"other")
        with pytest.raises(RefusedError, match="is there already, with no lease"):
            await announce(client, f"{prefix}b", b"1")
        found = await client.get_range(prefix)
        assert [item.value for item in found.items] == [b"other", b"other"]


async def test_a_key_that_somebody_else_takes_is_refused(node: Cluster, prefix: str) -> None:
    """E14: it is noticed while it is announced."""
    async with EtcdClient(node.endpoints) as client:
        with pytest.RaisesGroup(pytest.RaisesExc(RefusedError, match="with no lease")):
            async with trio.open_nursery() as nursery:
                await nursery.start(announce, client, f"{prefix}a", b"1")
                await client.put(f"{prefix}a", b"other")


async def test_data_that_nobody_may_read_are_refused(node: Cluster) -> None:
    """E14, E6: bad input is told before anything is opened."""
    async with EtcdClient(node.endpoints) as client:
        with pytest.raises(TypeError, match=r"value='1' is not a value: pass bytes, or a value of"):
            await announce(client, "a", "1")  # type: ignore[arg-type]  # the mistake
        with pytest.raises(ValueError, match=r"announce\(\): ttl=0 is not"):
            await announce(client, "a", b"1", ttl=0)
        with pytest.raises(ValueError, match="'' is no key"):
            await announce(client, "", b"1")
        with pytest.raises(TypeError, match=r"of 'a' was given '1', which is no bytes"):
            await announce(client, "a", MemoryValue("1"))  # type: ignore[arg-type]  # the mistake


async def test_a_value_that_has_failed_ends_it(node: Cluster, prefix: str) -> None:
    """E14: the key is gone with it."""
    data = MemoryValue(b"1")
    async with EtcdClient(node.endpoints) as client:
        with pytest.RaisesGroup(trio.BrokenResourceError):
            async with trio.open_nursery() as nursery:
                await nursery.start(announce, client, f"{prefix}a", data)
                data.fail(ValueError("of the user"))
        assert await client.get(f"{prefix}a") is None


# With a member that is scripted


@pytest.mark.parametrize("answered", [0, 1])
async def test_cancelled_while_it_waits(answered: int) -> None:
    """E9: for the answer to its put, and for a change; the lease is ended."""
    member = Member()
    member.revision = 10
    async with watching_client_of(member) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(announce, client, "a", b"1")
            stream = await member.wait_stream(1)
            await stream.wait_created(1)
            while not member.leases:
                await trio.lowlevel.checkpoint()
            member.will(*[message("TxnResponse", 11, succeeded=True)] * answered)
            if not answered:
                member.will(member.silence)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert member.leases == set()


async def test_a_put_whose_outcome_is_unknown_is_made_again(
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E14, E7: what was put is found, and counts as its own."""
    member = Member()
    member.revision = 10
    async with watching_client_of(member) as client, trio.open_nursery() as nursery:

        async def lose_answer() -> bytes | None:
            member.will(found_own)
            raise LOST

        async def found_own() -> bytes | None:
            (number,) = member.leases
            item: dict[str, Any] = {"key": b"a", "value": b"1", "mod_revision": 11, "lease": number}
            got = {"response_range": {"kvs": [item]}}
            member.will(message("TxnResponse", 12, succeeded=True))
            return message("TxnResponse", 11, succeeded=False, responses=[got])

        async def grant() -> bytes | None:
            member.will(lose_answer)
            return member.answer("LeaseGrant", member.calls[-1][1])

        async with client.value("a", Bytes()):
            member.will(grant)
            await nursery.start(announce, client, "a", b"1")
            assert member.names[-3:] == ["Txn"] * 3
            nursery.cancel_scope.cancel()


async def test_it_waits_for_a_member(
    autojump_clock: object,  # noqa: ARG001  time is Trio's
) -> None:
    """E14: however long there is none that grants a lease."""
    member = Member()
    member.revision = 10

    async def grant() -> bytes | None:
        member.will(message("TxnResponse", 11, succeeded=True))
        return member.answer("LeaseGrant", member.calls[-1][1])

    async with (
        watching_client_of(member) as client,
        trio.open_nursery() as nursery,
        client.value("a", Bytes()),
    ):
        member.will(*[LOST] * 8, grant)
        await nursery.start(announce, client, "a", b"1")
        assert len(member.leases) == 1
        nursery.cancel_scope.cancel()
    assert member.leases == set()
