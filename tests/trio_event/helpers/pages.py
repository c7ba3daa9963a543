"""The programs that the pages in ``docs`` show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[3] / "docs"


def text_of(page: str) -> str:
    """Return the first program of a page."""
    found = re.search(
        r"^```python\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found[1]


def program_of(page: str) -> dict[str, Any]:
    """Run the first program of a page, and return its names."""
    names: dict[str, Any] = {"__name__": page}
    exec(compile(text_of(page), page, "exec"), names)  # noqa: S102  it is our own
    return names
