"""What the error of a call means: try again, get a token, or give up.

etcd says much in texts alone. They are the same in 3.4 and 3.5, and parts of its interface: its own
client compares them as well.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from .._wire._seam import CallError, Code

if TYPE_CHECKING:
    from .._errors import EtcdError


class Verdict(enum.Enum):
    """What to do about an error (E6 to E8)."""

    # Nothing was done, and another member, or a later moment, may do it.
    NOT_DONE = enum.auto()
    # It may have been done, or may yet be.
    UNKNOWN = enum.auto()
    # Nothing was done, because the token is of no use: it has expired, or the member was restarted.
    TOKEN = enum.auto()
    # Nothing was done, nor will it be.
    REFUSED = enum.auto()


_TOKEN_TEXTS: Final = ("invalid auth token", "user name is empty", "auth store is old")
# The member has refused the request before the cluster got it; the last one, because it lags.
_NOT_DONE_TEXTS: Final = (
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "required revision is a future revision",
)
_TLS_TEXTS: Final = (
    "handshake failed",
    "Custom verification check failed",
    "Failed to create security handshaker",
    "CERTIFICATE_REQUIRED",
)
LEASE_IS_LOST: Final = "the lease is lost, with the keys that it had"
# All others are permanent, and are told before anything is done.
_TRANSIENT: Final = {
    Code.CANCELLED,
    Code.UNKNOWN,
    Code.DEADLINE_EXCEEDED,
    Code.ABORTED,
    Code.INTERNAL,
    Code.UNAVAILABLE,
}


def judge(error: CallError) -> Verdict:
    """Return what an error means for the call that it has ended."""
    details = error.details
    if is_about_token(details):
        return Verdict.TOKEN
    if error.code is Code.UNAVAILABLE and is_about_tls(details):
        return Verdict.REFUSED
    if not error.was_sent or any(text in details for text in _NOT_DONE_TEXTS):
        return Verdict.NOT_DONE
    return Verdict.UNKNOWN if error.code in _TRANSIENT else Verdict.REFUSED


def is_about_token(details: str) -> bool:
    """Return whether a new token is what is needed."""
    return any(text in details for text in _TOKEN_TEXTS)


def is_about_tls(details: str) -> bool:
    """Return whether the two sides have not agreed on encryption or certificates."""
    return any(text in details for text in _TLS_TEXTS)


def is_compacted(error: CallError) -> bool:
    """Return whether a revision was asked for that the cluster no longer has."""
    return error.code is Code.OUT_OF_RANGE and "compacted" in error.details


def is_granted_before(error: CallError) -> bool:
    """Return whether a lease was asked for that is there already."""
    return "lease already exists" in error.details


def says_lease_is_lost(error: EtcdError) -> bool:
    """Return whether a call was refused because the lease is not there that it puts a key with."""
    return LEASE_IS_LOST in str(error)


def explain(operation: str, endpoint: str, user: str | None, error: CallError) -> str:
    """Say who has refused what, and what can be done about it."""
    details = error.details
    who = f"{endpoint} refused"
    if is_about_tls(details):
        return (
            f"{who} the connection for {operation}: check the certificates of tls=TLS(...), or "
            f"whether the member uses TLS at all ({details})"
        )
    if error.code is Code.PERMISSION_DENIED:
        name = "the client" if user is None else f"user {user!r}"
        return f"{who} {operation}: {name} has no permission: grant its role one for the key"
    if "requested lease not found" in details:
        return f"{who} {operation}: {LEASE_IS_LOST}: open another one"
    if is_about_token(details):
        if user is None:
            return f"{who} {operation}: pass user= and password=, or a certificate with a name"
        return f"{who} {operation}: it takes no token of user {user!r} ({details}): check its auth"
    return f"{who} {operation}: {error}"
