"""etcd's messages, as protobuf classes made from a table of field numbers.

The problem: classes that ``protoc`` generates need a matching version of protobuf's runtime, and
register ``etcdserverpb`` in its default pool, where each name may be there once: a process that
uses another library for etcd as well could import only one of the two. So the classes are made
here, in a pool of their own, and hold the fields that the package uses. What a newer server sends
beside them is ignored, as protobuf prescribes.

The numbers are those of etcd's ``api/etcdserverpb/rpc.proto`` and ``api/mvccpb/kv.proto``.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE: Final = "trio_event_etcd"

_TYPES: Final = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    # Protobuf reads and writes enumerations as it does numbers.
    "int": FieldDescriptorProto.TYPE_INT64,
    "str": FieldDescriptorProto.TYPE_STRING,
    "uint": FieldDescriptorProto.TYPE_UINT64,
}

# A field is "NUMBER NAME TYPE". "*" is a list, "|" one of the fields of which one is there.
_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "ResponseHeader": ("1 cluster_id uint", "2 member_id uint", "3 revision int"),
    "KeyValue": (
        "1 key bytes",
        "2 create_revision int",
        "3 mod_revision int",
        "5 value bytes",
        "6 lease int",
    ),
    "RangeRequest": (
        "1 key bytes",
        "2 range_end bytes",
        "3 limit int",
        "4 revision int",
        "5 sort_order int",
        "6 sort_target int",
        "7 serializable bool",
        "8 keys_only bool",
        "13 max_create_revision int",
    ),
    "RangeResponse": ("1 header ResponseHeader", "2 kvs *KeyValue", "3 more bool"),
    "PutRequest": ("1 key bytes", "2 value bytes", "3 lease int"),
    "PutResponse": ("1 header ResponseHeader",),
    "DeleteRangeRequest": ("1 key bytes", "2 range_end bytes"),
    "DeleteRangeResponse": ("1 header ResponseHeader", "2 deleted int"),
    "RequestOp": (
        "1 request_range |RangeRequest",
        "2 request_put |PutRequest",
        "3 request_delete_range |DeleteRangeRequest",
        "4 request_txn |TxnRequest",
    ),
    "ResponseOp": (
        "1 response_range |RangeResponse",
        "2 response_put |PutResponse",
        "3 response_delete_range |DeleteRangeResponse",
        "4 response_txn |TxnResponse",
    ),
    "Compare": (
        "1 result int",
        "2 target int",
        "3 key bytes",
        "5 create_revision |int",
        "6 mod_revision |int",
        "7 value |bytes",
        "64 range_end bytes",
    ),
    "TxnRequest": ("1 compare *Compare", "2 success *RequestOp", "3 failure *RequestOp"),
    "TxnResponse": ("1 header ResponseHeader", "2 succeeded bool", "3 responses *ResponseOp"),
    "WatchRequest": (
        "1 create_request |WatchCreateRequest",
        "2 cancel_request |WatchCancelRequest",
    ),
    "WatchCreateRequest": (
        "1 key bytes",
        "2 range_end bytes",
        "3 start_revision int",
        "7 watch_id int",
        "8 fragment bool",
    ),
    "WatchCancelRequest": ("1 watch_id int",),
    "WatchResponse": (
        "1 header ResponseHeader",
        "2 watch_id int",
        "3 created bool",
        "4 canceled bool",
        "5 compact_revision int",
        "6 cancel_reason str",
        "7 fragment bool",
        "11 events *Event",
    ),
    "Event": ("1 type int", "2 kv KeyValue"),
    "LeaseGrantRequest": ("1 TTL int", "2 ID int"),
    "LeaseGrantResponse": ("1 header ResponseHeader", "2 ID int", "3 TTL int"),
    "LeaseRevokeRequest": ("1 ID int",),
    "LeaseRevokeResponse": ("1 header ResponseHeader",),
    "LeaseKeepAliveRequest": ("1 ID int",),
    "LeaseKeepAliveResponse": ("1 header ResponseHeader", "2 ID int", "3 TTL int"),
    "AuthenticateRequest": ("1 name str", "2 password str"),
    "AuthenticateResponse": ("1 header ResponseHeader", "2 token str"),
}


def _make_classes() -> dict[str, Any]:
    file = FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field.split(" "))
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS
    }


def _add_field(message: DescriptorProto, number: str, name: str, kind: str) -> None:
    is_list, is_alternative = kind.startswith("*"), kind.startswith("|")
    kind = kind.lstrip("*|")
    label = FieldDescriptorProto.LABEL_REPEATED if is_list else FieldDescriptorProto.LABEL_OPTIONAL
    field = message.field.add(name=name, number=int(number), label=label)
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"
    if is_alternative:
        if not message.oneof_decl:
            message.oneof_decl.add(name="one_of")
        field.oneof_index = 0


# Their attributes are known at run time only, so that to a type checker they are Any.
MESSAGES: Final[dict[str, Any]] = _make_classes()
"""The class of each message, by its name in etcd."""
