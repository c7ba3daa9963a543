"""Bad input is told before anything is sent, with what is wrong and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NewType, Optional

import attrs
import pytest
import trio

from trio_event import ABSENT, MemoryValue
from trio_event.etcd import (
    TLS,
    Compare,
    EtcdClient,
    Get,
    Json,
    Put,
    RefusedError,
    Text,
    announce,
    elect,
)

from .helpers.scripted import Member, client_of
from .helpers.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BAD_CLIENTS: list[tuple[object, dict[str, Any], str]] = [
    ([], {}, "endpoints is empty: pass at least one"),
    (["localhost"], {}, "'localhost' is no endpoint: write host:port"),
    (["localhost:"], {}, "'localhost:' is no endpoint"),
    (["localhost:0"], {}, "'localhost:0' is no endpoint"),
    (["localhost:65536"], {}, "is no endpoint"),
    (["http://localhost:2379/v3"], {}, "without a path"),
    (["::1:2379"], {}, "'::1:2379' is no endpoint"),
    ([2379], {}, "2379 is no endpoint"),
    (["ftp://localhost:1"], {}, "has the scheme 'ftp': write http or https"),
    (["http://localhost:1"], {"tls": TLS()}, "is not encrypted: write https, or leave tls= out"),
    (["https://localhost:1"], {}, r"is encrypted: pass tls=TLS\(...\), or write http"),
    (["localhost:1"], {"user": "a"}, "password= is missing"),
    (["localhost:1"], {"password": "a"}, "user= is missing"),
    (["localhost:1"], {"timeout": 0}, "leaves no time"),
    (["localhost:1"], {"timeout": -1}, "not a finite number of at least 0"),
    (["localhost:1"], {"timeout": float("inf")}, "not a finite number"),
    (["localhost:1"], {"timeout": float("nan")}, "not a finite number"),
    (["localhost:1"], {"user": "", "password": "a"}, "user= is empty: pass one, or leave"),
]


@pytest.mark.parametrize(("endpoints", "options", "text"), BAD_CLIENTS)
def test_a_client_that_could_not_work_is_not_made(
    endpoints: list[str], options: dict[str, Any], text: str
) -> None:
    """E8: endpoints, encryption and user have to fit together."""
    with pytest.raises(ValueError, match=text):
        EtcdClient(endpoints, **options)


@pytest.mark.parametrize(
    ("endpoints", "options", "text"),
    [
        ("localhost:1", {}, r"no list: pass \['localhost:1'\]"),
        (None, {}, "endpoints=None is no list: pass one of strings"),
        (["localhost:1"], {"user": 1, "password": "a"}, "user= is a int: pass a string"),
        (["localhost:1"], {"user": "a", "password": b"a"}, "password= is a bytes: pass a string"),
        (["localhost:1"], {"tls": True}, r"tls=True is not how to encrypt: pass TLS\(...\)"),
        (["localhost:1"], {"timeout": "5"}, "timeout='5' is not a number"),
    ],
)
def test_a_client_is_not_made_of_what_is_of_another_type(
    endpoints: list[str], options: dict[str, Any], text: str
) -> None:
    """E8: the message shows what was given."""
    with pytest.raises(TypeError, match=text):
        EtcdClient(endpoints, **options)


@pytest.mark.parametrize(
    ("endpoint", "tls"),
    [
        ("localhost:2379", None),
        ("http://localhost:2379", None),
        ("http://localhost:2379/", None),
        ("[::1]:2379", None),
        ("https://localhost:2379", TLS()),
        ("localhost:2379", TLS()),
    ],
)
def test_an_endpoint_has_a_host_and_a_port(endpoint: str, tls: TLS | None) -> None:
    """E8: the scheme is optional, and only says whether there is TLS."""
    target = endpoint.rpartition("//")[2].rstrip("/")
    assert repr(EtcdClient([endpoint], tls=tls)) == f"<EtcdClient new {target}>"


def test_no_text_of_a_client_has_the_password() -> None:
    """E8: it may be logged."""
    client = EtcdClient(["localhost:2379"], user="me", password="secret")  # noqa: S106  it is one
    assert repr(client) == "<EtcdClient new localhost:2379 user='me'>"


def test_a_certificate_needs_its_key() -> None:
    """E8: and a key its certificate."""
    with pytest.raises(ValueError, match="certificate= without key="):
        TLS(certificate="cert.pem")
    with pytest.raises(ValueError, match="key= without certificate="):
        TLS(key="key.pem")


def test_what_names_no_file_is_no_certificate() -> None:
    """E8: it is told when the TLS is made, not when a connection is."""
    bad: Any = b"ca"
    with pytest.raises(TypeError, match=r"TLS\(\): ca=b'ca' is no path: pass that of a PEM file"):
        TLS(ca=bad)
    with pytest.raises(TypeError, match="certificate=b'ca' is no path"):
        TLS(certificate=bad, key="key.pem")
    with pytest.raises(TypeError, match="server_name=b'ca' is no name: pass a string"):
        TLS(server_name=bad)


@pytest.mark.parametrize("name", ["get", "get_range", "delete", "put"])
@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        ("", ValueError, "'' is no key, but stands for all keys"),
        ("\0", ValueError, "stands for all keys"),
        ("\ud800", ValueError, "is no key .surrogates not allowed.: pass bytes"),
        (1, TypeError, "1 is no key: pass a string"),
    ],
)
async def test_a_key_that_is_none_is_not_sent(
    name: str, key: str, error: type[Exception], text: str
) -> None:
    """E6: an empty key or prefix, by which etcd means all keys, is refused here."""
    member = Member()
    async with client_of(member) as client:
        arguments = (key, b"data") if name == "put" else (key,)
        with pytest.raises(error, match=text):
            await getattr(client, name)(*arguments)
    assert member.calls == []


async def test_data_are_bytes_and_not_too_many() -> None:
    """E6: the message names the key and the limit, and nothing is sent."""
    member = Member()
    async with client_of(member) as client:
        with pytest.raises(TypeError, match=r"put\(\) of 'a' was given 'text', which is no bytes"):
            await client.put("a", "text")  # type: ignore[arg-type]  # the mistake
        with pytest.raises(
            ValueError, match=r"put of 'a' has .* bytes, and a server takes 1572864"
        ):
            await client.put("a", bytes(1_572_864))
        with pytest.raises(ValueError, match="transaction with put of 'a', put of 'b' has"):
            await client.transaction([], [Put("a", bytes(800_000)), Put("b", bytes(800_000))])
    assert member.calls == []


async def test_a_transaction_is_made_of_its_parts() -> None:
    """E6: of at most as many as a server takes."""
    member = Member()
    async with client_of(member) as client:
        with pytest.raises(ValueError, match="then has 129 items, and a server takes 128"):
            await client.transaction([], [Get("a")] * 129)
        with pytest.raises(TypeError, match=r"compare=Compare.* is no list: pass \["):
            await client.transaction(Compare("a", "value", "==", b""), [])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="then has 'a', which is no Get, Put or Delete"):
            await client.transaction([], ["a"])  # type: ignore[list-item]  # the mistake
        with pytest.raises(TypeError, match=r"compare has Get.*, which is no Compare"):
            await client.transaction([Get("a")], [])  # type: ignore[list-item]  # the mistake
    assert member.calls == []


def test_a_comparison_is_one_that_etcd_can_make() -> None:
    """E7: target, operator and operand have to fit."""
    with pytest.raises(ValueError, match="'size' '==' is no comparison: the targets are create_"):
        Compare("a", "size", "==", 1)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ValueError, match=r"'>=' is no comparison: .*the operators =="):
        Compare("a", "value", ">=", b"")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="operand=1 of value is no bytes"):
        Compare("a", "value", "==", 1)
    with pytest.raises(TypeError, match="operand=b'1' of mod_revision is no int"):
        Compare("a", "mod_revision", "==", b"1")
    with pytest.raises(ValueError, match="stands for all keys"):
        Compare("", "value", "==", b"")
    with pytest.raises(ValueError, match="operand=-1 of mod_revision is no revision: pass one"):
        Compare("a", "mod_revision", "==", -1)


# What is opened


@attrs.frozen
class Config:
    """Data of a user's."""

    size: int = 1


