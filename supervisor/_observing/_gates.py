"""Whether parts of a tree are ready, and have been so once, for those who ask often (S41).

A probe asks every few seconds, and a tree may have ten thousand nodes. So the first question about
a DN walks through its subtree, and adds an observer that stays as long as the tree. Each further
question costs the way from the root to the DN.

A gate has opened when its subtree was ready once: the observer sees that, so it need not be so at
the instant of a question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ._ready import Readiness

if TYPE_CHECKING:
    from collections.abc import Collection

    from supervisor._core._events import Event
    from supervisor._core._tree import Node
    from supervisor._tasks._port import Port

GATES: Final = 100
"""At most so many gates of a tree are followed that no server holds. For another one, the gate is
dropped that was asked for longest ago."""


@final
class Gate:
    """Whether the subtree at a DN is ready, and has been so once."""

    __slots__ = ("_readiness", "dn", "has_opened")

    def __init__(self, port: Port, dn: str) -> None:
        self.dn: Final = dn
        self._readiness: Final = Readiness(port, dn)
        self.has_opened: bool = self._readiness.is_given()

    @property
    def unready(self) -> Collection[Node]:
        """The nodes that are not ready; see :attr:`Readiness.unready`."""
        return self._readiness.unready

    def is_open(self) -> bool:
        """Return whether the whole subtree is ready."""
        return self._readiness.is_given()

    def observe(self, event: Event) -> None:
        self._readiness.observe(event)
        self.has_opened = self.has_opened or self._readiness.is_given()


@final
class Gates:
    """The gates of a tree, each from the first question about it on."""

    __slots__ = ("_gates", "_held", "_port")

    def __init__(self, port: Port) -> None:
        self._port: Final = port
        # By DN, the one that was asked for longest ago first.
        self._gates: Final[dict[str, Gate]] = {}
        self._held: Final[dict[str, Gate]] = {}

    def at(self, dn: str) -> Gate:
        """Return the gate at a DN, which is followed until ``GATES`` others were asked for."""
        if dn in self._held:
            return self._held[dn]
        gate = self._gates.pop(dn, None)
        if gate is None:
            if len(self._gates) == GATES:
                oldest = self._gates.pop(next(iter(self._gates)))
                self._port.remove_observer(oldest.observe)
            gate = self._follow(dn)
        self._gates[dn] = gate
        return gate

    def hold(self, dn: str) -> Gate:
        """Return the gate at a DN, which is followed as long as there is the tree."""
        if dn not in self._held:
            self._held[dn] = self._gates.pop(dn) if dn in self._gates else self._follow(dn)
        return self._held[dn]

    def _follow(self, dn: str) -> Gate:
        gate = Gate(self._port, dn)
        self._port.add_observer(gate.observe)
        return gate
