"""What can be asked of a cluster: requests are made and checked here, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, final

import attrs

from ..._arguments import shown
from .._wire._messages import MESSAGES
from ._lease import Lease, id_of

if TYPE_CHECKING:
    from collections.abc import Callable

# What a server takes unless it was started with other flags: --max-request-bytes and --max-txn-ops.
LARGEST_REQUEST: Final = 1_572_864
MOST_OPERATIONS: Final = 128

_KV: Final = "/etcdserverpb.KV/"
_LEASE: Final = "/etcdserverpb.Lease/Lease"
_PAGE: Final = 1000

# In seconds: etcd grants no more.
_LONGEST_TTL: Final = 9_000_000_000

_HIGHEST_REVISION: Final = 2**63 - 1

_RESULTS: Final = {"==": 0, ">": 1, "<": 2, "!=": 3}
_DESCENDING: Final = 2
_BY_CREATE_REVISION: Final = 2
_TARGETS: Final = {"create_revision": 1, "mod_revision": 2, "value": 3}


# What callers get


@final
@attrs.frozen
class KeyValue:
    """A key and what is stored there.

    Attributes:
        key: The key.
        value: The data.
        mod_revision: The cluster's revision that has put it last.
        create_revision: The revision that has put it where there was nothing.
        lease: The id of the lease that has the key; 0 if there is none.
    """

    key: bytes
    value: bytes
    mod_revision: int
    create_revision: int
    lease: int = 0


@final
@attrs.frozen
class KeyRange:
    """All keys with a prefix, as they were at one revision.

    Attributes:
        items: What is stored, in the order of the keys.
        revision: The cluster's revision of that moment.
    """

    items: tuple[KeyValue, ...]
    revision: int


@final
@attrs.frozen
class TransactionResult:
    """What a transaction has done.

    Attributes:
        succeeded: Whether all comparisons were true, and ``then`` was done.
        revision: The cluster's revision after it, which is that of its writes.
        gets: What its gets have found, in their order; None for a key that was not there.
    """

    succeeded: bool
    revision: int
    gets: tuple[KeyValue | None, ...]


# What callers make


@final
@attrs.frozen
class Compare:
    """A comparison of a transaction: what of a key, how, and with what.

    Attributes:
        key: The key.
        target: Which of its numbers is compared, or its data. The revisions of a key that is not
            there are 0, and it has no data: then a comparison of these is false.
        operator: How it is compared.
        operand: With what: a revision, or data.

    Example::

        not_there = Compare("app/leader", "create_revision", "==", 0)
    """

    key: str | bytes
    target: Literal["create_revision", "mod_revision", "value"]
    operator: Literal["==", "!=", "<", ">"]
    operand: int | bytes

    def __attrs_post_init__(self) -> None:
        """Refuse what etcd could not compare."""
        encode_key("Compare", self.key)
        if self.target not in _TARGETS or self.operator not in _RESULTS:
            msg = (
                f"Compare(): {self.target!r} {self.operator!r} is no comparison: "
                f"the targets are {', '.join(_TARGETS)}; the operators {', '.join(_RESULTS)}"
            )
            raise ValueError(msg)
        kind = bytes if self.target == "value" else int
        if not isinstance(self.operand, kind):
            msg = f"Compare(): operand={self.operand!r} of {self.target} is no {kind.__name__}"
            raise TypeError(msg)
        if isinstance(self.operand, int) and not 0 <= self.operand <= _HIGHEST_REVISION:
            msg = f"Compare(): operand={self.operand!r} of {self.target} is no revision: pass one"
            raise ValueError(msg)


@final
@attrs.frozen
class Get:
    """Read a key in a transaction; see :attr:`TransactionResult.gets`."""

    key: str | bytes


@final
@attrs.frozen
class Put:
    """Put data under a key in a transaction, with a lease if there is one."""

    key: str | bytes
    value: bytes
    lease: Lease | None = None


@final
@attrs.frozen
class Delete:
    """Delete a key in a transaction, if it is there."""

    key: str | bytes


Operation = Get | Put | Delete


# Requests


@final
@attrs.frozen
class Request:
    """A request, and how its answer is read.

    Attributes:
        operation: What it is to do, for messages.
        message: What is sent.
        read: Makes the answer of its bytes.
        is_write: Whether it may change something.
        is_local: Whether a member may answer it from what it knows, without the others.
    """

    path: str
    operation: str
    message: Any
    read: Callable[[bytes], Any]
    is_write: bool = False
    is_local: bool = False


def get_request(key: str | bytes, *, is_local: bool) -> Request:
    """Read one key."""
    message = MESSAGES["RangeRequest"](key=encode_key("get", key), serializable=is_local)
    read = MESSAGES["RangeResponse"].FromString
    return Request(f"{_KV}Range", f"get of {key!r}", message, read, is_local=is_local)


def reach_request() -> Request:
    """Read next to nothing. A user who may not do that gets an answer as well."""
    message = MESSAGES["RangeRequest"](key=b"\0", limit=1, serializable=True, keys_only=True)
    read = MESSAGES["RangeResponse"].FromString
    return Request(f"{_KV}Range", "first read", message, read, is_local=True)


def page_request(
    prefix: str | bytes, start: bytes, end: bytes, revision: int, *, is_local: bool
) -> Request:
    """Read some of the keys with a prefix, as they were at a revision; now, if that is 0."""
    message = MESSAGES["RangeRequest"](
        key=start, range_end=end, limit=_PAGE, revision=revision, serializable=is_local
    )
    read = MESSAGES["RangeResponse"].FromString
    return Request(f"{_KV}Range", f"get_range of {prefix!r}", message, read, is_local=is_local)


def history_request(key: bytes) -> Request:
    """Ask for the newest revision of the cluster, by a key that the user may read."""
    message = MESSAGES["RangeRequest"](key=key, limit=1, keys_only=True)
    return Request(f"{_KV}Range", "first read", message, MESSAGES["RangeResponse"].FromString)


def put_request(key: str | bytes, value: bytes, lease: Lease | None = None) -> Request:
    """Put data under a key."""
    message = _put_message("put", key, value, lease)
    read = MESSAGES["PutResponse"].FromString
    return _checked(Request(f"{_KV}Put", f"put of {key!r}", message, read, is_write=True))


def delete_request(key: str | bytes) -> Request:
    """Delete a key, if it is there."""
    message = MESSAGES["DeleteRangeRequest"](key=encode_key("delete", key))
    read = MESSAGES["DeleteRangeResponse"].FromString
    return Request(f"{_KV}DeleteRange", f"delete of {key!r}", message, read, is_write=True)


def grant_request(number: int, ttl: int) -> Request:
    """Ask for a lease, under a number that is chosen here.

    It may be sent again: a member that knows the number says so.
    """
    message = MESSAGES["LeaseGrantRequest"](ID=number, TTL=ttl)
    read = MESSAGES["LeaseGrantResponse"].FromString
    return Request(f"{_LEASE}Grant", f"grant of a lease of {ttl} s", message, read)


def revoke_request(number: int) -> Request:
    """End a lease. It may be sent again."""
    message = MESSAGES["LeaseRevokeRequest"](ID=number)
    read = MESSAGES["LeaseRevokeResponse"].FromString
    return Request(f"{_LEASE}Revoke", "end of a lease", message, read)


def check_ttl(call: str, ttl: object) -> None:
    """Raise unless a lease may last so long.

    Raises:
        TypeError: if it is no whole number.
        ValueError: if it is below 1, or more than etcd grants.
    """
    if not isinstance(ttl, int) or isinstance(ttl, bool):
        msg = f"{call}(): ttl={ttl!r} is no whole number: pass seconds, at least 1"
        raise TypeError(msg)
    if not 1 <= ttl <= _LONGEST_TTL:
        msg = f"{call}(): ttl={ttl!r} is not between 1 and {_LONGEST_TTL}: pass seconds"
        raise ValueError(msg)


def transaction_request(
    compare: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation]
) -> Request:
    """Compare, and do either the one or the other, in one step."""
    for name, kind, given in (
        ("compare", Compare, compare),
        ("then", Operation, then),
        ("otherwise", Operation, otherwise),
    ):
        _check_list(name, kind, given)
    message = MESSAGES["TxnRequest"](
        compare=[_compare_message(each) for each in compare],
        success=[_operation_message(each) for each in then],
        failure=[_operation_message(each) for each in otherwise],
    )
    names = ", ".join(
        f"{type(each).__name__.lower()} of {each.key!r}" for each in (*then, *otherwise)
    )
    return _checked(
        Request(
            f"{_KV}Txn",
            f"transaction with {names or 'comparisons only'}",
            message,
            MESSAGES["TxnResponse"].FromString,
            is_write=not {type(each) for each in (*then, *otherwise)} <= {Get},
        )
    )


def fenced_request(key: str, revision: int, inner: Request) -> Request:
    """Make a transaction, if a key has the create revision that it was given."""
    message = MESSAGES["TxnRequest"](
        compare=[_compare_message(Compare(key, "create_revision", "==", revision))],
        success=[MESSAGES["RequestOp"](request_txn=inner.message)],
    )
    return _checked(attrs.evolve(inner, message=message))


def oldest_request(key: str, revision: int, first: bytes, end: bytes) -> Request:
    """Ask whether a key has the create revision that it was given, and none of a range is older.

    If not, the next older one is found, or none where it is the key itself that is gone.
    """
    whole = {"key": first, "range_end": end}
    compare = [
        _compare_message(Compare(key, "create_revision", "==", revision)),
        MESSAGES["Compare"](
            result=_RESULTS[">"],
            target=_TARGETS["create_revision"],
            create_revision=revision - 1,
            **whole,
        ),
    ]
    older = MESSAGES["RangeRequest"](
        max_create_revision=revision - 1,
        sort_order=_DESCENDING,
        sort_target=_BY_CREATE_REVISION,
        limit=1,
        keys_only=True,
        **whole,
    )
    message = MESSAGES["TxnRequest"](
        compare=compare, failure=[MESSAGES["RequestOp"](request_range=older)]
    )
    read = MESSAGES["TxnResponse"].FromString
    return Request(f"{_KV}Txn", f"look at the keys before {key!r}", message, read)


def _check_list(name: str, kind: Any, given: object) -> None:  # noqa: ANN401  a class, or several
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        remedy = f"[{given!r}]" if isinstance(given, kind) else "a list"
        msg = f"transaction(): {name}={shown(given)} is no list: pass {remedy}"
        raise TypeError(msg)
    if len(given) > MOST_OPERATIONS:
        msg = (
            f"transaction(): {name} has {len(given)} items, and a server takes {MOST_OPERATIONS}: "
            "make several transactions"
        )
        raise ValueError(msg)
    for each in given:
        if not isinstance(each, kind):
            wanted = "Compare" if kind is Compare else "Get, Put or Delete"
            msg = f"transaction(): {name} has {each!r}, which is no {wanted}"
            raise TypeError(msg)


def _compare_message(compare: Compare) -> Any:  # noqa: ANN401  see MESSAGES
    fields: dict[str, Any] = {compare.target: compare.operand}
    return MESSAGES["Compare"](
        result=_RESULTS[compare.operator],
        target=_TARGETS[compare.target],
        key=encode_key("Compare", compare.key),
        **fields,
    )


def _operation_message(operation: Operation) -> Any:  # noqa: ANN401  see MESSAGES
    if isinstance(operation, Put):
        message = _put_message("Put", operation.key, operation.value, operation.lease)
        return MESSAGES["RequestOp"](request_put=message)
    if isinstance(operation, Get):
        message = MESSAGES["RangeRequest"](key=encode_key("Get", operation.key))
        return MESSAGES["RequestOp"](request_range=message)
    message = MESSAGES["DeleteRangeRequest"](key=encode_key("Delete", operation.key))
    return MESSAGES["RequestOp"](request_delete_range=message)


def _put_message(call: str, key: str | bytes, value: object, lease: object) -> Any:  # noqa: ANN401
    if not isinstance(value, bytes | bytearray | memoryview):
        msg = f"{call}() of {key!r} was given {value!r}, which is no bytes: encode it"
        raise TypeError(msg)
    return MESSAGES["PutRequest"](
        key=encode_key(call, key), value=bytes(value), lease=id_of(call, key, lease)
    )


def _checked(request: Request) -> Request:
    """Return a request that a server takes.

    Raises:
        ValueError: if it is too large. Some servers are set to take more, but no message of theirs
            says so before.
    """
    size = request.message.ByteSize()
    if size > LARGEST_REQUEST:
        msg = (
            f"the {request.operation} has {size} bytes, and a server takes {LARGEST_REQUEST}: "
            "store less under one key"
        )
        raise ValueError(msg)
    return request


def encode_key(call: str, key: object) -> bytes:
    """Return a key, or a prefix, as etcd has it.

    Raises:
        TypeError: if it is neither a string nor bytes.
        ValueError: if it is empty, or a single NUL, by which etcd means all keys, or no UTF-8.
    """
    if not isinstance(key, str | bytes):
        msg = f"{call}(): {key!r} is no key: pass a string"
        raise TypeError(msg)
    try:
        encoded = key.encode() if isinstance(key, str) else key
    except UnicodeEncodeError as error:
        msg = f"{call}(): {key!r} is no key ({error.reason}): pass bytes, or another string"
        raise ValueError(msg) from None
    if not encoded.strip(b"\0"):
        msg = f"{call}(): {key!r} is no key, but stands for all keys: pass a longer one"
        raise ValueError(msg)
    return encoded


def end_of_prefix(prefix: bytes) -> bytes:
    """Return the first key behind all that have a prefix; NUL, as etcd has it, if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b"\0"


# Answers


def key_value(message: Any) -> KeyValue:  # noqa: ANN401  see MESSAGES
    """Return what a message says of a key."""
    return KeyValue(
        message.key,
        message.value,
        message.mod_revision,
        message.create_revision,
        message.lease,
    )


def first_of(range_response: Any) -> KeyValue | None:  # noqa: ANN401  see MESSAGES
    """Return the one key that was asked for; None if it is not there."""
    return key_value(range_response.kvs[0]) if range_response.kvs else None


def transaction_result(answer: Any) -> TransactionResult:  # noqa: ANN401  see MESSAGES
    """Return what the answer to a transaction says."""
    gets = tuple(
        first_of(response.response_range)
        for response in answer.responses
        if response.HasField("response_range")
    )
    return TransactionResult(answer.succeeded, answer.header.revision, gets)
