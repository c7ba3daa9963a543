"""Stages that let time pass: ``debounce``, ``throttle``.

They say *when* unseen data may be taken, and what waits on their watcher, a ``get`` or a
``select``, waits until then unless something happens before. There is no task, and no timer
while nothing waits.

Nothing is held until then: what is taken in the end is the newest, and nothing is seen before.
So a stage is no more than a condition on when to take, and of several stages all have to be met.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, final

import attrs
import trio

from .._graph import TimedStage

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen(eq=False)
class _Timed(TimedStage):
    seconds: float

    def apply(self, data: Any) -> Any:  # noqa: ANN401  as in Stage
        return data


@final
@attrs.frozen(eq=False)
class Debounced(_Timed):
    """See :meth:`ValueWatch.debounce` (V17).

    It remembers the version of the last news, and when it will have been quiet for long enough.
    """

    initial: ClassVar[object] = (0, -math.inf)

    def due(self, states: list[Any], index: int, news: Callable[[int], int]) -> float:
        noticed, quiet_at = states[index]
        newest = news(index)
        if newest != noticed:
            quiet_at = trio.current_time() + self.seconds
            states[index] = (newest, quiet_at)
        return quiet_at  # type: ignore[no-any-return]  # states have no types


@final
@attrs.frozen(eq=False)
class Throttled(_Timed):
    """See :meth:`ValueWatch.throttle` (V17).

    It remembers when the next update may be taken.
    """

    initial: ClassVar[object] = -math.inf

    def take(self, data: Any, states: list[Any], index: int) -> Any:  # noqa: ANN401  as in Stage
        states[index] = trio.current_time() + self.seconds
        return data

    def due(self, states: list[Any], index: int, _news: Callable[[int], int]) -> float:
        return states[index]  # type: ignore[no-any-return]  # as above
