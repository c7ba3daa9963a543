"""What is kept of a death."""

from __future__ import annotations

from typing import final

import attrs


@final
@attrs.frozen(kw_only=True)
class Crash:
    """One death, or one error raised while stopping, as text (S14).

    No exception, frame or traceback object is kept, so a record holds on to
    nothing that the runnable used.
    """

    dn: str
    """The node."""
    time: float
    """When it ended, in seconds on Trio's clock."""
    uptime: float
    """For how many seconds the incarnation had run."""
    incarnation: int
    """Which run of the node it was; the first is 1."""
    error: str
    """The exception's type and message, in one line."""
    traceback: str
    """The formatted traceback, without the frames of Trio and of this package."""
    meanwhile: str = ""
    """What other members of the group failed with meanwhile, such as ``root.parse was failing with
    ValueError: …``; mostly empty. The clean-up of a runnable that fails may let another one end
    first, so this may be the cause."""
