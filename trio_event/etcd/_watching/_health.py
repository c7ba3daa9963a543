"""How fresh the values of a client are."""

from __future__ import annotations

from typing import Literal, final

import attrs


@final
@attrs.frozen
class Health:
    """Whether values are kept current (E5).

    Attributes:
        state: ``connecting`` before the first connection; ``current`` while changes come as the
            cluster makes them; ``stale`` while there is no connection to a member with a
            leader, and values keep their last data; ``failed``, of a single value, after an error
            that is permanent.
        since: Since when, in Trio's time.
        endpoint: The member that is followed, or was last.
        reason: Why it is not current; or what is worth knowing of a connection that is.
        revision: The cluster's newest revision when the connection was made; 0 if it is not known.
    """

    state: Literal["connecting", "current", "stale", "failed"]
    since: float
    endpoint: str | None = None
    reason: str = ""
    revision: int = 0
