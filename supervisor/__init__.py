"""A supervision tree for long-running services on Trio.

A *runnable* is an async function. The tree runs it, knows its health by the
signals it sends, starts it again with backoff when it dies, and restarts
*groups* of runnables together. Modelled on Monogon Metropolis'
``osbase/supervisor``, which builds on Erlang/OTP, and made of Trio's nurseries::

    import trio
    import supervisor
    from supervisor import Signal

    async def clock() -> None:
        supervisor.signal(Signal.HEALTHY)
        while True:
            supervisor.logger().info("tick")
            await trio.sleep(1)

    async def root() -> None:
        supervisor.run("clock", clock)
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)

    trio.run(supervisor.supervise, root)
"""

from __future__ import annotations

import pkgutil

from ._calls._handle import Handle as Handle
from ._calls._pool import (
    Pool as Pool,
    PoolStatistics as PoolStatistics,
    run_pool as run_pool,
)
from ._calls._runnable import (
    beat as beat,
    current_dn as current_dn,
    logger as logger,
    raw_logger as raw_logger,
    run as run,
    run_group as run_group,
    set_ready as set_ready,
    signal as signal,
    stop_scope as stop_scope,
    sub_logger as sub_logger,
    wait_stop_requested as wait_stop_requested,
)
from ._calls._supervisor import (
    Supervisor as Supervisor,
    current_supervisor as current_supervisor,
    open_supervisor as open_supervisor,
    supervise as supervise,
)
from ._core._errors import (
    DuplicateNameError as DuplicateNameError,
    FatalDeathError as FatalDeathError,
    GaveUpError as GaveUpError,
    GroupFailedError as GroupFailedError,
    HeartbeatError as HeartbeatError,
    InvalidNameError as InvalidNameError,
    NotSupervisedError as NotSupervisedError,
    PoolFullError as PoolFullError,
    RestartLimitExceeded as RestartLimitExceeded,
    RestartRequested as RestartRequested,
    RunError as RunError,
    SignalError as SignalError,
    StaleRunnableError as StaleRunnableError,
    StartTimeoutError as StartTimeoutError,
    StopTimeoutError as StopTimeoutError,
    SupervisorError as SupervisorError,
    UnclosedScopeError as UnclosedScopeError,
    UnexpectedReturnError as UnexpectedReturnError,
    UnknownNameError as UnknownNameError,
)
from ._core._records import Crash as Crash
from ._core._restart import (
    Backoff as Backoff,
    RestartLimit as RestartLimit,
    RestartPolicy as RestartPolicy,
)
from ._core._states import GroupState as GroupState, NodeState as NodeState, Signal as Signal
from ._observing._metrics import (
    InMemoryMetrics as InMemoryMetrics,
    Metrics as Metrics,
    NodeStatus as NodeStatus,
)
from ._observing._raw_logger import RawLogger as RawLogger
from ._observing._snapshot import (
    GroupSnapshot as GroupSnapshot,
    NodeSnapshot as NodeSnapshot,
    Snapshot as Snapshot,
)
from ._process._main import main as main

# Where supervisord is installed in a directory further down the path, its modules
# (``supervisor.supervisord`` and the rest) stay importable for its own commands.
__path__ = pkgutil.extend_path(__path__, __name__)

__all__ = (
    "Backoff",
    "Crash",
    "DuplicateNameError",
    "FatalDeathError",
    "GaveUpError",
    "GroupFailedError",
    "GroupSnapshot",
    "GroupState",
    "Handle",
    "HeartbeatError",
    "InMemoryMetrics",
    "InvalidNameError",
    "Metrics",
    "NodeSnapshot",
    "NodeState",
    "NodeStatus",
    "NotSupervisedError",
    "Pool",
    "PoolFullError",
    "PoolStatistics",
    "RawLogger",
    "RestartLimit",
    "RestartLimitExceeded",
    "RestartPolicy",
    "RestartRequested",
    "RunError",
    "Signal",
    "SignalError",
    "Snapshot",
    "StaleRunnableError",
    "StartTimeoutError",
    "StopTimeoutError",
    "Supervisor",
    "SupervisorError",
    "UnclosedScopeError",
    "UnexpectedReturnError",
    "UnknownNameError",
    "beat",
    "current_dn",
    "current_supervisor",
    "logger",
    "main",
    "open_supervisor",
    "raw_logger",
    "run",
    "run_group",
    "run_pool",
    "set_ready",
    "signal",
    "stop_scope",
    "sub_logger",
    "supervise",
    "wait_stop_requested",
)
