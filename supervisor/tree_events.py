"""The events of a tree, as observers are told them.

An *observer* is a function that takes an event, and is not async. It is passed to
:func:`supervisor.supervise`, :func:`supervisor.open_supervisor` or :func:`supervisor.main` by
``observers=``, or added to a tree that runs by :meth:`supervisor.Supervisor.add_observer`.

It is called in Trio's thread, right after the step in which the event happened, and in order. It
must return quickly. For what takes time, it hands the event to a task, as by
``MemorySendChannel.send_nowait()``. What it does to the tree itself, such as stopping a node, is
told after what is being told. An ``Exception`` that it raises is logged, with the kind of the
event, and the other observers are told all the same; any other exception leaves the tree.

Nodes and groups are passed by reference, so an observer that does not read a DN pays for none. An
observer reads these attributes of them, and writes none:

- of a :class:`Node`: ``name``, ``dn``, ``number`` (which incarnation it is), ``crashes``,
  ``deaths`` (how many in all), ``is_ready``, and ``group``;
- of a :class:`Group`: ``dn``, ``state``, ``members`` (its nodes), ``failures`` (in a row) and
  ``operator_restarts``.

Example::

    def count_deaths(event: Event) -> None:
        if isinstance(event, NodeDied):
            deaths[event.node.dn] += 1

    trio.run(partial(supervisor.supervise, root, observers=[count_deaths]))
"""

from __future__ import annotations

from ._core._events import (
    DrainBegun,
    Event,
    FactoryFailed,
    FatalErrorRaised,
    GraceMissing,
    GroupGaveUp,
    GroupMoved,
    NodeDied,
    NodeMoved,
    NodeRecovered,
    NodeRemoved,
    NodesStillNew,
    NodesStuck,
    ReadinessSet,
    RestartWasRequested,
    StopErrorRaised,
)
from ._core._tree import Group, Node

__all__ = (
    "DrainBegun",
    "Event",
    "FactoryFailed",
    "FatalErrorRaised",
    "GraceMissing",
    "Group",
    "GroupGaveUp",
    "GroupMoved",
    "Node",
    "NodeDied",
    "NodeMoved",
    "NodeRecovered",
    "NodeRemoved",
    "NodesStillNew",
    "NodesStuck",
    "ReadinessSet",
    "RestartWasRequested",
    "StopErrorRaised",
)
