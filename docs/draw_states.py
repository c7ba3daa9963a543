"""Draw the states in ``docs/states.md`` from the tables that decide.

Run ``python docs/draw_states.py`` where the package is installed.

The page is written by hand, but for what stands between ``<!-- begin NAME -->`` and
``<!-- end NAME -->``. ``tests/test_states_page.py`` compares these parts with the tables.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PAGE: Final = Path(__file__).parent / "states.md"

NodePhaseT = TypeVar("NodePhaseT", bound=enum.Enum)
NodeEventT = TypeVar("NodeEventT", bound=enum.Enum)
GroupPhaseT = TypeVar("GroupPhaseT", bound=enum.Enum)
GroupEventT = TypeVar("GroupEventT", bound=enum.Enum)

Result = enum.Enum | tuple[enum.Enum, enum.Enum | None]
"""What a table has for an event: the next phase, and in some what is to be done."""


class Arrow(NamedTuple):
    """What an event does to a phase."""

    event: enum.Enum
    phase: enum.Enum
    action: enum.Enum | None

    def __str__(self) -> str:
        """Show what follows."""
        return self.phase.name if self.action is None else f"{self.phase.name}, {self.action.name}"


Table = dict[enum.Enum, list[Arrow]]


def read(table: Mapping[NodePhaseT, Mapping[NodeEventT, Result]]) -> Table:
    """Read a table of phases, or of phases with actions."""
    arrows: Table = {}
    for phase, row in table.items():
        arrows[phase] = []
        for event, result in row.items():
            after, action = result if isinstance(result, tuple) else (result, None)
            arrows[phase].append(Arrow(event, after, action))
    return arrows


def draw(table: Table) -> Iterator[str]:
    """Draw a table as a Mermaid diagram, in which events that change nothing are left out."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {next(iter(table)).name}"
    for phase, arrows in table.items():
        events: dict[tuple[enum.Enum, enum.Enum | None], list[str]] = {}
        for event, after, action in arrows:
            if after is not phase or action is not None:
                events.setdefault((after, action), []).append(event.name)
        for (after, action), names in events.items():
            label = ", ".join(names) if action is None else f"{', '.join(names)} / {action.name}"
            yield f"    {phase.name} --> {after.name}: {label}"
        if not events:
            yield f"    {phase.name} --> [*]"
    yield "```"


def tabulate(table: Table) -> Iterator[str]:
    """Write a table with a line for each event, in which what is not legal is left out."""
    yield f"| event | {' | '.join(phase.name for phase in table)} |"
    yield f"|---{'|---' * len(table)}|"
    events = {arrow.event: None for arrows in table.values() for arrow in arrows}
    for event in sorted(events, key=list(type(next(iter(events)))).index):
        cells = (
            next((str(arrow) for arrow in arrows if arrow.event is event), "")
            for arrows in table.values()
        )
        yield f"| {event.name} | {' | '.join(cells)} |"


def explain(table: Table) -> Iterator[str]:
    """Say what each event and action means, and as which state a phase is shown."""
    arrows = [arrow for row in table.values() for arrow in row]
    kinds = {type(arrow.event) for arrow in arrows}
    kinds |= {type(arrow.action) for arrow in arrows if arrow.action is not None}
    for kind in sorted(
        kinds, key=lambda kind: kind.__name__, reverse=True
    ):  # events before actions
        yield from (f"- `{symbol.name}`: {symbol.value}" for symbol in kind)
    for phase in table:
        shown = phase.shown  # type: ignore[attr-defined]  # each enumeration of phases has it
        if shown.name != phase.name:
            yield f"- `{phase.name}` is shown as `{shown.name}`"


def fill(content: str, parts: Mapping[str, Iterable[str]]) -> str:
    """Put the parts into the text of a page.

    Raises:
        ValueError: if the page has no place for one of them.
    """
    for name, lines in parts.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, found, rest = content.partition(begin)
        _, found_too, after = rest.partition(end)
        if not (found and found_too):
            msg = f"the page has no {begin} … {end}: write the two lines where {name} is to be"
            raise ValueError(msg)
        content = "\n".join([before + begin, "", *lines, "", end + after])
    return content


def page(
    content: str,
    nodes: Mapping[NodePhaseT, Mapping[NodeEventT, Result]],
    groups: Mapping[GroupPhaseT, Mapping[GroupEventT, Result]],
) -> str:
    """Return the text of the page with what is drawn from the two tables."""
    parts: dict[str, Iterator[str]] = {}
    for name, table in (("nodes", read(nodes)), ("groups", read(groups))):
        parts |= {
            f"diagram of {name}": draw(table),
            f"table of {name}": tabulate(table),
            f"symbols of {name}": explain(table),
        }
    return fill(content, parts)


def main() -> None:
    """Write the page."""
    from supervisor._core._states import (  # noqa: PLC0415  the tests draw other tables, too
        GROUP_TABLE,
        NODE_TABLE,
    )

    PAGE.write_text(page(PAGE.read_text("utf-8"), NODE_TABLE, GROUP_TABLE), "utf-8")


if __name__ == "__main__":
    main()
