"""The journeys in ARCHITECTURE.md are those that events take through the modules.

Each journey runs once under a profile function, which records the functions of the packages in the
order in which they are first entered. The page names, for each hop, a module and some of its
functions.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import supervisor
from supervisor import Backoff, Pool, Signal
from trio_event import MemoryValue, pipe

if TYPE_CHECKING:
    from types import FrameType

PAGE = Path(__file__).parents[1] / "ARCHITECTURE.md"
# Their modules count as one: the model, and what makes text of exceptions. Every hop may call them.
FOLDERS = {"_core", "_text"}


class Hop(NamedTuple):
    """One module of a journey, and the functions of it that the page names."""

    module: str
    functions: list[str]


class Trace:
    """Records which functions of a package are entered, each once."""

    def __init__(self, package: str) -> None:
        self._prefix = f"{package}."
        self._entered: dict[str, str] = {}

    def start(self) -> None:
        """Begin to record, in the calling thread."""
        sys.setprofile(self._note)

    def stop(self) -> None:
        """Record no more."""
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        # What attrs has generated is in no file.
        if event == "call" and module.startswith(self._prefix) and "<" not in code.co_filename:
            module = module.removeprefix(self._prefix)
            if module.startswith("adapters."):
                return  # tcp(), once it was used, looks at each record that is logged
            name = code.co_qualname.replace(".<locals>", "")
            self._entered.setdefault(f"{module}.{name}", part(module))

    @property
    def functions(self) -> set[str]:
        """The dotted names of all functions that were entered."""
        return set(self._entered)

    @property
    def modules(self) -> list[str]:
        """The modules in the order in which they were first entered."""
        return list(dict.fromkeys(self._entered.values()))


def part(module: str) -> str:
    """Return the module as journeys count it."""
    folder = module.split(".", maxsplit=1)[0]
    return folder if folder in FOLDERS else module


def read(title: str) -> list[Hop]:
    """Read the hops of a journey from the page."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n### {title}\n")
    section = re.split(r"\n#+ ", rest)[0]
    hops = []
    for item in re.split(r"\n(?=\d+\. )", section)[1:]:
        names = re.findall(r"`(_?\w+(?:\.\w+)+)`", item.split("\n\n")[0])
        modules = list(dict.fromkeys(module_of(name) for name in names))
        assert len(modules) == 1, f"{title!r} names several modules in one hop: {names}"
        hops.append(Hop(modules[0], names))
    assert hops, f"{PAGE.name} has no journey {title!r}"
    return hops


def module_of(name: str) -> str:
    """Return the module of a function's dotted name: all parts up to the one in lower case."""
    parts = name.split(".")
    module = [parts[0]]
    for each in parts[1:-1]:
        if each[0] != "_" or not each.islower():
            break
        module.append(each)
    return part(".".join(module))


def compare(title: str, trace: Trace, *, most: int) -> None:
    """Check a journey of the page against a trace."""
    hops = read(title)
    told = [hop.module for hop in hops]
    assert set(told) == set(trace.modules)
    assert [each for each in told if each not in FOLDERS] == [
        each for each in trace.modules if each not in FOLDERS
    ]
    assert len(set(told)) == len(told) <= most
    missing = [name for hop in hops for name in hop.functions if name not in trace.functions]
    assert missing == []


Journey = Callable[[Trace], Awaitable[None]]


async def stay() -> None:
    """Run until cancelled."""
    await trio.sleep_forever()


async def signalling(trace: Trace) -> None:
    """Trace a signal."""
    go = trio.Event()

    async def child() -> None:
        await go.wait()
        trace.start()
        supervisor.signal(Signal.HEALTHY)
        trace.stop()
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.run("child", child)
        supervisor.signal(Signal.HEALTHY)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root):
        await wait_all_tasks_blocked()
        go.set()
        await wait_all_tasks_blocked()


async def dying(trace: Trace) -> None:
    """Trace a death, until the members of the group run again."""
    go = trio.Event()

    async def mortal() -> None:
        if not go.is_set():
            await go.wait()
            trace.start()
            raise OSError
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.run_group({"mortal": mortal, "other": stay})
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root, backoff=Backoff(initial=0.0)):
        await wait_all_tasks_blocked()
        go.set()
        await wait_all_tasks_blocked()
        trace.stop()