@pytest.mark.parametrize(
    ("key", "codec", "error", "text"),
    [
        (b"a", Text(), TypeError, r"\(\): b'a' is no key: pass a string"),
        (None, Text(), TypeError, r"\(\): None is no key: pass a string"),
        ("", Text(), ValueError, r"\(\): '' is no key, but stands for all keys"),
        ("\0", Text(), ValueError, "stands for all keys"),
        ("a", Text, TypeError, "Text'> is no codec: pass an object with encode"),
        ("a", Json, TypeError, "Json'> is no codec"),
        ("a", Config, TypeError, "Config'> is no codec"),
        ("a", Config(), TypeError, r"Config\(size=1\) is no codec"),
        ("a", None, TypeError, "None is no codec"),
    ],
)
@pytest.mark.parametrize("name", ["value", "map"])
def test_what_can_not_be_opened_is_told_at_the_call(
    name: str, key: object, codec: object, error: type[Exception], text: str
) -> None:
    """E6, E11: before the 'async with', and before the client is entered."""
    call = getattr(client_of(Member()), name)
    with pytest.raises(error, match=rf"^{name}.*{text}"):
        call(key, codec)
    with pytest.raises(TypeError, match="codec"):
        call("a")
    with pytest.raises(ValueError, match="on_decode_error='stop' is neither 'raise' nor 'skip'"):
        call("a", Text(), on_decode_error="stop")


