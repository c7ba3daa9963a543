"""The members of a cluster as the user names them, and which one is asked next."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, final

from ..._arguments import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0

_HIGHEST_PORT: Final = 65535

_ENDPOINT: Final = re.compile(
    r"(?:(?P<scheme>\w+)://)?(?P<host>\[[^\[\]/?#@\s]+\]|[^\[\]:/?#@\s]+):(?P<port>\d+)/?"
)


def parse_endpoints(endpoints: object, *, is_encrypted: bool) -> tuple[str, ...]:
    """Return the endpoints as ``host:port``.

    Raises:
        TypeError: if they are not several strings.
        ValueError: if there is none, or if one is no endpoint, or asks for TLS where the client has
            none, or the other way round.
    """
    if isinstance(endpoints, str | bytes) or not isinstance(endpoints, Iterable):
        remedy = f"[{endpoints!r}]" if isinstance(endpoints, str) else "one of strings"
        msg = f"EtcdClient(): endpoints={shown(endpoints)} is no list: pass {remedy}"
        raise TypeError(msg)
    targets = tuple(_parse(endpoint, is_encrypted=is_encrypted) for endpoint in endpoints)
    if not targets:
        msg = "EtcdClient(): endpoints is empty: pass at least one, such as 'localhost:2379'"
        raise ValueError(msg)
    return targets


def _parse(endpoint: object, *, is_encrypted: bool) -> str:
    found = _ENDPOINT.fullmatch(endpoint) if isinstance(endpoint, str) else None
    if found is None or not 0 < int(found["port"]) <= _HIGHEST_PORT:
        msg = (
            f"EtcdClient(): {endpoint!r} is no endpoint: "
            "write host:port, or http://host:port, without a path"
        )
        raise ValueError(msg)
    scheme = found["scheme"]
    if scheme not in {None, "http", "https"}:
        msg = f"EtcdClient(): {endpoint!r} has the scheme {scheme!r}: write http or https"
        raise ValueError(msg)
    if scheme == "http" and is_encrypted:
        msg = f"EtcdClient(): {endpoint!r} is not encrypted: write https, or leave tls= out"
        raise ValueError(msg)
    if scheme == "https" and not is_encrypted:
        msg = f"EtcdClient(): {endpoint!r} is encrypted: pass tls=TLS(...), or write http"
        raise ValueError(msg)
    return f"{found['host']}:{found['port']}"


@final
class Rotation:
    """Which member is asked next; the first one is random (E6)."""

    def __init__(self, endpoints: tuple[str, ...]) -> None:
        """Make one for the endpoints of a client."""
        self._endpoints = endpoints
        self._at = random.randrange(len(endpoints))  # noqa: S311  keeps no secret

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._endpoints)

    @property
    def current(self) -> str:
        """The endpoint to ask."""
        return self._endpoints[self._at]

    def go_on(self) -> None:
        """Ask the next one from now on."""
        self._at = (self._at + 1) % len(self._endpoints)


def pauses() -> Iterator[float]:
    """Yield the seconds to wait after each failure in a row: longer and longer, partly random."""
    longest = _FIRST_PAUSE
    while True:
        yield longest * random.uniform(0.5, 1)  # noqa: S311  keeps no secret
        longest = min(longest * 2, _LONGEST_PAUSE)
