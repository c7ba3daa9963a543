"""How the types of ``trio_event.etcd`` look from outside: for type checkers, never run.

Lines that must be refused carry a ``type: ignore`` with the reason that the checker gives;
an ignore that is not needed is itself an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_type

import attrs

from trio_event import Absent, Change, ValueWatch
from trio_event.etcd import (
    TLS,
    Bytes,
    Codec,
    Compare,
    Delete,
    EtcdClient,
    EtcdMap,
    EtcdValue,
    Get,
    Health,
    Json,
    KeyRange,
    KeyValue,
    Put,
    Text,
    TransactionResult,
)


@attrs.frozen
class Config:
    color: str


class Number:
    """A codec of the user's own."""

    def encode(self, value: int) -> bytes:
        return b"%d" % value

    def decode(self, data: bytes) -> int:
        return int(data)


number: Codec[int] = Number()


async def calls() -> None:
    async with EtcdClient(["a:1"], tls=TLS(ca="ca.pem"), timeout=3) as client:
        assert_type(client, EtcdClient)
        assert_type(await client.get("a"), KeyValue | None)
        assert_type(await client.get_range(b"a", serializable=True), KeyRange)
        assert_type(await client.put("a", b"1"), int)
        assert_type(await client.delete("a"), int)
        result = await client.transaction(
            [Compare("a", "value", "==", b"1")], [Put("a", b"2"), Get("a")], [Delete("a")]
        )
        assert_type(result, TransactionResult)
        assert_type(client.health, ValueWatch[Health])
        Compare("a", "size", "==", 1)  # type: ignore[arg-type]


async def values(client: EtcdClient) -> None:
    async with client.value("a", Json(Config)) as value:
        assert_type(value, EtcdValue[Config])
        watched: ValueWatch[Config | Absent] = value
        assert_type(watched.peek(), Config | Absent)
        assert_type(value.present(), ValueWatch[Config])
        assert_type(await value.put(Config("red")), int)
        assert_type(await value.compare_and_set(1, Config("red")), bool)
        await value.put("red")  # type: ignore[arg-type]
    async with client.value("a", number) as counted:
        assert_type(await counted.update(lambda data: 1 if isinstance(data, Absent) else data), int)
    async with client.value("a", Text()) as text, client.value("a", Bytes()) as data:
        assert_type(text.peek(), str | Absent)
        assert_type(data.peek(), bytes | Absent)


async def maps(client: EtcdClient) -> None:
    async with client.map("a/", Json(Config), on_decode_error="skip") as opened:
        assert_type(opened, EtcdMap[Config])
        watched: ValueWatch[Sequence[Change[str, Config]]] = opened
        mapping: Mapping[str, Config] = opened
        assert_type(watched.peek(), Sequence[Change[str, Config]])
        assert_type(mapping["b"], Config)
        assert_type(opened.item("b"), ValueWatch[Config | Absent])
        assert_type(opened.item("b").present(), ValueWatch[Config])
        assert_type(await opened.replace_all({"b": Config("red")}), int)
