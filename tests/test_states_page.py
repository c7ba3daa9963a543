"""docs/states.md shows the tables that decide, and nothing else."""

from __future__ import annotations

import enum
import runpy
from pathlib import Path

import pytest

from supervisor import GroupState, NodeState
from supervisor._core._states import GROUP_TABLE, NODE_TABLE, GroupPhase, NodePhase

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "states.md"
# It lies beside the page and in no package.
TOOL = runpy.run_path(str(DOCS / "draw_states.py"))


def test_the_page_shows_the_tables() -> None:
    """S3: what is drawn on the page is drawn from the tables as they are."""
    content = PAGE.read_text("utf-8")
    drawn = TOOL["page"](content, NODE_TABLE, GROUP_TABLE)
    assert content == drawn, "run: python docs/draw_states.py"


def test_each_phase_and_state_is_on_the_page() -> None:
    """S3: each phase has a row in its table, and each state is shown by a phase."""
    assert list(NODE_TABLE) == list(NodePhase)
    assert list(GROUP_TABLE) == list(GroupPhase)
    assert {phase.shown for phase in NodePhase} == set(NodeState)
    assert {phase.shown for phase in GroupPhase} == set(GroupState)


class Phase(enum.Enum):
    """Two phases, of which users see the second under the name of the first."""

    OPEN = "OPEN"
    WAITING = "WAITING"

    @property
    def shown(self) -> Phase:
        return Phase.OPEN


class Event(enum.Enum):
    ASKED = "somebody asks"
    ANSWERED = "it has answered"
    CLOSED = "it is closed"


class Action(enum.Enum):
    WORK = "find the answer"


TABLE = {
    Phase.OPEN: {
        Event.ASKED: (Phase.WAITING, Action.WORK),
        Event.CLOSED: (Phase.OPEN, None),
    },
    Phase.WAITING: {
        Event.ANSWERED: (Phase.OPEN, None),
        Event.ASKED: (Phase.WAITING, Action.WORK),
    },
}


def test_a_table_is_drawn() -> None:
    """An arrow joins all events that do the same; what changes nothing is left out."""
    assert list(TOOL["draw"](TOOL["read"](TABLE))) == [
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> OPEN",
        "    OPEN --> WAITING: ASKED / WORK",
        "    WAITING --> OPEN: ANSWERED",
        "    WAITING --> WAITING: ASKED / WORK",
        "```",
    ]
    both = {Phase.OPEN: dict.fromkeys(Event, Phase.WAITING), Phase.WAITING: {}}
    assert list(TOOL["draw"](TOOL["read"](both)))[3:-1] == [
        "    OPEN --> WAITING: ASKED, ANSWERED, CLOSED",
        "    WAITING --> [*]",
    ]


def test_a_table_is_tabulated() -> None:
    """Events have lines in the order of their enumeration; what is not legal is empty."""
    assert list(TOOL["tabulate"](TOOL["read"](TABLE))) == [
        "| event | OPEN | WAITING |",
        "|---|---|---|",
        "| ASKED | WAITING, WORK | WAITING, WORK |",
        "| ANSWERED |  | OPEN |",
        "| CLOSED | OPEN |  |",
    ]


def test_symbols_are_explained() -> None:
    """Events and actions say what they are, and phases how they are shown."""
    assert list(TOOL["explain"](TOOL["read"](TABLE))) == [
        "- `ASKED`: somebody asks",
        "- `ANSWERED`: it has answered",
        "- `CLOSED`: it is closed",
        "- `WORK`: find the answer",
        "- `WAITING` is shown as `OPEN`",
    ]


def test_a_page_is_filled() -> None:
    """What is between the two lines is replaced, and what is around them stays."""
    before = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n"
    after = "a\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\nb\n"
    assert TOOL["fill"](before, {"x": ["new"]}) == after
    assert TOOL["fill"](after, {"x": ["new"]}) == after
    with pytest.raises(ValueError, match=r"no <!-- begin y --> … <!-- end y -->"):
        TOOL["fill"](before, {"y": ["new"]})
