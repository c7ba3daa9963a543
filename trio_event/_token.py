"""Which Trio run a thread works for."""

from __future__ import annotations

import trio


def token_of_this_thread() -> trio.lowlevel.TrioToken:
    """Return the Trio run that this thread works for."""
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        try:
            return trio.from_thread.run_sync(trio.lowlevel.current_trio_token)
        except RuntimeError:
            msg = (
                "set_from_thread() does not know which Trio run the value belongs to: "
                "pass trio_token=, from trio.lowlevel.current_trio_token()"
            )
            raise RuntimeError(msg) from None
