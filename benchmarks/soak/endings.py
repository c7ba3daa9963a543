"""Processes that are told to end at any time: exit status and output are as ``main`` documents.

Each attempt is a fork of this process that runs ``supervisor.main`` to its real end, the
interpreter's own end included.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import random
import re
import select
import signal as signals
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

import supervisor
from supervisor import Signal

from .life import Ending, Life
from .sweep import Steps, offsets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from .sweep import Points

SIGTERM, SIGINT, SIGHUP = signals.SIGTERM, signals.SIGINT, signals.SIGHUP

HANGS: Final = 60.0
"""What has not ended after so many seconds never will."""

PACKAGE: Final = str(Path(supervisor.__file__).parent / "_process")


@attrs.frozen
class Ended:
    """How a process ended."""

    status: int
    """Negative if a signal killed it."""
    log: str
    told: int
    """How many times it has told its parent something."""
    seconds: float

    def messages(self) -> list[str]:
        """Return the first line of each record that is about the process, and of what is none."""
        found = []
        for line in self.log.splitlines():
            try:
                record: dict[str, str] = json.loads(line)
            except ValueError:
                found.append(f"not a record: {line}")
            else:
                first = record["message"].partition("\n")[0]
                # Sidecars are nodes, too.
                of_node = record["logger"].startswith("supervisor.node.")
                if not (of_node or _OF_TREE.match(first)):
                    found.append(first)
        return found


def live(run: Callable[[Callable[[], object]], object], disturb: Callable[[int], object]) -> Ended:
    """Fork, and return how the child ended that calls ``run``, which never returns.

    Args:
        run: Gets a function that tells the parent that it is time.
        disturb: Called with the child's number when it has told so for the first time.
    """
    with tempfile.TemporaryFile() as log:
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            os.close(told)
            os.dup2(log.fileno(), 2)
            # What is ignored stays so, as SIGINT in the background of a shell.
            for each in (SIGTERM, SIGINT, SIGHUP):
                signals.signal(each, signals.SIG_DFL)
            run(lambda: os.write(tell, b"."))
            raise AssertionError("unreachable")
        os.close(tell)
        try:
            began = time.monotonic()
            text = os.read(told, 1)
            if text:
                disturb(child)
            # The end of the file is the end of the child.
            while select.select([told], [], [], HANGS)[0]:
                more = os.read(told, 100)
                if not more:
                    break
                text += more
            else:
                os.kill(child, signals.SIGKILL)
            seconds = time.monotonic() - began
        finally:
            os.close(told)
        _, status = os.waitpid(child, 0)
        log.seek(0)
        return Ended(
            os.waitstatus_to_exitcode(status),
            log.read().decode("utf-8", "replace"),
            len(text),
            seconds,
        )


def wait(seconds: float) -> None:
    """Wait for a time that is shorter than what the system can sleep."""
    due = time.perf_counter() + seconds
    while time.perf_counter() < due:
        pass


# What is documented

# What is told of the life of the tree.
_OF_TREE: Final = re.compile(
    "the tree (?:is ready,|has (?:finished|stopped|given up|ended by)|was cancelled)"
)

_SIGNAL: Final = "(?:SIGTERM|SIGINT|SIGHUP)"
_STOPPING: Final = f"{_SIGNAL}: stopping, within 30 s\n"
_AGAIN: Final = f"{_SIGNAL} again: stopping at once\n"
_SIDECARS: Final = f"(?:{_SIGNAL} again: the sidecars stop at once\n)?"
_GAVE_UP: Final = "root gave up: .*\n"

# Of each ending and number of signals that count, what is logged of the process, and its status.
_DOCUMENTED: Final = {
    (Ending.FINISH, 1): {f"(?:{_STOPPING})?": 0},
    (Ending.STOP, 1): {_STOPPING: 0},
    (Ending.GIVE_UP, 1): {_STOPPING: 0, f"(?:{_STOPPING})?{_GAVE_UP}": 1},
}
for _ending in Ending:
    _DOCUMENTED[_ending, 2] = {**_DOCUMENTED[_ending, 1], _STOPPING + _AGAIN: 3}
_DOCUMENTED[Ending.GIVE_UP, 2][_STOPPING + _AGAIN + _GAVE_UP] = 1


def fault_of(ended: Ended, ending: Ending, *, signals: int = 1, beside: bool = False) -> str | None:
    """Say what is not as documented, if anything is, for so many signals that count."""
    text = "".join(f"{message}\n" for message in ended.messages())
    end = _SIDECARS if beside and signals > 1 else ""
    for pattern, status in _DOCUMENTED[ending, signals].items():
        if re.fullmatch(pattern + end, text) and ended.status == status:
            return None
    return f"it ended with status {ended.status}:\n{ended.log}"


# What is run


def life(
    ending: Ending, unit: float, *, beside: bool = False
) -> Callable[[Callable[[], object]], object]:
    """Return a function that runs a life as the process's, and tells when its root runs."""

    def run(tell: Callable[[], object]) -> object:
        one = Life(ending, unit)
        root = one.root

        async def telling() -> None:
            tell()
            await root()

        one.root = telling  # type: ignore[method-assign]  # it is this life's only
        return one.main(beside=beside)

    return run


async def serve(tell: Callable[[], object], clean_up: float) -> None:
    """Serve until it is stopped, and clean up for some time."""
    supervisor.signal(Signal.HEALTHY)
    tell()
    try:
        await supervisor.wait_stop_requested()
    finally:
        with trio.CancelScope(shield=True):  # bounded by the time that it takes
            await trio.sleep(clean_up)


