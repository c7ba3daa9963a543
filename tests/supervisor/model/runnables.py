"""Runnables that do what is planned for them, and tell an observer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import attrs
import trio

import supervisor
from supervisor import GroupState, NodeState, Pool, RestartPolicy, RestartRequested, Signal

from . import actions
from .group_model import Demand
from .observer import DeadlyError
from .strategies import Behaviour, End, GroupPlan, RunnablePlan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from supervisor import Supervisor

    from .group_model import GroupModel
    from .observer import Observer


@final
@attrs.define(eq=False)
class CleanUp:
    """The clean-up of one incarnation, which is not done again by one that is stopped in it."""

    behaviour: Behaviour
    begun: bool = False

    async def __call__(self) -> None:
        if not self.begun and self.behaviour.clean_up:
            self.begun = True
            with trio.CancelScope(shield=self.behaviour.shielded):
                await trio.sleep(self.behaviour.clean_up)


@final
@attrs.define(eq=False)
class Runnables:
    """The runnables of one tree, and what they share."""

    observer: Observer
    tree: Supervisor | None = None
    pools: dict[str, Pool] = attrs.field(factory=dict)

    async def run(self, plan: RunnablePlan) -> None:
        """Run a planned runnable."""
        observer, dn = self.observer, supervisor.current_dn()
        self.check()
        with observer.count_task(dn):
            observer.runs[dn] += 1
            behaviour = plan.behaviour(observer.runs[dn])
            clean_up = CleanUp(behaviour)
            for number, group in enumerate(plan.groups):
                self.start_group(dn, number, group)
            returns_when_asked = False
            beats = self.has_heartbeat(dn) and behaviour.beats
            try:
                if behaviour.uses_scope and not (behaviour.helpers or beats):
                    returns_when_asked = await self.work_in_scope(dn, behaviour, clean_up)
                elif beats or behaviour.returns_when_asked or behaviour.helpers:
                    async with trio.open_nursery() as nursery:

                        async def leave() -> None:
                            nonlocal returns_when_asked
                            await supervisor.wait_stop_requested()
                            returns_when_asked = True
                            nursery.cancel_scope.cancel()

                        if behaviour.returns_when_asked:
                            nursery.start_soon(leave)
                        for _ in range(behaviour.helpers):
                            nursery.start_soon(self.run_helper, dn)
                        if beats:
                            nursery.start_soon(self.beat, dn)
                        await self.work(dn, behaviour, clean_up)
                        nursery.cancel_scope.cancel()
                else:
                    await self.work(dn, behaviour, clean_up)
            except trio.Cancelled:
                observer.stop_seen(dn)
                await self.clean_up(clean_up)
                if behaviour.stop_fault:
                    raise observer.new_fault(dn)  # noqa: B904  it hides the Cancelled on purpose
                raise
            if returns_when_asked:
                observer.stop_seen(dn)
                await self.clean_up(clean_up)
                if behaviour.stop_fault:
                    raise observer.new_fault(dn)

    async def work_in_scope(self, dn: str, behaviour: Behaviour, clean_up: CleanUp) -> bool:
        """Work until a stop is requested; return whether it was."""
        with supervisor.stop_scope() as scope:
            try:
                await self.work(dn, behaviour, clean_up)
            except trio.Cancelled:
                if not scope.cancel_called:
                    self.observer.scope_not_cancelled(dn, behaviour.end)
                raise
        return scope.cancelled_caught

    async def work(self, dn: str, behaviour: Behaviour, clean_up: CleanUp) -> None:
        await trio.sleep(behaviour.set_up)
        if behaviour.healthy:
            self.expect_beats(dn, behaviour)
            supervisor.signal(Signal.HEALTHY)
            self.check()
        if behaviour.healthy and behaviour.unready:
            self.observer.unready.add(dn)
            supervisor.set_ready(False, "it works")  # noqa: FBT003  it is what the function is for
            self.check()
            await trio.sleep(behaviour.work)
            self.observer.unready.discard(dn)
            supervisor.set_ready(True)
            self.check()
        else:
            await trio.sleep(behaviour.work)
        model = self.observer.find(dn)
        if model is not None and model.handle is not None:  # the root has none
            tree = self.tree if behaviour.by_tree else None
            if behaviour.end is End.STOP_OWN:
                await actions.stop(self.observer, model, tree)
            elif behaviour.end is End.RESTART_OWN:
                await actions.restart(self.observer, model, tree)
        if behaviour.end in {End.STAY, End.STOP_OWN, End.RESTART_OWN}:
            await trio.sleep_forever()
        await self.clean_up(clean_up)
        await self.end(dn, behaviour.end)

    async def end(self, dn: str, end: End) -> None:
        """End as planned."""
        if end is End.REQUEST:
            await self.request_restart(dn)
        if end is End.DIE:
            raise self.observer.new_fault(dn)
        if end is End.DIE_FATALLY:
            model = self.observer.find(dn)
            # Where one is late, the group fails of that, whatever is raised then.
            if model is not None and not model.late:
                model.dies_fatally.add(dn)
            raise self.observer.new_fault(dn, DeadlyError)
        if end is End.DIE_TWICE:
            faults = [self.observer.new_fault(dn), self.observer.new_fault(dn)]
            raise ExceptionGroup("both", faults)
        if end is End.FATAL:
            raise self.observer.new_fatal_error(dn)
        if end is End.DONE:
            supervisor.signal(Signal.DONE)

    async def clean_up(self, clean_up: CleanUp) -> None:
        self.check()
        await clean_up()

    async def request_restart(self, dn: str) -> None:
        """End by a request to restart the group, if that is granted; the root makes none."""
        model = self.observer.find(dn)
        assert self.tree is not None
        node = self.tree.snapshot().nodes[dn]
        is_granted = node.state is NodeState.HEALTHY and node.group.state is GroupState.RUNNING
        alone = not trio.lowlevel.current_task().child_nurseries
        if model is None or model.handle is None or self.observer.cancelled or not alone:
            await trio.sleep_forever()
        assert model is not None
        if not is_granted:
            raise self.observer.new_fault(dn)
        model.ask(Demand.RESTART, trio.current_time())
        raise RestartRequested("it is time for it")

    def has_heartbeat(self, dn: str) -> bool:
        model = self.observer.find(dn)
        return model is not None and model.plan.heartbeat is not None

    def expect_beats(self, dn: str, behaviour: Behaviour) -> None:
        """Tell the model when the runnable dies of a missing beat, if it does not beat."""
        model = self.observer.find(dn)
        if model is not None and model.plan.heartbeat is not None and not behaviour.beats:
            model.beats_due[dn] = trio.current_time() + model.plan.heartbeat

    async def beat(self, dn: str) -> None:
        """Beat often enough."""
        with self.observer.count_task(dn):
            while True:
                await trio.sleep(0.5)
                supervisor.beat()

    async def run_helper(self, dn: str) -> None:
        with self.observer.count_task(dn):
            await trio.sleep_forever()

    def check(self) -> None:
        """Check the tree between any two steps of others."""
        assert self.tree is not None
        self.observer.check_from_runnable(self.tree)

    def start_group(self, parent: str, number: int, group: GroupPlan) -> None:
        """Start a group of children of the calling runnable."""
        names = [f"g{number}m{member}" for member in range(len(group.members))]
        model = self.observer.add_group(parent, group, names)
        if group.by_run_pool:
            pool = supervisor.run_pool(names[0], backoff=group.backoff, limit=group.limit)
            self.pools[model.dns[0]] = pool
            return
        runnables: dict[str, Callable[[], Awaitable[None]]] = {}
        for name, dn, plan in zip(names, model.dns, group.members, strict=True):
            if plan.pool:
                runnables[name] = self.pools[dn] = Pool()
            else:
                runnables[name] = partial(self.run, plan)
        model.handle = supervisor.run_group(
            partial(self.make_runnables, model, runnables) if group.factory else runnables,
            backoff=None if group.never else group.backoff,
            limit=None if group.never else group.limit,
            grace=group.grace,
            ordered=group.ordered,
            start_timeout=group.start_timeout,
            heartbeat=group.heartbeat,
            restart=RestartPolicy.NEVER if group.never else RestartPolicy.ON_FAILURE,
            fatal=DeadlyError,
        )

    def make_runnables(
        self, model: GroupModel, runnables: Mapping[str, Callable[[], Awaitable[None]]]
    ) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Return the runnables of a group, or fail as planned."""
        model.calls += 1
        if model.calls in model.plan.factory_faults:
            model.factory_failed(trio.current_time())
            raise self.observer.new_fault(model.dns[0])
        return runnables