async def stopping(trace: Trace) -> None:
    """Trace the stop of a tree of two nodes."""

    async def root() -> None:
        supervisor.run("child", stay)
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root) as tree:
        await wait_all_tasks_blocked()
        trace.start()
        await tree.stop(timeout=5.0)
        trace.stop()


async def vanishing(trace: Trace) -> None:
    """Trace the end of a pool's child."""
    go = trio.Event()
    pools: list[Pool] = []

    async def job() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.signal(Signal.DONE)
        await go.wait()
        trace.start()

    async def root() -> None:
        pools.append(supervisor.run_pool("jobs"))
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root):
        await wait_all_tasks_blocked()
        pools[0].run("job", job)
        await wait_all_tasks_blocked()
        go.set()
        await wait_all_tasks_blocked()
        trace.stop()
        assert len(pools[0]) == 0


async def setting(trace: Trace) -> None:
    """Trace a set, and the get that waits for it."""
    value: MemoryValue[int] = MemoryValue(1)

    async def get() -> None:
        watcher = value.watch()
        assert await watcher.get() == 1
        assert await watcher.get() == 2
        trace.stop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get)
        await wait_all_tasks_blocked()
        trace.start()
        value.set(2)


async def deriving(trace: Trace) -> None:
    """Trace how a derived value is made, watched and got."""
    value: MemoryValue[int] = MemoryValue(1)
    assert await value.watch().get() == 1  # from now on it belongs to this run
    trace.start()
    watcher = value.map(str).distinct().watch()
    assert await watcher.get() == "1"
    trace.stop()


async def piping(trace: Trace) -> None:
    """Trace a set, and the pipe that sends it to a consumer that waits."""
    value: MemoryValue[int] = MemoryValue(1)
    send, receive = trio.open_memory_channel[int](0)

    async def consume() -> None:
        supervisor.signal(Signal.HEALTHY)
        assert await receive.receive() == 1
        assert await receive.receive() == 2
        trace.stop()
        await trio.sleep_forever()

    async def root() -> None:
        supervisor.run_group({"pipe": pipe(value, send), "consumer": consume})
        await trio.sleep_forever()

    async with supervisor.open_supervisor(root):
        await wait_all_tasks_blocked()
        trace.start()
        value.set(2)
        await wait_all_tasks_blocked()


JOURNEYS: list[tuple[str, str, Journey, int]] = [
    ("supervisor", "A runnable signals that it is healthy", signalling, 4),
    ("supervisor", "A runnable dies, and its group restarts", dying, 8),
    ("supervisor", "A tree is stopped", stopping, 7),
    ("supervisor", "A pool's child is done", vanishing, 5),
    ("trio_event", "A value is set while a task waits in get", setting, 4),
    ("trio_event", "A derived value is made and got", deriving, 5),
    ("trio_event", "A value is set, and a pipe sends it", piping, 4),
]


@pytest.fixture
def trace_of() -> Iterator[Callable[[str], Trace]]:
    """Make traces, and leave no profile function behind."""
    yield Trace
    sys.setprofile(None)


@pytest.mark.parametrize(
    ("package", "title", "journey", "most"), JOURNEYS, ids=[title for _, title, *_ in JOURNEYS]
)
def test_a_journey_is_as_the_page_tells(
    package: str, title: str, journey: Journey, most: int, trace_of: Callable[[str], Trace]
) -> None:
    """S16: the modules are entered in the order of the page, each once, and are no more."""
    trace = trace_of(package)
    trio.run(journey, trace, clock=MockClock(autojump_threshold=0.0))
    compare(title, trace, most=most)


def test_every_journey_of_the_page_is_traced() -> None:
    """No journey is told that is not checked."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("\n## Journeys\n")
    told = re.findall(r"^### (.*)$", rest.split("\n## ")[0], flags=re.MULTILINE)
    assert told == [title for _, title, *_ in JOURNEYS]


def test_a_journey_that_is_told_wrongly_is_found(trace_of: Callable[[str], Trace]) -> None:
    """A trace of one journey does not pass for another."""
    trace = trace_of("supervisor")
    trio.run(signalling, trace, clock=MockClock(autojump_threshold=0.0))
    with pytest.raises(AssertionError):
        compare("A tree is stopped", trace, most=7)