def service(clean_up: float) -> Callable[[Callable[[], object]], object]:
    """Return a function that runs a service as the process's, and tells when it serves."""
    return lambda tell: supervisor.main(serve, tell, clean_up, grace=10.0)


# The cases


def at_the_end(attempts: int) -> Iterator[str]:
    """Send a SIGTERM at a random time around the end of a tree."""
    for ending, beside in itertools.product((Ending.FINISH, Ending.GIVE_UP), (False, True)):
        run = life(ending, 0.001, beside=beside)
        whole = min(live(run, lambda _: None).seconds for _ in range(3))
        for _ in range(attempts // 4):
            seconds = random.uniform(0, random.choice((0.25, 1.0)) * whole)

            def disturb(child: int, seconds: float = seconds) -> None:
                wait(seconds)
                os.kill(child, SIGTERM)

            fault = fault_of(live(run, disturb), ending)
            if fault is not None:
                yield f"{_named(ending, beside)}, SIGTERM after {seconds * 1e6:.0f} µs: {fault}"


def doubled(attempts: int) -> Iterator[str]:
    """Send the first signal twice, up to 50 ms apart."""
    for _ in range(attempts):
        seconds = random.uniform(0, 0.05)
        pair = random.choices((SIGTERM, SIGINT, SIGHUP), k=2)
        took = 0.0

        def disturb(
            child: int, seconds: float = seconds, pair: list[signals.Signals] = pair
        ) -> None:
            nonlocal took
            began = time.perf_counter()
            os.kill(child, pair[0])
            wait(seconds)
            os.kill(child, pair[1])
            took = time.perf_counter() - began

        ended = live(service(0.1), disturb)
        # On a busy machine they may have been further apart.
        fault = fault_of(ended, Ending.STOP, signals=2 if took > 0.1 else 1)
        if fault is not None:
            names = " and ".join(signals.Signals(each).name for each in pair)
            yield f"{names}, {seconds * 1e3:.1f} ms apart: {fault}"


def storms(attempts: int) -> Iterator[str]:
    """Send many SIGINTs."""
    for _ in range(attempts):
        times = random.randint(2, 30)
        pause = random.choice((0.0, 0.001, 0.02))
        ending = random.choice(list(Ending))
        beside = ending is not Ending.STOP and random.random() < 0.5
        run = service(random.choice((0.0, 0.3)))
        if ending is not Ending.STOP:
            run = life(ending, 0.002, beside=beside)

        def disturb(child: int, times: int = times, pause: float = pause) -> None:
            for _ in range(times):
                os.kill(child, SIGINT)
                wait(random.uniform(0, pause))

        fault = fault_of(live(run, disturb), ending, signals=2, beside=beside)
        if fault is not None:
            what = f"{times} SIGINTs with pauses up to {pause * 1e3:g} ms"
            yield f"{_named(ending, beside)}, {what}: {fault}"


@final
class Trace:
    """Calls a function at a point in the modules of the process, in its main thread."""

    def __init__(
        self, number: int, act: Callable[[], object], each: Callable[[], object] | None
    ) -> None:
        self._left = number
        self._act = act
        self._each = each

    def __call__(self, frame: FrameType, event: str, _: object) -> Trace | None:
        """Trace a frame."""
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if (
            event in ("call", "opcode")
            and frame.f_lasti in offsets_of(frame.f_code)
            and signals.getsignal(SIGHUP) is not signals.SIG_DFL  # it was set last
        ):
            self._left -= 1
            if self._each is not None:
                self._each()
            if not self._left:
                self._act()
        return self


def swept(points: Points) -> Iterator[str]:
    """Send signals at each step of a task, and at each point of main() and its modules."""
    for ending, beside in itertools.product((Ending.FINISH, Ending.GIVE_UP), (False, True)):
        for disturbed, what in ((with_steps, "step"), (with_trace, "point")):
            one = partial(disturbed, ending, beside)
            whole = live(partial(one, 0, ()), lambda _: None).told
            for number in points(whole):
                sent = random.choice(((SIGTERM,), (SIGINT,), (SIGHUP, SIGTERM)))
                ended = live(partial(one, number, sent), lambda _: None)
                # On a busy machine they may be apart.
                fault = fault_of(ended, ending, signals=len(sent), beside=beside)
                if fault is not None:
                    names = " and ".join(each.name for each in sent)
                    where = f"{names} at {what} {number} of {whole}"
                    yield f"{_named(ending, beside)}, {where}: {fault}"


def _named(ending: Ending, beside: bool) -> str:  # noqa: FBT001  it is all that tells them apart
    return f"{ending.name} with sidecars" if beside else ending.name


def with_steps(
    ending: Ending,
    beside: bool,  # noqa: FBT001  they are bound by place
    number: int,
    sent: tuple[signals.Signals, ...],
    tell: Callable[[], object],
) -> object:
    """Live a life with signals at a step of its tasks; tell of each step if there are none."""
    steps = Steps(number, partial(send, sent), tell if not sent else None)
    trio.run = partial(trio.run, instruments=[steps])  # type: ignore[assignment]  # in this child
    return Life(ending, 0.001).main(beside=beside)


def with_trace(
    ending: Ending,
    beside: bool,  # noqa: FBT001  they are bound by place
    number: int,
    sent: tuple[signals.Signals, ...],
    tell: Callable[[], object],
) -> object:
    """Live a life with signals at a point of main(); tell of each point if there are none."""
    atexit.register(sys.settrace, None)  # after what main() does at the exit
    sys.settrace(Trace(number, partial(send, sent), tell if not sent else None))
    return Life(ending, 0.001).main(beside=beside)


def send(sent: tuple[signals.Signals, ...]) -> None:
    """Send signals to this process."""
    for each in sent:
        os.kill(os.getpid(), each)
