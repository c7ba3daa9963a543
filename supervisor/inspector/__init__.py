"""An inspector shows a running tree to those who ask over a socket, and acts on it for them.

See ``docs/inspector.md``. It needs the extra ``[inspect]``.
"""

from __future__ import annotations

from ._inspector import inspector as inspector
from ._values import Inspectable as Inspectable

__all__ = ("Inspectable", "inspector")
