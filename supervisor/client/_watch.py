"""The nodes of a running service in a terminal, as they change (S43).

The program is Textual's, and all that draws is in its loop. Feeds ask the service, each in a
thread of its own (:mod:`._feeds`), and wake the program by a message.

The widget has a node for each node that is drawn. It is brought in line with the picture only when
nodes have come or gone, or the filter has changed. A label is made when its line is drawn, from the
row that the picture has then. So a change of state costs the lines that are on the screen, and so
does each second that passes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar, Final, final

from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Label, RichLog, Static, Tree

from supervisor._text._durations import duration
from supervisor._text._printable import printable

from ._connection import ConnectionFailedError, RefusalError, ServerEvent, Service, page_of
from ._feeds import TREE, Begun, Details, DetailsFeed, Lost, StreamFeed
from ._picture import Picture, drawn
from ._text import LEVELS_INDENTED, acted, entry, facts, is_ready, missed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.style import Style
    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.timer import Timer
    from textual.widgets.tree import TreeNode

    from ._connection import Json
    from ._feeds import Told
    from ._picture import Drawn

ENTRIES: Final = 200
"""So many of the newest log records of a node are shown at first."""

LINES: Final = 1000
"""A log has at most so many lines."""

TICK: Final = 1.0
"""Durations are drawn anew after so many seconds."""

REST: Final = 0.2
"""The node under the cursor is asked for when the cursor has rested so many seconds."""

NAMED: Final = 10
"""So many members of a group are named at most."""

GUIDE: Final = 2
"""A level is indented by so many columns."""

_COLOURS: Final = {"DEAD": "red", "CANCELED": "yellow", "NEW": "cyan"}
"""Of states; each is told in words as well."""


@final
class Woken(Message):
    """A feed has something to take."""


@final
class Question(ModalScreen[bool]):
    """Asks whether something is to be done; only ``y`` means yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape", "answer(False)", "no"),
        Binding("q", "app.quit", "quit"),
    ]
    DEFAULT_CSS = """
    Question { align: center middle; }
    Question Label { padding: 1 2; max-width: 80%; background: $panel; border: round $warning; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Show the text, and the keys."""
        yield Label(printable(self._text), markup=False)
        yield Footer()

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001  Textual calls it
        """Return the answer to what has asked."""
        self.dismiss(answer)


@final
class Nodes(Tree[str]):
    """The nodes of a tree; the data of each is its DN."""

    def __init__(self, picture: Picture) -> None:
        super().__init__("", id="nodes")
        self.guide_depth = GUIDE
        self._picture = picture
        self._by_dn: dict[str, TreeNode[str]] = {}
        self._above: dict[str, str | None] = {}
        self._width = 0

    def bring_in_line(self, wanted: Sequence[Drawn]) -> None:
        """Add the nodes that are to be drawn and are not, and remove the others."""
        above = dict(wanted)
        for dn in list(self._by_dn):
            if dn in self._by_dn and (dn not in above or above[dn] != self._above[dn]):
                self._remove(dn)
        counts: dict[str, int] = {}
        for dn, over in wanted:
            if over is not None:
                place = counts.get(over, 0)
                counts[over] = place + 1
                self._place(dn, self._by_dn[over], place)
            elif dn not in self._by_dn:
                self._by_dn[dn] = self.root.expand()
                self.root.data = dn
            self._above[dn] = over
        for dn, node in self._by_dn.items():
            node.allow_expand = dn in counts
        self._width = max((len(_name(dn)) + GUIDE * _level(dn) for dn in above), default=0)
        self.cursor_line = max(self.cursor_line, 0)

    def _place(self, dn: str, parent: TreeNode[str], place: int) -> None:
        """See that a node is at its place among the children of another."""
        if dn in self._by_dn:
            if parent.children[place] is self._by_dn[dn]:
                return
            self._remove(dn)
        self._by_dn[dn] = parent.add("", dn, before=place, expand=True)

    def _remove(self, top: str) -> None:
        """Remove a node, and what is below it."""
        removed = self._by_dn[top]
        rest = [removed]
        while rest:
            node = rest.pop()
            rest.extend(node.children)
            assert node.data is not None
            del self._by_dn[node.data], self._above[node.data]
        if removed.is_root:
            removed.remove_children()
            removed.data = None
        else:
            removed.remove()

    @property
    def dn(self) -> str | None:
        """The DN under the cursor."""
        # What was under it may have been removed: the lines are as they are now.
        node = self.get_node_at_line(min(max(self.cursor_line, 0), self.last_line))
        return None if node is None else node.data

    def redraw(self) -> None:
        """Draw the lines on the screen anew."""
        self.root.refresh()  # all lines are below it, and none is taken from the cache then
        self.refresh()

    def get_label_width(self, node: TreeNode[str]) -> int:  # noqa: ARG002  all are alike
        """Return the width of a label: none, since lines end where the screen does."""
        return 0

    def render_label(
        self,
        node: TreeNode[str],
        base_style: Style,  # noqa: ARG002  Textual passes it by position
        style: Style,
    ) -> Text:
        """Return what is shown of a node."""
        dn = node.data or ""
        row = self._picture.rows.get(dn)
        if row is None:
            return Text("", style)
        icon = "  "
        if node.allow_expand:
            icon = self.ICON_NODE_EXPANDED if node.is_expanded else self.ICON_NODE
        told = facts(row, self._picture.now)
        state = row["state"]
        label = Text(f"{icon}{_name(dn):{max(0, self._width - GUIDE * _level(dn))}}  {told}", style)
        if node is not self.cursor_node:  # whose line has colours of its own
            start = len(label) - len(told)
            colour = "green" if is_ready(row) else _COLOURS.get(state, "yellow")
            label.stylize(colour, start, start + len(state))
        return label