@pytest.mark.parametrize("ttl", [0, -1, True, 1.5, float("nan"), None, "5", 10**12])
def test_a_ttl_is_a_whole_number_of_seconds(ttl: int) -> None:
    """E6, E13: of leases, elections and announcements, at the call."""

    async def lead() -> None:
        raise AssertionError("unreachable")

    client = client_of(Member())
    with pytest.raises((TypeError, ValueError), match=r"^lease\(\): ttl=.*: pass seconds"):
        client.lease(ttl)
    with pytest.raises((TypeError, ValueError), match=r"^elect\(\): ttl=.*: pass seconds"):
        elect(client, "a", lead, ttl=ttl)


async def test_what_is_not_open_says_how_to_open_it() -> None:
    """E9: a forgotten 'async with' is told where it matters, and nothing is sent."""
    store = Store()
    client = store.client()
    with pytest.raises(RuntimeError, match="enter it before, by 'async with'"):
        await client.put("a", b"1")
    async with client:
        opening: Any = client.value("a", Text())
        assert repr(opening) == "<client.value('a', ...), for an 'async with'>"
        with pytest.raises(
            AttributeError, match=r"has no 'put': write 'async with client.value\('a'"
        ):
            await opening.put("1")
        with pytest.raises(TypeError, match="can't be awaited: write 'async with"):
            await opening
        lease: Any = client.lease(5)
        with pytest.raises(TypeError, match=r"client.lease\(5\).* is no lease: open one by lease"):
            await client.put("a", b"1", lease=lease)
        async with opening:
            pass
        with pytest.raises(RuntimeError, match="was entered before: make the call for each"):
            await opening.__aenter__()
    assert store.changes == []


async def test_data_of_another_type_are_not_stored() -> None:
    """E6: they would be bad data for each reader. The message names the key and the data."""
    store = Store()
    async with (
        store.client() as client,
        client.value("text", Text()) as text,
        client.value("json", Json(Config)) as config,
        client.map("map/", Json(int)) as numbers,
    ):
        bad: Any
        for bad in (1, None, b"1"):
            with pytest.raises(
                TypeError, match=r"Text\(\) can't store .*, which is no str"
            ) as error:
                await text.put(bad)
            assert error.value.__notes__ == ["It was to be stored under 'text'."]
        for bad in ("text", {"size": 1}, Config, object()):
            with pytest.raises(
                TypeError, match=r"Json\(Config\) can't store .*, which is no Config"
            ):
                await config.put(bad)
        for bad in (True, "1", 1.5):
            with pytest.raises(TypeError, match=r"Json\(int\) can't store"):
                await numbers.put("a", bad)
            with pytest.raises(TypeError, match=r"Json\(int\) can't store"):
                await numbers.replace_all({"a": 1, "b": bad})
        bad = ABSENT
        with pytest.raises(TypeError, match=r"ABSENT can't be stored under 'text': call delete"):
            await text.put(bad)
        with pytest.raises(TypeError, match="ABSENT can't be stored"):
            await text.update(lambda data: data)  # type: ignore[arg-type, return-value]  # the mistake
    assert store.changes == []


@pytest.mark.parametrize("bad", [Config(), "Config", None, 1])
def test_json_is_of_a_type(bad: type[object]) -> None:
    """E6: not of an object of it, nor of its name."""
    with pytest.raises(TypeError, match=r"Json\(\): .* is no type: pass the class of the data"):
        Json(bad)


def test_json_may_be_of_all_that_is_a_type() -> None:
    """E6: of classes, and what stands for several."""
    number = NewType("number", int)
    for kind in (int, Any, int | None, Optional[int], Literal[1], number):  # noqa: UP045
        codec: Json[Any] = Json(kind)  # type: ignore[arg-type]  # a type checker wants a class
        assert codec.decode(codec.encode(1)) == 1
    assert Json(list[int]).encode([1]) == b"[1]"


