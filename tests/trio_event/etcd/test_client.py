"""What a client does with a real cluster of one member."""

from __future__ import annotations

import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_event.etcd import (
    Bytes,
    Compare,
    Delete,
    EtcdClient,
    Get,
    KeyValue,
    Operation,
    Put,
    RefusedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .helpers.servers import Cluster


@pytest.fixture
async def client(node: Cluster) -> AsyncIterator[EtcdClient]:
    """A client of the cluster."""
    async with EtcdClient(node.endpoints) as entered:
        yield entered


async def test_what_was_put_is_there(client: EtcdClient, prefix: str) -> None:
    """E7: a put returns its revision, and what is read tells it."""
    created = await client.put(f"{prefix}a", b"1")
    changed = await client.put(f"{prefix}a", b"2")
    assert changed > created
    key = f"{prefix}a".encode()
    assert await client.get(f"{prefix}a") == KeyValue(key, b"2", changed, created)
    assert await client.get(key, serializable=True) == KeyValue(key, b"2", changed, created)


async def test_what_was_deleted_is_not_there(client: EtcdClient, prefix: str) -> None:
    """E7: a delete returns its revision, and one of nothing the present one."""
    put = await client.put(f"{prefix}a", b"")
    stored = await client.get(f"{prefix}a")
    assert stored is not None
    assert stored.value == b""
    deleted = await client.delete(f"{prefix}a")
    assert deleted == put + 1
    assert await client.get(f"{prefix}a") is None
    assert await client.delete(f"{prefix}a") == deleted


async def test_a_range_has_the_keys_with_a_prefix(client: EtcdClient, prefix: str) -> None:
    """E1: a range is one revision, in the order of the keys."""
    await client.put(f"{prefix}b", b"2")
    revision = await client.put(f"{prefix}a", b"1")
    await client.put(prefix[:-1], b"not below the prefix")
    found = await client.get_range(prefix)
    assert [(item.key, item.value) for item in found.items] == [
        (f"{prefix}a".encode(), b"1"),
        (f"{prefix}b".encode(), b"2"),
    ]
    assert found.revision == revision + 1
    assert (await client.get_range(f"{prefix}c")).items == ()
    assert (await client.get_range(prefix, serializable=True)).items == found.items


async def test_a_prefix_may_end_with_the_highest_byte(client: EtcdClient, prefix: str) -> None:
    """E1: the end of a range is behind all of its keys, whatever their bytes."""
    highest = prefix.encode() + b"\xff\xff"
    await client.put(highest + b"\xff", b"1")
    await client.put(prefix.encode() + b"\xff\xfe", b"2")
    assert [item.value for item in (await client.get_range(highest)).items] == [b"1"]


async def test_a_large_range_is_read_page_by_page(client: EtcdClient, prefix: str) -> None:
    """E1: pages make up the whole, each key once."""
    for begin in range(0, 2100, 100):
        operations = [Put(f"{prefix}{i:04}", b"%d" % i) for i in range(begin, begin + 100)]
        await client.transaction([], operations)
    found = await client.get_range(prefix)
    assert [item.value for item in found.items] == [b"%d" % i for i in range(2100)]


async def test_a_transaction_does_one_of_two_things(client: EtcdClient, prefix: str) -> None:
    """E7: a comparison decides, and the writes have one revision."""
    key, other = f"{prefix}a", f"{prefix}b"
    arguments: tuple[list[Compare], list[Operation], list[Operation]] = (
        [Compare(key, "create_revision", "==", 0)],
        [Put(key, b"1"), Put(other, b"1"), Get(other)],
        [Get(key), Delete(other), Get(other)],
    )
    first = await client.transaction(*arguments)
    assert first.succeeded
    (got,) = first.gets
    assert got == KeyValue(other.encode(), b"1", first.revision, first.revision)
    second = await client.transaction(*arguments)
    assert not second.succeeded
    assert second.revision == first.revision + 1
    assert second.gets == (KeyValue(key.encode(), b"1", first.revision, first.revision), None)


@pytest.mark.parametrize(
    ("compared", "is_true"),
    [
        (("value", "==", b"2"), True),
        (("value", "<", b"2"), False),
        (("value", "!=", b"3"), True),
        (("value", ">", b"1"), True),
        (("mod_revision", ">", 1), True),
        (("create_revision", "<", 1), False),
    ],
)
async def test_what_is_compared(
    client: EtcdClient, prefix: str, compared: tuple[Any, Any, int | bytes], *, is_true: bool
) -> None:
    """E7: data and revisions are compared as the comparison says."""
    await client.put(f"{prefix}a", b"2")
    compare = Compare(f"{prefix}a", *compared)
    assert (await client.transaction([compare], [])).succeeded is is_true


async def test_many_tasks_share_a_connection(node: Cluster, prefix: str) -> None:
    """E9: calls of many tasks need no more threads than one call, and values none of their own."""
    before = set(threading.enumerate())
    async with EtcdClient(node.endpoints) as client, AsyncExitStack() as stack:

        async def put(i: int) -> None:
            await client.put(f"{prefix}{i:03}", b"%d" % i)

        for i in range(20):
            await stack.enter_async_context(client.value(f"{prefix}{i:03}", Bytes()))
        async with trio.open_nursery() as nursery:
            for i in range(200):
                nursery.start_soon(put, i)
        assert len((await client.get_range(prefix)).items) == 200
        # The reader of the stream, and grpcio's: for what is sent there, and for each connection.
        assert len(set(threading.enumerate()) - before) <= 4


async def test_a_request_that_can_not_be_served_is_refused(client: EtcdClient, prefix: str) -> None:
    """E6: what etcd finds wrong with a request is told at once, with what it says."""
    twice = [Put(f"{prefix}a", b"1"), Put(f"{prefix}a", b"2")]
    with pytest.raises(RefusedError, match=r"refused the transaction with put of .*duplicate key"):
        await client.transaction([], twice)


async def test_nothing_is_left_of_a_client(node: Cluster, prefix: str) -> None:
    """E9: when it was left, its threads end."""
    before = set(threading.enumerate())
    async with EtcdClient(node.endpoints) as client:
        await client.put(f"{prefix}a", b"1")
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


async def test_a_client_that_does_nothing_needs_no_server() -> None:
    """E9: entering and leaving sends nothing."""
    async with EtcdClient(["127.0.0.1:1"]) as client:
        assert repr(client) == "<EtcdClient open 127.0.0.1:1>"
    assert repr(client) == "<EtcdClient left 127.0.0.1:1>"
