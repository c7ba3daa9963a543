"""Handing out a value without what sets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ._value import ValueWatch
from ._watcher import check_value

if TYPE_CHECKING:
    from ._graph import Look, Node, Source, Stage
    from ._unset import Unset
    from ._watcher import Watcher

T_co = TypeVar("T_co", covariant=True)


class View(ValueWatch[T_co]):
    """The read side of another value, of which it passes on all that is said (V24).

    It has the data, versions and end of that value, and the same tasks wait for it. A class that
    keeps its data in a :class:`MemoryValue` or a :class:`ValueMap` hands out a view of it, or is
    one: then its users can watch and derive, but not set. It has none of the methods that only one
    kind of value has: a class that shows a map may define ``item`` and the like itself.

    Args:
        value: The value that is shown.

    Raises:
        TypeError: if it is no value.

    Example::

        class Thermometer(View[float]):
            def __init__(self) -> None:
                self._degrees: MemoryValue[float] = MemoryValue()
                super().__init__(self._degrees)
    """

    __slots__ = ("__weakref__", "_shown")

    def __init__(self, value: ValueWatch[T_co]) -> None:
        """Make a view; see the class."""
        check_value("View(): value", value)
        self._shown = value

    def __repr__(self) -> str:
        """Show what is shown."""
        return f"<{type(self).__name__} of {self._shown!r}>"

    def watch(self) -> Watcher[T_co]:
        """Return a new watcher of the value that is shown.

        Checkpoints:
            Never.
        """
        return self._shown.watch()

    @property
    def version(self) -> int:
        """The newest version of the value that is shown."""
        return self._shown.version

    async def wait_version(self, version: int) -> T_co:
        """Wait until the value that is shown is at least at ``version``, as its own method does.

        Raises:
            Exception: what that raises.

        Checkpoints:
            Always.

        Cancellation:
            Leaves nothing behind.
        """
        return await self._shown.wait_version(version)

    def _watch_through(self, stages: tuple[Stage, ...]) -> Watcher[Any]:
        return self._shown._watch_through(stages)

    def _roots(self) -> frozenset[Node[object]]:
        return self._shown._roots()

    def _inputs(self) -> tuple[Node[object], ...]:
        return self._shown._inputs()

    def _open_source(self) -> Source[T_co]:
        return self._shown._open_source()

    def _evaluate_now(self) -> T_co | Unset:
        return self._shown._evaluate_now()

    def _evaluate(self, look: Look) -> T_co | Unset:
        return look.of(self._shown)

    def _find_end(self, look: Look) -> Exception | None:
        return look.end_of(self._shown)
