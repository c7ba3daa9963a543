"""What can go wrong with a cluster, as few errors (E6, E7).

They are told apart by what a caller can do: try later, find out, or change something.
"""

from __future__ import annotations

from typing import final


class EtcdError(Exception):
    """An etcd cluster has not done what was asked of it (E6)."""


@final
class UnavailableError(EtcdError):
    """No member has answered in time. Nothing was done; it may be tried again later (E6)."""


@final
class RefusedError(EtcdError):
    """The cluster has refused, and will again until something is changed (E6).

    It is raised at once, for a missing permission, wrong credentials, a certificate, or a request
    that can't be served. The message names the key, the user or the endpoint, and the remedy.
    """


@final
class LeadershipLostError(EtcdError):
    """A leader has tried to write, and is the leader no longer. Nothing was done (E10)."""


@final
class UnknownOutcomeError(EtcdError):
    """A write was sent, and it is not known whether it has happened, or will (E7).

    Read, or write by :meth:`EtcdClient.transaction` with a comparison, to find out.

    Attributes:
        operation: What was to be written, such as ``put of 'app/leader'``.
    """

    def __init__(self, message: str, operation: str) -> None:
        """Make one for a write."""
        super().__init__(message, operation)
        self.operation = operation

    def __str__(self) -> str:
        """Return the message."""
        return str(self.args[0])


@final
class DecodeError(EtcdError):
    """What is stored under a key can't be decoded; the next good put heals that (E6).

    Attributes:
        key: The key.
        revision: The revision that has put it.
        raw: What is stored.
    """

    def __init__(self, message: str, key: bytes, revision: int, raw: bytes) -> None:
        """Make one for what is stored."""
        super().__init__(message, key, revision, raw)
        self.key = key
        self.revision = revision
        self.raw = raw

    def __str__(self) -> str:
        """Return the message."""
        return str(self.args[0])
