"""The program in the terminal, as it is drawn, and as a user drives it."""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
from typing import TYPE_CHECKING

from textual.events import Callback, Key
from textual.widgets import Input

from supervisor.client._watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from textual.message import Message

_TEXT = re.compile(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)" textLength="[\d.]+"[^>]*>(.*?)</text>')
_NODE = re.compile(r"^[│├└▼▶ ]*(\w+) +([A-Z]+)  +\d", re.MULTILINE)

GUARD = 100.0
"""A test that waits longer has failed."""

CELL, LINE = 12.2, 24.4
"""How wide a character is in a picture of the screen, and how high a line."""


def screen_of(app: Watch) -> list[str]:
    """Return the lines on the screen."""
    lines = [""] * app.size.height
    for x, y, text in _TEXT.findall(app.export_screenshot()):
        start, number = round(float(x) / CELL), int(float(y) / LINE)
        lines[number] = lines[number].ljust(start) + html.unescape(text).replace("\xa0", " ")
    return [line.rstrip() for line in lines]


class Screen:
    """A running program, and what a test does with it."""

    def __init__(self, app: Watch, changed: asyncio.Event) -> None:
        self.app = app
        self._changed = changed

    @property
    def nodes(self) -> dict[str, str]:
        """The states of the nodes that are drawn, by the last parts of their DNs."""
        return dict(_NODE.findall(self.text))

    @property
    def lines(self) -> list[str]:
        return screen_of(self.app)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other; what they lead to is waited for afterwards."""
        for key in keys:
            character = "/" if key == "slash" else key if len(key) == 1 else None
            self.app.post_message(Key(key, character))

    async def choose(self, text: str) -> None:
        """Type which nodes are to be drawn, and go back to them."""
        self.press("slash")
        await self.until(lambda: isinstance(self.app.focused, Input))
        self.press(*text, "enter")
        await self.until(lambda: self.app.focused is self.app.nodes)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; it is asked again after each message of the program."""
        try:
            async with asyncio.timeout(GUARD):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(self.text) from None

    async def until_shown(self, *texts: str) -> None:
        """Wait until all of some texts are on the screen, wherever their lines end."""
        wanted = [" ".join(text.split()) for text in texts]

        def are_shown() -> bool:
            shown = " ".join(self.text.split())
            return all(text in shown for text in wanted)

        await self.until(are_shown)


@contextlib.asynccontextmanager
async def open_screen(path: Path, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Screen]:
    """Run the program on a screen that is nowhere."""
    changed = asyncio.Event()
    app = Watch(path)

    def note(message: Message) -> None:
        """Look again when what a message leads to has been done."""
        if not isinstance(message, Callback):  # which this itself would lead to
            app.call_later(changed.set)

    async with app.run_test(size=size, message_hook=note):
        yield Screen(app, changed)
