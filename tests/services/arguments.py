"""A root that shows its arguments and dies: for the command line."""

from __future__ import annotations

import sys


async def root(*args: str) -> None:
    """Print them."""
    sys.stdout.write(f"{args}\n")
    sys.stdout.flush()
    raise OSError("the disk is full")
