"""Reading a range page by page, all of it at one revision (E1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._wire._seam import CallError
from ._requests import KeyRange, key_value, page_request
from ._verdicts import is_compacted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._requests import KeyValue, Request


async def read_range(
    call: Callable[[Request], Awaitable[Any]],
    name: str | bytes,
    first: bytes,
    end: bytes,
    *,
    is_local: bool = False,
) -> KeyRange:
    """Read the keys from ``first`` to before ``end``; without an end, the one key.

    If the revision is compacted meanwhile, all is read anew. ``name`` is for messages.
    """
    while True:
        items: list[KeyValue] = []
        revision, start = 0, first
        try:
            while True:
                page = await call(page_request(name, start, end, revision, is_local=is_local))
                revision = revision or page.header.revision
                items += map(key_value, page.kvs)
                if not page.more:
                    return KeyRange(tuple(items), revision)
                start = items[-1].key + b"\0"
        except CallError as error:
            if not is_compacted(error):
                raise
