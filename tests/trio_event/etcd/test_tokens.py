"""Tokens of users: with scripted members, and with real ones whose tokens expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_event.etcd import Bytes, EtcdClient, RefusedError, UnavailableError
from trio_event.etcd._wire._seam import CallError, Code

from .helpers.scripted import (
    BAD_TOKEN,
    LOST,
    UNREACHABLE,
    Member,
    client_of,
    found,
    message,
    put_done,
)
from .helpers.servers import HANG, in_thread, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .helpers.servers import Cluster

TOKEN_TROUBLE = [
    BAD_TOKEN,
    CallError(Code.INVALID_ARGUMENT, "etcdserver: user name is empty"),
    CallError(Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old"),
]


def token(text: str) -> bytes:
    return message("AuthenticateResponse", token=text)


def tokens_of(member: Member) -> list[object]:
    return [dict(metadata).get("token") for _, _, metadata in member.calls]


@pytest.fixture
def one() -> Member:
    return Member("one:1")


async def test_a_token_is_got_once_for_all_who_wait(one: Member) -> None:
    """E8: ten calls authenticate once."""
    one.will(token("t1"), *[found(1)] * 10)
    async with client_of(one, user="me") as client, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(client.get, "a")
    assert one.names == ["Authenticate", *["Range"] * 10]
    assert tokens_of(one) == [None, *["t1"] * 10]


async def test_each_member_has_a_token_of_its_own(one: Member) -> None:
    """E8: no other member knows it."""
    two = Member("two:2")
    one.will(token("t1"), LOST)
    two.will(token("t2"), found(1))
    async with client_of(one, two, user="me") as client:
        await client.get("a")
    assert (tokens_of(one), tokens_of(two)) == ([None, "t1"], [None, "t2"])


@pytest.mark.parametrize("error", TOKEN_TROUBLE, ids=str)
async def test_a_dead_token_is_replaced_and_the_call_made_again(
    error: CallError, one: Member
) -> None:
    """E8: also a write, for it was refused before anything was done. The old token is not sent."""
    one.will(token("t1"), put_done(2), error, token("t2"), put_done(3))
    async with client_of(one, user="me") as client:
        await client.put("a", b"1")
        assert await client.put("a", b"2") == 3
    assert tokens_of(one) == [None, "t1", "t1", None, "t2"]
    assert len(one.connections) == 1


async def test_a_new_token_that_is_refused_is_the_end(one: Member) -> None:
    """E8: it is tried once."""
    one.will(token("t1"), BAD_TOKEN, token("t2"), BAD_TOKEN)
    async with client_of(one, user="me") as client:
        with pytest.raises(RefusedError, match="takes no token of user 'me'"):
            await client.put("a", b"1")
    assert one.names == ["Authenticate", "Put"] * 2


async def test_a_token_that_others_have_replaced_is_kept(one: Member) -> None:
    """E8: two calls with the same dead token authenticate once."""
    dead = trio.Event()

    async def refuse() -> bytes:
        await dead.wait()
        raise BAD_TOKEN

    one.will(token("t1"), refuse, refuse, token("t2"), found(1), found(1))
    async with client_of(one, user="me") as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.get, "a")
        nursery.start_soon(client.get, "a")
        await wait_all_tasks_blocked()
        dead.set()
    assert one.names.count("Authenticate") == 2


async def test_a_wrong_password_is_refused_at_once(one: Member) -> None:
    """E6, E8: the message names the member, the user and what to check."""
    wrong = CallError(
        Code.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password"
    )
    one.will(wrong)
    async with client_of(one, user="me") as client:
        with pytest.raises(RefusedError, match="one:1 refused user 'me': check user= and passw"):
            await client.put("a", b"1")


async def test_a_log_in_that_is_not_allowed_is_told(one: Member) -> None:
    """E6, E8: the message names the user."""
    one.will(CallError(Code.UNIMPLEMENTED, "unknown service etcdserverpb.Auth"))
    async with client_of(one, user="me") as client:
        with pytest.raises(RefusedError, match="refused the log-in of user 'me': it is no etcd"):
            await client.put("a", b"1")


async def test_without_authentication_a_user_needs_no_token(one: Member) -> None:
    """E8: a client may name its user before it is switched on."""
    off = CallError(Code.FAILED_PRECONDITION, "etcdserver: authentication is not enabled")
    one.will(off, found(1), TOKEN_TROUBLE[1], token("t1"), found(1))
    async with client_of(one, user="me") as client:
        await client.get("a")
        await client.get("a")
    assert tokens_of(one) == [None, None, None, None, "t1"]


@pytest.mark.parametrize("error", [LOST, UNREACHABLE], ids=str)
async def test_a_member_that_gives_no_token_has_not_got_the_write(
    error: CallError, one: Member
) -> None:
    """E7: what failed is not the write, so that another member may be asked."""
    two = Member("two:2")
    one.will(error)
    two.will(token("t2"), put_done(2))
    async with client_of(one, two, user="me") as client:
        assert await client.put("a", b"1") == 2


async def test_a_silent_member_gives_no_token(one: Member, autojump_clock: MockClock) -> None:
    """E7: nor does it get the write, and those who wait behind it are told in time."""
    async with client_of(one, timeout=3, user="me") as client, trio.open_nursery() as nursery:

        async def put() -> None:
            with pytest.raises(UnavailableError, match="put of 'a'"):
                await client.put("a", b"1")
            assert autojump_clock.current_time() <= 3.1

        for _ in range(5):
            nursery.start_soon(put)
    assert set(one.names) == {"Authenticate"}


async def test_who_gets_the_token_may_be_cancelled(one: Member) -> None:
    """E8: the next one that waits gets it."""
    scope = trio.CancelScope()

    async def never() -> bytes:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    one.will(never, token("t1"), found(1))

    async def cancelled() -> None:
        with scope:
            await client.get("a")

    async with client_of(one, user="me") as client, trio.open_nursery() as nursery:
        nursery.start_soon(cancelled)
        await wait_all_tasks_blocked()
        nursery.start_soon(client.get, "a")
        await wait_all_tasks_blocked()
        scope.cancel()
    assert scope.cancelled_caught
    assert one.names == ["Authenticate", "Authenticate", "Range"]


# With a real server


@pytest.fixture(scope="module")
def guarded(each_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with users, whose tokens live for two seconds after their last use."""
    with running(
        each_binary, tmp_path_factory.mktemp("etcd"), "--auth-token-ttl=2", "--log-level=debug"
    ) as cluster:
        cluster.require_users(app="app/", other="other/", third="third/")
        yield cluster