async def test_keys_of_a_map_are_strings() -> None:
    """E6: the message names the map, and nothing is sent."""
    store = Store()
    async with store.client() as client, client.map("map/", Text()) as several:
        bad: Any
        for bad in (1, None, b"a"):
            match = r"is no key of the map 'map/': pass a string"
            with pytest.raises(TypeError, match=match):
                await several.put(bad, "1")
            with pytest.raises(TypeError, match=match):
                await several.delete(bad)
            with pytest.raises(TypeError, match=match):
                await several.replace_all({"a": "1", bad: "2"})
            with pytest.raises(TypeError, match=match):
                several.item(bad)
    assert store.changes == []


async def test_a_revision_is_a_whole_number() -> None:
    """E1: the message says what to pass."""
    store = Store()
    async with store.client() as client, client.value("a", Text()) as value:
        bad: Any
        for bad in (None, "1", 1.5):
            with pytest.raises(TypeError, match=r"revision=.* pass what put\(\) or transaction"):
                await value.wait_revision(bad)


async def test_what_has_failed_and_was_left_is_not_written() -> None:
    """E9: as what has not failed."""
    store = Store()
    async with store.client() as client:
        async with client.value("a", Text()) as value:
            assert client._watching is not None
            (watch,) = client._watching.watches
            client._watching.fail(watch, RefusedError("not allowed"))
        with pytest.raises(trio.ClosedResourceError, match="of 'a', which was left: call it in"):
            await value.put("1")
    assert store.changes == []


async def test_what_was_left_is_not_written() -> None:
    """E9: the client is open, and the value is not."""
    store = Store()
    async with store.client() as client:
        async with client.value("a", Text()) as value, client.map("map/", Text()) as several:
            pass
        with pytest.raises(trio.ClosedResourceError, match="of 'a', which was left: call it in"):
            await value.put("1")
        with pytest.raises(trio.ClosedResourceError, match=r"update\(\) of 'a', which was left"):
            await value.update(lambda _: "1")
        with pytest.raises(trio.ClosedResourceError, match="of 'map/', which was left"):
            await several.delete("a")
        with pytest.raises(trio.ClosedResourceError, match="of 'map/', which was left"):
            await several.replace_all({})
    assert store.changes == []


def test_a_lease_is_of_one_trio_run() -> None:
    """E13: nobody would be woken in another one."""
    store = Store()

    async def main() -> None:
        async with store.client() as client, client.lease(5) as lease:
            with pytest.raises(RuntimeError, match="was called in another Trio run"):
                await trio.to_thread.run_sync(trio.run, lease.wait_lost)

    trio.run(main)


async def test_an_election_gets_an_async_function() -> None:
    """E6, E10: not its call, which is closed, and not an async generator."""

    async def lead() -> None:
        raise AssertionError("unreachable")

    async def generate() -> AsyncIterator[int]:
        yield 1

    client = client_of(Member())
    bad: Any = lead()
    with pytest.raises(TypeError, match="is a coroutine: pass the function, not its call"):
        elect(client, "a", bad)
    for bad in (None, 1, generate):
        with pytest.raises(TypeError, match="is no async function: pass one"):
            elect(client, "a", bad)
    for bad in (None, EtcdClient):
        with pytest.raises(
            TypeError, match=r"elect\(\): client=.* is no EtcdClient: pass one that"
        ):
            elect(bad, "a", lead)
    for bad in (b"a", None):
        with pytest.raises(TypeError, match=r"elect\(\): .* is no key: pass a string"):
            elect(client, bad, lead)


async def test_an_announcement_is_of_bytes() -> None:
    """E6, E14: the message names the call and the argument, and nothing is sent."""
    store = Store()
    async with store.client() as client:
        bad: Any
        for bad in ("text", None, 1):
            with pytest.raises(
                TypeError, match=r"announce\(\): value=.* pass bytes, or a value of"
            ):
                await announce(client, "a", bad)
        bad = MemoryValue("text")
        with pytest.raises(TypeError, match="of 'a' was given 'text', which is no bytes"):
            await announce(client, "a", bad)
        for bad in (b"a", None):
            with pytest.raises(TypeError, match=r"announce\(\): .* is no key: pass a string"):
                await announce(client, bad, b"1")
        bad = None
        with pytest.raises(TypeError, match="client=None is no EtcdClient"):
            await announce(bad, "a", b"1")
    assert store.changes == []
    assert store.left() == []


@pytest.mark.parametrize("missing", ["grpc", "google.protobuf"])
def test_without_the_extra_the_import_says_what_to_type(missing: str, tmp_path: Path) -> None:
    """E8: and the rest of the package works without it."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.modules[{missing!r}] = None\n"
        "import trio_event\n"
        "try:\n    import trio_event.etcd\n"
        "except ImportError as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True)
    assert ended.stdout.strip() == (
        f"trio_event.etcd needs {missing}: pip install 'trio-supervisor[etcd]'"
    )
