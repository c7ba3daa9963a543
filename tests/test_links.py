"""Each link between the pages of the repository leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_LINK = re.compile(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)")


def anchors(page: str) -> set[str]:
    """Return what a link can lead to: explicit anchors, and headings as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    named = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([\w-]+)"></a>', page))


def broken_links(path: Path) -> Iterator[str]:
    """Find the links of a page that lead nowhere."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in _LINK.findall(text):
        file = path.parent / target if target else path
        if not file.exists():
            yield f"{path.name} links to {target}, which is not there"
        elif anchor and anchor not in anchors(file.read_text("utf-8")):
            yield f"{path.name} links to {target}#{anchor}: there is no such heading or anchor"


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_each_link_leads_somewhere(path: Path) -> None:
    """The file is there, and the heading or the anchor in it."""
    found = list(broken_links(path))
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_a_broken_link_is_told(tmp_path: Path) -> None:
    """Links to other sites, and what looks like a link in a program, do not count."""
    page = tmp_path / "page.md"
    page.write_text(
        '# One `two`, three\n<a id="x"></a>\n'
        "[a](#one-two-three) [b](#x) [c](page.md#x) [d](https://example.org/#y) [e](page.md)\n"
        "[f](#y) [g](never.md) [h](page.md#y)\n```python\nchannel[str](0)\n```\n"
    )
    assert list(broken_links(page)) == [
        "page.md links to #y: there is no such heading or anchor",
        "page.md links to never.md, which is not there",
        "page.md links to page.md#y: there is no such heading or anchor",
    ]
