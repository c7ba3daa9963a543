"""A service that logs: ``python logs.py [configured]`` with ``configured`` its own way."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import supervisor
from supervisor import Signal


def write() -> NoReturn:
    """Fail, as writing does now and then."""
    raise OSError("the disk is full")


async def child() -> None:
    """Log by various loggers, with and without a traceback."""
    supervisor.logger().debug("nobody is to see this")
    supervisor.logger().info("two\nlines of „text“")
    supervisor.sub_logger("http").warning("slow")
    logging.getLogger("library").error("from elsewhere")
    try:
        write()
    except OSError:
        supervisor.logger().exception("no room")
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


async def root() -> None:
    """Start the child, and be done."""
    supervisor.run("child", child)
    supervisor.signal(Signal.HEALTHY)
    supervisor.signal(Signal.DONE)


if __name__ == "__main__":
    if "configured" in sys.argv:
        logging.basicConfig(format="%(levelname)s|%(dn)s|%(message)s", level=logging.WARNING)
    supervisor.main(root)
