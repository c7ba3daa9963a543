"""Bad input is told before anything is sent, with what is wrong and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trio_event.etcd import TLS, Compare, EtcdClient, Get, Put

from .helpers.scripted import Member, client_of

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
        (None, {}, "endpoints=None is no list"),
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
