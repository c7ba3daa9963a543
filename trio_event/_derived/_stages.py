"""Stages that look at the data alone: ``map``, ``filter``, ``distinct``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import attrs
import trio

from .._graph import SEEN, Stage
from .._unset import UNSET
from .._watcher import OWN_ERRORS, accepts, error_of_user

if TYPE_CHECKING:
    from collections.abc import Callable


@final
@attrs.frozen(eq=False)
class Mapped(Stage):
    """See :meth:`ValueWatch.map` (V17)."""

    function: Callable[[Any], Any]

    def apply(self, data: Any) -> Any:  # noqa: ANN401  as in Stage, here and below
        try:
            return self.function(data)
        except OWN_ERRORS as error:
            raise error_of_user("the function of map()", error) from error

    def take(self, data: Any, _states: list[Any], _index: int) -> Any:  # noqa: ANN401
        try:
            return self.function(data)
        except OWN_ERRORS as error:
            raise error_of_user("the function of map()", error) from error


@final
@attrs.frozen(eq=False)
class Filtered(Stage):
    """See :meth:`ValueWatch.filter` (V17)."""

    predicate: Callable[[Any], bool]

    def apply(self, data: Any) -> Any:  # noqa: ANN401
        return data if accepts(self.predicate, data, "the predicate of filter()") else UNSET


# No key was looked at: the version, the key there, and the version that brought it.
NO_KEY: Final = (0, UNSET, 0)


@final
@attrs.frozen(eq=False)
class Distinct(Stage):
    """See :meth:`ValueWatch.distinct` (V17).

    It remembers the key of what the watcher has returned last, and for a ``debounce`` behind it
    which key the newest version has.
    """

    initial: ClassVar[object] = (UNSET, NO_KEY)
    key: Callable[[Any], object] | None

    def apply(self, data: Any) -> Any:  # noqa: ANN401
        return data

    def take(self, data: Any, states: list[Any], index: int) -> Any:  # noqa: ANN401
        returned, newest = states[index]
        try:
            key = self._key_of(data)
            if returned is not UNSET and key == returned:
                return SEEN
        except OWN_ERRORS as error:
            raise error_of_user("the key of distinct(), or its comparison,", error) from error
        states[index] = (key, newest)
        return data

    def news(self, news: int, states: list[Any], index: int, given: Callable[[int], Any]) -> int:
        returned, (looked, newest, since) = states[index]
        if news != looked:
            key: object = UNSET
            try:
                data = given(index)
                # Where there are no data now, nothing is a repetition of what was before.
                if data is not UNSET:
                    key = self._key_of(data)
                repeated = key is not UNSET and bool(key == newest)
            except (Exception, trio.Cancelled):  # noqa: BLE001  so does the get that takes the data
                repeated = False
            if not repeated:
                newest, since = key, news
            states[index] = (returned, (news, newest, since))
        return since  # type: ignore[no-any-return]  # states have no types

    def _key_of(self, data: Any) -> object:  # noqa: ANN401
        return data if self.key is None else self.key(data)
