"""TLS to the members: which files say who may be trusted, and who we are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import final

import attrs

from ..._arguments import shown
from .._errors import RefusedError


@final
@attrs.frozen
class TLS:
    """Encrypted connections, and how both sides say who they are (E8).

    The files are PEM files. They are read again for each new connection, so that files which were
    replaced meanwhile are used. A certificate is also how etcd may know the user, by its common
    name.

    Attributes:
        ca: The certificates of the authorities that are trusted to sign the servers'; by default
            those that grpcio comes with.
        certificate: The client's certificate, with those between it and its authority.
        key: The private key of ``certificate``.
        server_name: The name that the servers' certificates have to have, if it is not the host
            of the endpoint.

    Example::

        tls = TLS(ca="/etc/etcd/ca.pem", certificate="/etc/app/cert.pem", key="/etc/app/key.pem")
    """

    ca: str | os.PathLike[str] | None = attrs.field(default=None, kw_only=True)
    certificate: str | os.PathLike[str] | None = attrs.field(default=None, kw_only=True)
    key: str | os.PathLike[str] | None = attrs.field(default=None, kw_only=True)
    server_name: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Refuse what names no file, and half of a pair."""
        for name in ("ca", "certificate", "key"):
            path: object = getattr(self, name)
            if path is not None and not isinstance(path, str | os.PathLike):
                msg = f"TLS(): {name}={shown(path)} is no path: pass that of a PEM file"
                raise TypeError(msg)
        given_name: object = self.server_name
        if given_name is not None and not isinstance(given_name, str):
            msg = f"TLS(): server_name={shown(given_name)} is no name: pass a string"
            raise TypeError(msg)
        if (self.certificate is None) != (self.key is None):
            given, missing = ("key", "certificate") if self.key else ("certificate", "key")
            msg = f"TLS() was given {given}= without {missing}=: pass both, or neither"
            raise ValueError(msg)


def read_pem(name: str, path: str | os.PathLike[str] | None) -> bytes | None:
    """Read one of the files.

    Raises:
        RefusedError: if it can't be read, or is no PEM file: grpcio would only say that it could
            not connect.
    """
    if path is None:
        return None
    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        msg = f"{name}={str(path)!r} of TLS() can't be read ({error.strerror}): check the path"
        raise RefusedError(msg) from error
    if b"-----BEGIN " not in pem:
        msg = f"{name}={str(path)!r} of TLS() is no PEM file: convert it"
        raise RefusedError(msg)
    return pem