def _level(dn: str) -> int:
    return min(dn.count("."), LEVELS_INDENTED)


def _name(dn: str) -> str:
    level = dn.count(".")
    name = printable(dn.rpartition(".")[2])
    return name if level <= LEVELS_INDENTED else f"(level {level}) {name}"


@final
class Watch(App[int]):
    """Shows the nodes of a service, and of the one under the cursor its log and where it waits."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { text-style: bold; }
    #connection { color: $text-warning; }
    #filter { border: none; height: 1; }
    #nodes { height: auto; max-height: 50%; overflow-x: hidden; }
    #why, #done { color: $text-accent; }
    #log, #waits { height: 1fr; border-top: solid $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "act('restart')", "restart"),
        Binding("s", "act('stop')", "stop"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "unfilter", "all", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, path: Path) -> None:
        """Show the service that listens at ``path``."""
        super().__init__()
        self._socket_path: Final = path
        self._asked: Final = Service(path)
        self.picture: Final = Picture()
        # What is drawn: nodes that came or went, and the filter.
        self._drawn: tuple[int, str] | None = None
        self._why_lost = ""
        # The node that is shown below, and the members of its group as far as they are known.
        self._chosen: str | None = None
        self._members: list[str] = []
        self._resting: Timer | None = None
        self._tree_feed: StreamFeed | None = None
        self._log_feed: StreamFeed | None = None
        self._details_feed: DetailsFeed | None = None

        self._summary_line = _line("summary")
        self._connection_line = _line("connection")
        self._filter_input = Input(
            placeholder="a part of a DN or state, or: not ready", id="filter"
        )
        self.nodes = Nodes(self.picture)
        self._more_line = _line("more")
        self._why_line = _line("why")
        self._done_line = _line("done")
        self._log_lines = RichLog(id="log", wrap=True, max_lines=LINES, min_width=0)
        self._stack_text = Static("", id="stack", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield self._summary_line
        yield self._connection_line
        yield self._filter_input
        yield self.nodes
        yield self._more_line
        yield self._why_line
        yield self._done_line
        yield self._log_lines
        with VerticalScroll(id="waits"):
            yield self._stack_text
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self._filter_input.display = False
        self.nodes.focus()
        self._tree_feed = StreamFeed(self._socket_path, self._wake, TREE)
        self.set_interval(TICK, self._tick)

    def on_unmount(self) -> None:
        """End all threads."""
        self._asked.hang_up()
        for feed in (self._tree_feed, self._log_feed, self._details_feed):
            if feed is not None:
                feed.close()

    # What comes

    def _wake(self) -> None:
        self.post_message(Woken())

    def on_woken(self) -> None:
        """Show what the feeds have been told."""
        if self._tree_feed is not None and (told := self._tree_feed.take()):
            self._hear_tree(told)
        if self._log_feed is not None:
            self._hear_log(self._log_feed.take())
        if self._details_feed is not None:
            self._hear_details(self._details_feed.take())

    def _hear_tree(self, told: Sequence[Told]) -> None:
        for each in told:
            if isinstance(each, Begun):
                self.picture.begin()
            elif isinstance(each, Lost):
                self.picture.lose()
                self._why_lost = each.why
            elif isinstance(each, ServerEvent):
                self.picture.take(each)
        self._show()

    def _hear_log(self, told: Sequence[Told]) -> None:
        for each in told:
            if isinstance(each, ServerEvent):
                is_entry = each.name == "log"
                text = entry(each.data) if is_entry else missed(each.data)
                self._log_lines.write(Text(text, _style_of(each.data) if is_entry else "dim"))
            elif isinstance(each, Lost) and each.is_refused:
                self._log_lines.clear()
                self._log_lines.write(Text(printable(each.why)))

    def _hear_details(self, told: Sequence[Told]) -> None:
        for each in told:
            if isinstance(each, Details):
                self._members = each.node["group"]["members"]
                _say(self._why_line, each.node["why"])
                self._stack_text.update(printable(each.stack or f"nothing of {self._chosen} runs"))
            elif isinstance(each, Lost) and each.is_refused:
                _say(self._why_line, each.why)

    # What is shown

    def _show(self) -> None:
        """Draw the picture."""
        picture, wanted = self.picture, self._filter_input.value
        if wanted or self._drawn != (picture.shape, wanted):
            self._drawn = picture.shape, wanted
            nodes, more = drawn(picture.rows, wanted)
            self.nodes.bring_in_line(nodes)
            _say(
                self._more_line, f"{more} more nodes are not drawn: use the filter" if more else ""
            )
        if picture.name:
            _say(self._summary_line, picture.summary)
        self._tick()
        self._look()

    def _tick(self) -> None:
        """Draw what changes as time passes."""
        self.nodes.redraw()
        picture = self.picture
        if picture.is_live:
            text = "the tree drains" if picture.is_draining else ""
        elif not self._why_lost:
            text = "connecting"
        elif picture.name:
            text = (
                f"the service has ended, or does not answer ({self._why_lost}); this is the last "
                f"picture, {duration(picture.silence)} old; trying again"
            )
        else:
            text = f"{self._why_lost}; trying again"
        _say(self._connection_line, text)

    def on_tree_node_highlighted(self) -> None:
        """Wait until the cursor rests, from now on."""
        if self._resting is not None:
            self._resting.stop()
            self._resting = None
        self._look()

    def _look(self) -> None:
        """Ask for the node under the cursor as soon as that rests, whatever the tree does."""
        if self._chosen is None:
            self._choose()
        elif self._resting is None and self.nodes.dn != self._chosen:
            self._resting = self.set_timer(REST, self._choose)

    def _choose(self) -> None:
        """Show the node under the cursor below."""
        self._resting = None
        dn = self.nodes.dn
        if dn is None or dn == self._chosen:
            return
        for feed in (self._log_feed, self._details_feed):
            if feed is not None:
                feed.close()
        self._chosen, self._members = dn, []
        for line in (self._why_line, self._done_line):
            _say(line, "")
        self._stack_text.update("")
        self._log_lines.clear()
        log = page_of(dn, f"/logs?n={ENTRIES}&follow")
        self._log_feed = StreamFeed(self._socket_path, self._wake, log, kept=LINES)
        self._details_feed = DetailsFeed(self._socket_path, self._wake, dn)

    # What the user does

    def action_filter(self) -> None:
        """Let the user type which nodes are drawn."""
        self._filter_input.display = True
        self._filter_input.focus()

    def action_unfilter(self) -> None:
        """Draw all nodes again."""
        self._filter_input.value = ""
        self._filter_input.display = False
        self.nodes.focus()

    def on_input_changed(self) -> None:
        """Draw what is wanted now."""
        self._show()

    def on_input_submitted(self) -> None:
        """Go back to the nodes that were chosen."""
        self.nodes.focus()

    def action_act(self, action: str) -> None:
        """Restart or stop the group of the node under the cursor, if the user says so."""
        dn = self.nodes.dn
        if dn is not None:
            self.run_worker(self._act(action, dn))

    async def _act(self, action: str, dn: str) -> None:
        members = self._members if dn == self._chosen else []
        those = f" ({_some(members)})" if len(members) > 1 else ""
        question = Question(f"{action.capitalize()} the group of {dn}{those}?")
        if not await self.push_screen_wait(question):
            return
        try:
            target = page_of(dn, f"/{action}")
            answer = await asyncio.to_thread(self._asked.post, target, "dns")
        except (ConnectionFailedError, RefusalError) as error:
            _say(self._done_line, str(error))
        else:
            _say(self._done_line, acted(action, [_some(answer["dns"])]))


def _some(dns: Sequence[str]) -> str:
    """Name the first of some nodes, so that there is room for what is asked."""
    more = len(dns) - NAMED
    return ", ".join(dns) if more <= 0 else f"{', '.join(dns[:NAMED])}, and {more} more"


def _line(name: str) -> Static:
    """Return a line of text, which takes no place while it is empty."""
    line = Static("", id=name, markup=False)
    line.display = False
    return line


def _say(line: Static, text: str) -> None:
    line.update(printable(text))
    line.display = bool(text)


def _style_of(data: Json) -> str:
    """Return the style of a log record."""
    if data["level"] >= logging.ERROR:
        return "red"
    return "yellow" if data["level"] >= logging.WARNING else ""
