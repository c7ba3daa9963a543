"""A service with an inspector, which does what it reads: one line, one command."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio

import supervisor
from supervisor import Backoff, Signal, Supervisor
from supervisor.inspector import inspector

LONG = Backoff(initial=1000.0, maximum=1000.0, jitter=0.0)

beside: list[Supervisor] = []
told_to_die = trio.Event()


async def idle() -> None:
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def die() -> None:
    supervisor.signal(Signal.HEALTHY)
    msg = "no lease"
    raise OSError(msg)


async def die_when_told() -> None:
    supervisor.signal(Signal.HEALTHY)
    await told_to_die.wait()
    msg = "no lease"
    raise OSError(msg)


async def net() -> None:
    dhcp = die_when_told if "mortal" in sys.argv else die
    supervisor.run_group({"dhcp": dhcp, "dns": idle}, backoff=LONG)
    await idle()


async def obey() -> None:
    """Log each line, or do what it says."""
    supervisor.signal(Signal.HEALTHY)
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        if line == "restart the inspector\n":
            await beside[0].restart("sidecars.inspector")
            await beside[0].wait_ready()
        elif line == "let dhcp die\n":
            told_to_die.set()
        else:
            supervisor.logger().info("%s", line.rstrip())
        print("done", flush=True)  # noqa: T201  the test waits for it
    await trio.sleep_forever()


async def root() -> None:
    if "well" not in sys.argv:
        supervisor.run("net", net)
    supervisor.run("obey", obey)
    await idle()


def show(tree: Supervisor) -> Callable[[], Awaitable[None]]:
    """Make the inspector, which notes its own tree."""
    shown = inspector(tree, path=sys.argv[1], values={})

    async def inspect() -> None:
        beside[:] = [supervisor.current_supervisor()]
        await shown()

    return inspect


async def tell(tree: Supervisor) -> None:
    """Tell the test when the tree has settled, and the inspector listens."""
    supervisor.signal(Signal.HEALTHY)
    await beside[0].wait_ready("sidecars.inspector")
    await tree.wait_settled()
    print("ready", flush=True)  # noqa: T201  as above
    await trio.sleep_forever()


if __name__ == "__main__":
    supervisor.main(
        root,
        inspect=show,
        sidecars=lambda tree: {"tell": partial(tell, tree)},
    )
