"""What one client, and all of them, may take of the process that serves them."""

from __future__ import annotations

from typing import Final

CLIENTS: Final = 32
"""So many are served at a time."""

REFUSED: Final = 32
"""So many others may stay until they have read why they are refused."""

REQUEST_SIZE: Final = 16 * 1024
"""The head and the body of a request have at most so many bytes each."""

REQUEST_TIME: Final = 30.0
"""Seconds from the end of an answer, or from the connection, to the end of the next request."""

SEND_TIME: Final = 5.0
"""Seconds within which a client has to take a piece."""

PIECE: Final = 64 * 1024
"""So many bytes are sent at once."""
