"""Endpoints where no member answers, or another server: who it is, and what can be done."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_event.etcd import Bytes, EtcdClient, RefusedError, UnavailableError
from trio_event.etcd._wire._seam import CallError, Code

from .helpers.echo import serving
from .helpers.scripted import (
    NO_LEADER,
    UNREACHABLE,
    Member,
    client_of,
    put_done,
    watching_client_of,
)
from .helpers.servers import HANG, free_ports, running

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

NOT_CONNECTED = "failed to connect to all addresses; last error: "
LEARNER = CallError(Code.UNAVAILABLE, "etcdserver: rpc not supported for learner")


def not_connected(text: str) -> CallError:
    return CallError(Code.UNAVAILABLE, NOT_CONNECTED + text, was_sent=False)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (UNREACHABLE, "check whether etcd runs there, and endpoints="),
        (
            CallError(Code.UNAVAILABLE, "errors resolving a:1: [not found]", was_sent=False),
            "check the host's name in endpoints=",
        ),
        (
            not_connected("Failed parsing HTTP/2 (Trying to connect an http1.x"),
            "etcd's port",
        ),
        (not_connected("Socket closed"), r"whether it needs tls=TLS\(...\)"),
        (not_connected("recvmsg:Connection reset by peer"), r"whether it needs tls=TLS\(...\)"),
        (not_connected("Handshake read failed (Socket closed)"), "uses no TLS, leave tls= out"),
        (NO_LEADER, "check whether more than half of the members run"),
        (LEARNER, "it only learns yet: name other members in endpoints="),
        (CallError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"), "check whether it is etcd, runs"),
        (CallError(Code.UNAVAILABLE, "something new"), "try again later"),
    ],
    ids=lambda value: getattr(value, "details", None),
)
async def test_who_has_not_answered_is_named_with_a_remedy(
    error: CallError, remedy: str, autojump_clock: MockClock
) -> None:
    """E6: when the time of the call is over."""
    del autojump_clock
    member = Member("m:1")
    member.will(*[error] * 20)
    async with client_of(member, timeout=3) as client:
        with pytest.raises(UnavailableError, match=rf"of 'a' within 3.* m:1 said .*{remedy}"):
            await client.get("a")


async def test_a_learner_has_not_made_a_write() -> None:
    """E7: another member is asked."""
    learner, two = Member("learner:1"), Member("two:2")
    learner.will(LEARNER)
    two.will(put_done(2))
    async with client_of(learner, two) as client:
        assert await client.put("a", b"1") == 2


async def test_who_waits_for_a_value_is_told_once(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """E5, E11: opening a value waits for as long as it takes; the log says for what."""
    del autojump_clock
    one, two = Member("one:1"), Member("two:2")
    one.will(*[UNREACHABLE] * 50)
    two.will(*[UNREACHABLE] * 50)
    with caplog.at_level(logging.WARNING, "trio_event.etcd"):
        async with watching_client_of(one, two) as client:
            await trio.sleep(5)
            assert caplog.messages == []
            with trio.move_on_after(5):
                async with client.value("a", Bytes()):
                    pass
    (message,) = caplog.messages
    assert message.startswith("values wait for a member: ")
    assert "check whether etcd runs there" in message


async def open_for(client: EtcdClient, seconds: float) -> None:
    async with client.value("a", Bytes()):
        await trio.sleep(seconds)


async def test_who_waits_after_a_good_connection_is_told_too(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """E5, E11: and the loss of what was good is no reason to look at the settings."""
    del autojump_clock
    one = Member("one:1")
    one.revision = 10
    with caplog.at_level(logging.INFO, "trio_event.etcd"):
        async with watching_client_of(one) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_for, client, 6.0)
                stream = await one.wait_stream(1)
                stream.create_all()
                await trio.testing.wait_all_tasks_blocked()
                one.revision = None
                one.will(*[UNREACHABLE] * 100)
                one.first_answers.extend([UNREACHABLE] * 100)
                stream.end(CallError(Code.UNAVAILABLE, "Socket closed"))
            with trio.move_on_after(5):
                async with client.value("b", Bytes()):
                    pass
    lost, waiting = caplog.messages
    assert lost.startswith("values are stale: one:1: ")
    assert "tls" not in lost
    assert waiting.startswith("values wait for a member: one:1: ")


async def test_another_server_of_grpc_is_told_at_once() -> None:
    """E6: to calls, values and leases, however much time they have."""
    refused = pytest.raises(RefusedError, match=r"is no etcd with version 3 .*: check endpoints=")
    with serving() as endpoint, trio.fail_after(HANG):
        async with EtcdClient([endpoint], timeout=10 * HANG) as client:
            with refused:
                await client.put("a", b"1")
            with refused:
                async with client.value("a", Bytes()):
                    pass
            with refused:
                async with client.lease(5):
                    pass


async def test_an_endpoint_may_be_of_ipv6(binary: Path, tmp_path: Path) -> None:
    """E8: its host is in brackets."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    (port,) = free_ports(1)
    url = f"http://[::1]:{port}"
    flags = [f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
    with running(binary, tmp_path / "etcd", *flags), trio.fail_after(HANG):
        for endpoint in (url, f"[::1]:{port}"):
            async with EtcdClient([endpoint]) as client, client.value("a", Bytes()) as value:
                await value.wait_revision(await value.put(b"1"))
