"""Results as text: a table for the terminal, and tables for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .goals import MB, MS, US

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .results import Line

SCALES: Final = {"x": 1.0, "B": 1.0, "MB": MB, "µs": US, "ms": MS}
HEADS: Final = ("measure", "figure", "spread", "must", "aim", "")


def show(amount: float | None, unit: str) -> str:
    """Write an amount with three digits, in its unit."""
    if amount is None:
        return ""
    return f"{digits(amount / SCALES[unit])} {unit}"


def digits(number: float) -> str:
    """Write a number with three digits."""
    if abs(number) >= 100:
        return f"{number:,.0f}".replace(",", " ")
    if abs(number) >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}" if abs(number) >= 0.1 else f"{number:.3f}"


def cells(line: Line) -> tuple[str, ...]:
    """Write the columns of one line."""
    scale = SCALES[line.unit]
    return (
        line.measure,
        show(line.spread.median, line.unit),
        f"{digits(line.spread.low / scale)} … {digits(line.spread.high / scale)}",
        show(line.must, line.unit),
        show(line.aim, line.unit),
        "" if line.verdict is None else line.verdict.value,
    )


def text(lines: Sequence[Line]) -> Iterator[str]:
    """Write a table for the terminal."""
    yield from columns([HEADS, *map(cells, lines)])


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Align rows: text in the first and the last column, figures in between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = row[:-1]
        figures = "  ".join(
            cell.rjust(width) for cell, width in zip(others, widths[1:-1], strict=True)
        )
        yield f"{first.ljust(widths[0])}  {figures}  {row[-1]}".rstrip()


def markdown(lines: Iterable[Line]) -> Iterator[str]:
    """Write a table for the page, without the columns that are empty in all lines."""
    rows = [cells(line) for line in lines]
    columns = [index for index in range(len(HEADS)) if any(row[index] for row in rows)]
    yield "| " + " | ".join(HEADS[index] for index in columns) + " |"
    yield "|" + "|".join("---" if index in {0, 5} else "--:" for index in columns) + "|"
    for row in rows:
        yield "| " + " | ".join(row[index] for index in columns) + " |"
