"""What the error of a call means: try again, get a token, or give up.

etcd says much in texts alone. They are the same in 3.4 and 3.5, and parts of its interface: its own
client compares them as well.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from .._wire._seam import CallError, Code

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_LEARNER_TEXT: Final = "not supported for learner"
# The member has refused the request before the cluster got it; the last one, because it lags.
_NOT_DONE_TEXTS: Final = (
    "etcdserver: no leader",
    "etcdserver: too many requests",
    _LEARNER_TEXT,
    "required revision is a future revision",
)
_TLS_TEXTS: Final = (
    "handshake failed",
    "Custom verification check failed",
    "Failed to create security handshaker",
    "CERTIFICATE_REQUIRED",
)
_OTHER_CERTIFICATE: Final = (
    "it accepts no such certificate of a client: pass another in tls=TLS(certificate=, key=)"
)
# What to do about connections that are not made, by what gRPC says; the first one that fits counts.
_TLS_REMEDIES: Final = {
    "has expired": "its certificate has expired, or this machine's clock is wrong: renew it",
    "not yet valid": "its certificate is not valid yet, or this machine's clock is wrong",
    "CERTIFICATE_VERIFY_FAILED": (
        "its certificate is of an authority that is not trusted: pass that one in tls=TLS(ca=...)"
    ),
    "Hostname Verification": (
        "its certificate has another name: use that in endpoints=, or in tls=TLS(server_name=...)"
    ),
    "CERTIFICATE": _OTHER_CERTIFICATE,
    "UNKNOWN_CA": _OTHER_CERTIFICATE,
    "Failed to create security handshaker": (
        "the files of tls=TLS(...) can't be used: pass a certificate and the key that belongs to it"
    ),
    "WRONG_VERSION_NUMBER": "it uses no TLS: leave tls= out, or correct endpoints=",
}
_CHECK_FILES: Final = "check the certificates of tls=TLS(...), or whether it uses TLS at all"
_REMEDIES: Final = {
    "Handshake": "if it uses no TLS, leave tls= out",
    "HTTP/2": "check whether that is etcd's port for clients, and whether it needs tls=TLS(...)",
    "Connection refused": "check whether etcd runs there, and endpoints=",
    "errors resolving": "check the host's name in endpoints=",
    "Socket closed": "check endpoints=, and whether it needs tls=TLS(...)",
    "reset by peer": "check endpoints=, and whether it needs tls=TLS(...)",
    "no leader": "check whether more than half of the members run",
    _LEARNER_TEXT: "it only learns yet: name other members in endpoints=",
    "Deadline Exceeded": "check whether it is etcd, runs, and can be reached",
}
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


def is_no_etcd(error: CallError) -> bool:
    """Return whether another kind of server has answered."""
    return error.code is Code.UNIMPLEMENTED


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
        remedy = _find_remedy(_TLS_REMEDIES, details) or _CHECK_FILES
        return f"{who} the connection for {operation}: {remedy} ({details})"
    return f"{who} {operation}: {_explain_refusal(user, error)}"


def _explain_refusal(user: str | None, error: CallError) -> str:
    if is_no_etcd(error):
        return f"it is no etcd with version 3 of its API ({error.details}): check endpoints="
    if error.code is Code.PERMISSION_DENIED:
        name = "the client" if user is None else f"user {user!r}"
        return f"{name} has no permission: grant its role one for the key"
    if "requested lease not found" in error.details:
        return f"{LEASE_IS_LOST}: open another one"
    if is_about_token(error.details):
        if user is None:
            return "pass user= and password=, or a certificate with a name"
        return f"it takes no token of user {user!r} ({error.details}): check its auth"
    return str(error)


def advise(error: CallError) -> str:
    """Say what can be done about a member that has not answered."""
    return _find_remedy(_REMEDIES, error.details) or "try again later"


def _find_remedy(remedies: Mapping[str, str], details: str) -> str | None:
    return next((remedy for text, remedy in remedies.items() if text in details), None)
