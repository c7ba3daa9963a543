"""What makes the server of a process's probes, if it is to have one (S41)."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

from supervisor._core._arguments import check_address, check_function, check_host, check_port, shown

from ._sidecars import MakeSidecar, check_made

Health: TypeAlias = str | tuple[str, int] | MakeSidecar

EXAMPLE = "0.0.0.0:8080"


def probes(health: object) -> MakeSidecar | None:
    """Return the function that makes the server which ``main(health=)`` asks for.

    Raises:
        TypeError: if ``health`` is of a wrong kind.
        ValueError: if it is not of the form ``HOST:PORT``, or there is no such host or port.
    """
    if health is None:
        return None
    if callable(health):
        check_function("health", health, "a health_server()")
        return partial(check_made, "health", health, "a health_server()")
    match health:
        case str():
            host, port = check_address("health", health, EXAMPLE)
        case (str(host), int(number)):
            host, port = check_host("health", host), check_port("health", number)
        case _:
            msg = (
                f"health={shown(health)} is no place for a server: pass 'HOST:PORT' or a pair, "
                f"such as {EXAMPLE!r}, or a function of the tree that returns a health_server()"
            )
            raise TypeError(msg)
    from supervisor.health import health_server  # noqa: PLC0415  it is needed on demand only

    return partial(health_server, host=host, port=port)
