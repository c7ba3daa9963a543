"""Encrypted connections, and users that etcd knows by their certificates."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest
import trio
import trustme

from trio_event.etcd import TLS, Bytes, EtcdClient, RefusedError, UnavailableError

from .helpers.servers import HANG, in_thread, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .helpers.servers import Cluster


class Secure(NamedTuple):
    """A cluster that asks for certificates, and files of two authorities."""

    cluster: Cluster
    ours: Path
    theirs: Path

    def client(self, tls: TLS) -> EtcdClient:
        return EtcdClient(self.cluster.endpoints, tls=tls)


def write_files(authority: trustme.CA, folder: Path, user: str) -> None:
    """Write the certificates of an authority, of a server and of a user."""
    folder.mkdir()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "etcd.test")
    client = authority.issue_cert(f"{user}@example.org", common_name=user)
    for name, made in (("server", server), ("client", client)):
        made.private_key_pem.write_to_path(folder / f"{name}.key")
        for i, pem in enumerate(made.cert_chain_pems):
            pem.write_to_path(folder / f"{name}.pem", append=i > 0)


def client_files(folder: Path) -> TLS:
    return TLS(ca=folder / "ca.pem", certificate=folder / "client.pem", key=folder / "client.key")


@pytest.fixture(scope="module")
def secure(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A cluster that knows its users by their certificates."""
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs, roots = folder / "ours", folder / "theirs", folder / "roots"
    authority = trustme.CA()
    write_files(authority, ours, "app")
    write_files(trustme.CA(), theirs, "app")
    write_files(authority, roots, "root")
    flags = [
        "--client-cert-auth",
        f"--trusted-ca-file={ours / 'ca.pem'}",
        f"--cert-file={ours / 'server.pem'}",
        f"--key-file={ours / 'server.key'}",
    ]
    with running(binary, folder / "etcd", tls=flags) as cluster:
        cluster.trust(roots)
        cluster.require_users(app="app/")
        yield Secure(cluster, ours, theirs)


async def test_the_common_name_of_a_certificate_is_the_user(secure: Secure) -> None:
    """E8: it may do what the role of that user may."""
    async with secure.client(client_files(secure.ours)) as client:
        await client.put("app/a", b"1")
        with pytest.raises(RefusedError, match="put of 'sys/a': the client has no permission"):
            await client.put("sys/a", b"1")


async def test_a_server_may_have_another_name(secure: Secure) -> None:
    """E8: its certificate is checked for the name that was given."""
    tls = client_files(secure.ours)
    named = TLS(ca=tls.ca, certificate=tls.certificate, key=tls.key, server_name="etcd.test")
    async with secure.client(named) as client:
        await client.put("app/a", b"1")
    other = TLS(ca=tls.ca, certificate=tls.certificate, key=tls.key, server_name="other.test")
    async with secure.client(other) as client:
        with pytest.raises(RefusedError, match=r"has another name: .* tls=TLS\(server_name=...\)"):
            await client.put("app/a", b"1")


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ("ca", r"not trusted: pass that one in tls=TLS\(ca=...\)"),
        ("certificate", r"pass another in tls=TLS\(certificate=, key=\)"),
        ("nothing", r"pass another in tls=TLS\(certificate=, key=\)"),
        ("key", "pass a certificate and the key that belongs to it"),
    ],
)
async def test_what_is_wrong_with_certificates_is_told_at_once(
    secure: Secure, wrong: str, remedy: str
) -> None:
    """E6, E8: an authority that is not trusted, here or there, or no certificate at all.

    It is told to calls, values and leases, however much time they have; others are not disturbed.
    """
    ours, theirs = client_files(secure.ours), client_files(secure.theirs)
    tls = {
        "ca": TLS(ca=theirs.ca, certificate=ours.certificate, key=ours.key),
        "certificate": TLS(ca=ours.ca, certificate=theirs.certificate, key=theirs.key),
        "nothing": TLS(ca=ours.ca),
        "key": TLS(ca=ours.ca, certificate=ours.certificate, key=theirs.key),
    }[wrong]
    refused = pytest.raises(RefusedError, match=rf"127.0.0.1:\d+ refused the connect.*{remedy}")
    with trio.fail_after(HANG):
        async with (
            secure.client(ours) as other,
            other.value("app/a", Bytes()) as value,
            EtcdClient(secure.cluster.endpoints, tls=tls, timeout=10 * HANG) as client,
        ):
            with refused:
                await client.put("app/a", b"1")
            with refused:
                async with client.value("app/a", Bytes()):
                    pass
            with refused:
                async with client.lease(5):
                    pass
            await value.wait_revision(await value.put(wrong.encode()))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("ca", None, "ca='.*' of TLS.. can't be read .No such file or directory.: check"),
        ("ca", "", "ca='.*' of TLS.. is no PEM file: convert it"),
        ("certificate", "text", "certificate='.*' of TLS.. is no PEM file"),
        ("key", None, "key='.*' of TLS.. can't be read"),
    ],
)
async def test_a_file_that_can_not_be_used_is_told(
    secure: Secure, tmp_path: Path, name: str, content: str | None, text: str
) -> None:
    """E8: by its name, when it is read."""
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content)
    ours = client_files(secure.ours)
    changed: Any = {name: path}
    async with secure.client(attrs.evolve(ours, **changed)) as client:
        with pytest.raises(RefusedError, match=text):
            await client.put("app/a", b"1")


async def test_files_that_were_replaced_are_used(secure: Secure, tmp_path: Path) -> None:
    """E8: they are read again for each connection; a refused one is not used again."""
    files = tmp_path / "files"
    shutil.copytree(secure.theirs, files)
    async with secure.client(client_files(files)) as client:
        with pytest.raises(RefusedError):
            await client.put("app/a", b"1")
        shutil.copytree(secure.ours, files, dirs_exist_ok=True)
        await client.put("app/a", b"1")


async def test_a_client_without_tls_is_not_served(secure: Secure) -> None:
    """E6: what the member says is no gRPC, and the client asks again until its time is over."""
    async with EtcdClient(secure.cluster.endpoints, timeout=0.5) as client:
        with trio.fail_after(HANG), pytest.raises(UnavailableError, match="no member answered"):
            await client.put("app/a", b"1")


async def test_a_client_with_tls_does_not_trust_a_server_without(
    node: Cluster, secure: Secure
) -> None:
    """E6: a member that ends may break off a handshake as well, so that it is asked again."""
    tls = client_files(secure.ours)
    async with EtcdClient(node.endpoints, tls=tls, timeout=2) as client:
        with trio.fail_after(HANG), pytest.raises(UnavailableError, match="no TLS, leave tls= out"):
            await client.put("app/a", b"1")


async def test_a_server_that_is_no_etcd_is_told() -> None:
    """E6: within the client's time."""

    def talk(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk, args=(listener,))
        thread.start()
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        async with EtcdClient([endpoint], timeout=2) as client:
            with (
                trio.fail_after(HANG),
                pytest.raises(UnavailableError, match="HTTP/2"),
            ):
                await client.put("a", b"1")
        listener.shutdown(socket.SHUT_RDWR)
    await in_thread(thread.join)
