"""How the types of ``supervisor.health`` look from outside: for type checkers, never run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_type

import prometheus_client

import supervisor
from supervisor import Supervisor
from supervisor.health import Check, check, health_server


async def root() -> None: ...


def questions(tree: Supervisor) -> None:
    found = assert_type(check(tree, "ready"), Check)
    assert_type((found.ok, found.text), tuple[bool, str])
    check(tree, "live")
    check(tree, "startup", gate=["root.api", "root.db"])
    check(tree, "alive")  # type: ignore[arg-type]  # there is no such kind
    check(tree, "ready", ["root"])  # type: ignore[call-arg]  # the gate has a name
    found.ok = True  # type: ignore[misc]  # it is frozen


def servers(tree: Supervisor) -> None:
    registry = prometheus_client.CollectorRegistry()
    server = health_server(tree, host="::", port=8080, gate=("root.api",), registry=registry)
    assert_type(server, Callable[[], Awaitable[None]])
    supervisor.run("health", server)
    health_server(tree)  # type: ignore[call-arg]  # the port is missing
    health_server(tree, port="8080")  # type: ignore[arg-type]  # it is a number


def process() -> None:
    supervisor.main(root, health="0.0.0.0:8080")


def process_with_a_pair() -> None:
    supervisor.main(root, health=("127.0.0.1", 8080))


def process_with_a_gate() -> None:
    supervisor.main(root, health=lambda tree: health_server(tree, port=80, gate=["root.api"]))


def process_with_a_number() -> None:
    supervisor.main(root, health=8080)  # type: ignore[arg-type]  # the host is missing
