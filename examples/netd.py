"""A service to look at: what ``status``, ``logs`` and ``watch`` show of it is in README.md.

In this folder, ``python -m supervisor run netd:root`` runs it as well.
"""

from __future__ import annotations

import trio

import supervisor
from supervisor import Backoff, Signal


async def dhcp() -> None:
    """Ask for a lease, in vain."""
    await trio.lowlevel.checkpoint()
    raise OSError("no lease")


async def dns() -> None:
    """Answer what this machine asks: nothing."""
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def net() -> None:
    """Run the two together: without a lease, there is nobody whom DNS can ask."""
    backoff = Backoff(initial=1000, maximum=1000, jitter=0)
    supervisor.run_group({"dhcp": dhcp, "dns": dns}, backoff=backoff)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def web() -> None:
    """Serve nothing."""
    supervisor.signal(Signal.HEALTHY)
    await trio.sleep_forever()


async def root() -> None:
    """Start what the service is made of."""
    supervisor.run("net", net)
    supervisor.run("web", web)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


def main() -> None:
    """Run the service, and let this user's other processes look at it."""
    supervisor.main(root, inspect=True)


if __name__ == "__main__":
    main()