async def test_a_user_may_use_what_its_role_has(guarded: Cluster) -> None:
    """E8: and what it may not is told at once, with the user and the key."""
    async with EtcdClient(guarded.endpoints, user="app", password="app") as client:  # noqa: S106
        await client.put("app/a", b"1")
        with pytest.raises(RefusedError, match="put of 'sys/a': user 'app' has no permission"):
            await client.put("sys/a", b"1")
        with pytest.raises(RefusedError, match="get_range of 'sys/': user 'app' has no perm"):
            await client.get_range("sys/")
        stored = await client.get("app/a")
        assert stored is not None


async def test_a_real_wrong_password_is_refused(guarded: Cluster) -> None:
    """E8: at once, however much time a call has, and nothing else is disturbed."""
    endpoints = guarded.endpoints
    refused = pytest.raises(RefusedError, match="refused user 'app': check user= and password=")
    with trio.fail_after(HANG):
        async with (
            EtcdClient(endpoints, user="app", password="app") as other,  # noqa: S106
            other.value("app/a", Bytes()) as value,
            EtcdClient(endpoints, user="app", password="no", timeout=10 * HANG) as client,  # noqa: S106
        ):
            with refused:
                await client.put("app/a", b"1")
            with refused:
                async with client.value("app/a", Bytes()):
                    pass
            await value.wait_revision(await value.put(b"2"))


async def test_a_client_without_user_is_refused(guarded: Cluster) -> None:
    """E8: the message says what is missing."""
    async with EtcdClient(guarded.endpoints) as client:
        with pytest.raises(RefusedError, match="pass user= and password=, or a certificate"):
            await client.put("app/a", b"1")


async def test_a_token_that_a_restart_has_forgotten_is_replaced(
    each_binary: Path, tmp_path: Path
) -> None:
    """E8: the same client goes on, over a new connection and with a new token."""
    with running(each_binary, tmp_path / "etcd") as cluster:
        cluster.require_users(app="app/")
        (member,) = cluster.members
        client = EtcdClient(cluster.endpoints, timeout=HANG, user="app", password="app")  # noqa: S106
        async with client:
            await client.put("app/a", b"1")
            await in_thread(member.kill)
            await in_thread(member.restart)
            assert (await client.get("app/a")) is not None
            await client.put("app/a", b"2")


async def test_a_token_that_has_expired_is_replaced(guarded: Cluster) -> None:
    """E8: a client that was idle for longer than its token lives goes on."""
    (member,) = guarded.members
    async with EtcdClient(guarded.endpoints, user="other", password="other") as client:  # noqa: S106
        await client.put("other/a", b"1")
        await member.wait_logged('"deleted a simple token","user-name":"other"')
        await client.put("other/a", b"2")


async def test_a_password_that_was_changed_is_refused(guarded: Cluster) -> None:
    """E8: the token that it has given is taken back as well, and the next one is refused."""
    async with EtcdClient(guarded.endpoints, user="third", password="third") as client:  # noqa: S106
        await client.put("third/a", b"1")
        change = ("user", "passwd", "third", "--interactive=false")
        await trio.to_thread.run_sync(
            lambda: guarded.control(*change, user="root:root", stdin="new\n")
        )
        with trio.fail_after(HANG), pytest.raises(RefusedError, match="check user= and password="):
            await client.put("third/a", b"2")
