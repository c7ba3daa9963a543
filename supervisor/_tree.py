"""A tree's own state, and the one way of changing it.

Nothing here waits, runs or cancels anything. :meth:`Tree.move` consults the table of
transitions, tells the metrics, and counts what keeps the tree from being settled. The tasks
are in ``_engine``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

from ._node import Incarnation
from ._report import log
from ._state import TRANSITIONS, GroupState, NodeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trio

    from ._alarms import Alarms
    from ._backoff import Backoff
    from ._metrics import Metrics
    from ._node import Group, Node

_logger = logging.getLogger("supervisor")


@final
class Tree:
    """What all nodes of one tree share."""

    __slots__ = (
        "_last_dn",
        "_metrics",
        "_on_settled",
        "_restless",
        "alarms",
        "backoff",
        "errors",
        "moved",
        "propagate",
        "root",
        "token",
    )

    def __init__(
        self,
        *,
        backoff: Backoff,
        metrics: Metrics | None,
        propagate: bool,
        token: trio.lowlevel.TrioToken,
        on_settled: Callable[[], object],
    ) -> None:
        self.backoff: Backoff = backoff
        self.propagate: bool = propagate
        # The run of Trio in which the tree lives.
        self.token: trio.lowlevel.TrioToken = token
        self.root: Group
        self.alarms: Alarms
        # What will leave supervise().
        self.errors: list[BaseException] = []
        self._metrics: Metrics | None = metrics
        self._on_settled: Callable[[], object] = on_settled
        # Those who wait for any transition; None while nobody does.
        self.moved: trio.lowlevel.ParkingLot | None = None
        # How many nodes are NEW, groups STOPPING, and ordered starts under way.
        self._restless: int = 0
        # The last answer of dn_of. One tuple, since threads ask too.
        self._last_dn: tuple[Node, str] | None = None

    @property
    def settled(self) -> bool:
        return self._restless == 0

    def leave(self, error: BaseException) -> None:
        """Cancel the whole tree, and let ``error`` leave it."""
        self.errors.append(error)
        self.root.host.cancel(f"{type(error).__name__} leaves the tree")

    def dn_of(self, parent: Node) -> str:
        """Put together the DN of a node that has children.

        A start, a stop and a walk go down the tree. So whoever asks here mostly wants the
        same as the last one, or one level more, and need not begin at the root: in a chain
        of ten thousand nodes that would be fifty million steps for all of them.
        """
        last, dn = self._last_dn or (None, "")
        if parent is last:
            return dn
        names: list[str] = []
        node: Node = parent
        while node is not last:
            names.append(node.name)
            above = node.group.parent
            if above is None:
                break
            node = above.node
        else:
            names.append(dn)
        dn = ".".join(reversed(names))
        self._last_dn = (parent, dn)
        return dn

    def begin(self, node: Node, now: float) -> None:
        """Give ``node`` a new incarnation; the last one's descendants vanish."""
        last = node.incarnation
        if last is not None and last.children:
            if self._metrics is not None:
                for descendant in descendants(last):
                    self._notify_gone(descendant)
            self._last_dn = None  # it may keep one of them
        node.number += 1
        node.incarnation = Incarnation(node, now)
        self.stir()
        if self._metrics is not None:
            self._notify_state(node, NodeState.NEW)

    def move(self, incarnation: Incarnation, state: NodeState, now: float) -> None:
        """Make a transition of a node."""
        before = incarnation.state
        if state not in TRANSITIONS[before]:
            msg = f"{incarnation.node.dn} can't go from {before.name} to {state.name}"
            raise AssertionError(msg)
        incarnation.state = state
        incarnation.since = now
        if self._metrics is not None:
            self._notify_state(incarnation.node, state)
        if before is NodeState.NEW:
            if incarnation.host is not None:
                incarnation.host.seal()
            group = incarnation.node.group
            group.unready -= 1
            # One that becomes HEALTHY within its grace joins siblings that have died.
            together = group.unready == 0 and group.state is GroupState.RUNNING
            if together and state is NodeState.HEALTHY:
                group.ready_since = now
            if group.unready == 0 or state is not NodeState.HEALTHY or group.terms.ordered:
                group.tell()
            self.calm()
        self.tell()

    def shift(self, group: Group, state: GroupState) -> None:
        """Make a transition of a group."""
        before, group.state = group.state, state
        if state is GroupState.STOPPING:
            self._restless += before is not state
        elif before is GroupState.STOPPING:
            self.calm()
        group.tell()

    def vanish(self, node: Node) -> None:
        """Tell the metrics that ``node`` and all below it are no more."""
        if self._metrics is not None:
            self._notify_gone(node)
            if node.incarnation is not None:
                for descendant in descendants(node.incarnation):
                    self._notify_gone(descendant)
        self._last_dn = None  # it may keep one of them
        self.tell()

    def tell(self) -> None:
        """Wake those who wait for any transition."""
        if self.moved is not None:
            self.moved.unpark_all()

    def _notify_gone(self, node: Node) -> None:
        assert self._metrics is not None
        if node.incarnation is None:
            return  # it never came
        try:
            self._metrics.notify_node_gone(node.dn)
        except Exception:  # noqa: BLE001  it is logged
            text = "%r failed at the vanishing of %s"
            log(self.leave, _logger, logging.ERROR, text, self._metrics, node.dn, exc_info=True)
        except BaseException as error:  # noqa: BLE001  it leaves, as a runnable's does
            self.leave(error)

    def _notify_state(self, node: Node, state: NodeState) -> None:
        assert self._metrics is not None
        try:
            self._metrics.notify_node_state(node.dn, state)
        except Exception:  # noqa: BLE001  it is logged
            text = "%r failed at the transition of %s to %s"
            about = self._metrics, node.dn, state.name
            log(self.leave, _logger, logging.ERROR, text, *about, exc_info=True)
        except BaseException as error:  # noqa: BLE001  it leaves, as a runnable's does
            self.leave(error)

    def stir(self) -> None:
        """Take note of one more thing that keeps the tree from being settled."""
        self._restless += 1

    def calm(self) -> None:
        """Take note of one less."""
        self._restless -= 1
        if self._restless == 0:
            self._on_settled()


def descendants(incarnation: Incarnation) -> Iterator[Node]:
    """Walk through the nodes below ``incarnation``, each before its own children."""
    rest = [iter((incarnation.children or {}).values())]
    while rest:
        for node in rest[-1]:
            yield node
            below = node.incarnation
            if below is not None and below.children:
                rest.append(iter(below.children.values()))
                break
        else:
            rest.pop()
