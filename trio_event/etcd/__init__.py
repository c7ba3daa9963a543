"""A client of etcd for Trio: state that several machines share.

It needs the extra ``etcd``: ``pip install 'trio-supervisor[etcd]'``. A client knows the members of
a cluster, and asks the one that answers. A value of it has what the cluster stores under a key::

    import trio
    from trio_event.etcd import EtcdClient, Text

    async def main() -> None:
        async with EtcdClient(["localhost:2379"]) as client:
            async with client.value("app/color", Text()) as color:
                await color.put("green")
                async for current in color.watch():
                    print(current)

    trio.run(main)

``docs/etcd.md`` says what is guaranteed, what that costs, and what happens in each fault.
"""

from __future__ import annotations

try:
    import google.protobuf as _protobuf  # noqa: F401  only whether it is there
    import grpc as _grpc  # noqa: F401  likewise
except ImportError as _error:
    _MESSAGE = f"trio_event.etcd needs {_error.name}: pip install 'trio-supervisor[etcd]'"
    raise ImportError(_MESSAGE, name=_error.name) from _error

from ._announcing import announce as announce
from ._calling._lease import Lease as Lease
from ._calling._requests import (
    Compare as Compare,
    Delete as Delete,
    Get as Get,
    KeyRange as KeyRange,
    KeyValue as KeyValue,
    Operation as Operation,
    Put as Put,
    TransactionResult as TransactionResult,
)
from ._client import EtcdClient as EtcdClient
from ._election import (
    Election as Election,
    Leadership as Leadership,
    current_leadership as current_leadership,
    elect as elect,
)
from ._errors import (
    DecodeError as DecodeError,
    EtcdError as EtcdError,
    LeadershipLostError as LeadershipLostError,
    RefusedError as RefusedError,
    UnavailableError as UnavailableError,
    UnknownOutcomeError as UnknownOutcomeError,
)
from ._values._codecs import Bytes as Bytes, Codec as Codec, Json as Json, Text as Text
from ._values._map import EtcdMap as EtcdMap
from ._values._value import EtcdValue as EtcdValue
from ._watching._health import Health as Health
from ._wire._tls import TLS as TLS

__all__ = (
    "TLS",
    "Bytes",
    "Codec",
    "Compare",
    "DecodeError",
    "Delete",
    "Election",
    "EtcdClient",
    "EtcdError",
    "EtcdMap",
    "EtcdValue",
    "Get",
    "Health",
    "Json",
    "KeyRange",
    "KeyValue",
    "Leadership",
    "LeadershipLostError",
    "Lease",
    "Operation",
    "Put",
    "RefusedError",
    "Text",
    "TransactionResult",
    "UnavailableError",
    "UnknownOutcomeError",
    "announce",
    "current_leadership",
    "elect",
)
