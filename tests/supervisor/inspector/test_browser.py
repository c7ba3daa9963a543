"""What a user sees of the page in a real browser, and does with it.

These tests run where a Chromium is installed, in real time: the browser has its own clock.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import supervisor
from supervisor import Signal
from supervisor.inspector._changes import GATHERED
from supervisor.logs import LogBuffer
from supervisor.testing import Remote, open_harness

from ..helpers.backoffs import AT_ONCE, LONG
from ..helpers.chromium import SHIFT, Chromium, needs_chromium, running_chromium
from ..helpers.inspected import open_beside
from ..helpers.records import record
from ..helpers.runnables import finish, idle

# Behind all other places, so that the packages which are tested stay those of the wheel.
sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.soak.browser import show_crashes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from supervisor import Supervisor

    from ..helpers.chromium import Page

pytestmark = [pytest.mark.processes, needs_chromium]

# A test that takes so many seconds hangs.
HANGS = 60.0

ROWS = "document.getElementById('rows').children.length"

CONNECTED = "document.getElementById('connection').textContent === 'connected'"

# The next drawing is the test's to begin, and when a death has come is noted in the document.
BY_HAND = """
    window.setInterval = (draw, period) => Object.assign(window, { draw, period });
    const parse = JSON.parse;
    JSON.parse = (text) => {
        const data = parse(text);
        if (data.nodes?.some((node) => node.state === "DEAD")) document.documentElement.lang = "de";
        return data;
    };
"""

# The lowest contrast of a text with what is behind it, by the definition of WCAG 2.
CONTRAST = r"""
    (() => {
        const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
        const behind = (element) => {
            for (; element; element = element.parentElement) {
                const colour = getComputedStyle(element).backgroundColor;
                if (parts(colour)[3] !== 0) return colour;
            }
        };
        const luminance = (colour) => {
            const [r, g, b] = parts(colour).map((part) => part / 255)
                .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const contrast = (one, other) => {
            const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
            return (light + 0.05) / (dark + 0.05);
        };
        const found = [];
        for (const element of document.body.querySelectorAll("*")) {
            const nodes = [...element.childNodes];
            const has = nodes.some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
            if (!has && !element.placeholder) continue;
            const { color } = getComputedStyle(element, has ? null : "::placeholder");
            found.push([contrast(color, behind(element)), element.textContent.slice(0, 40)]);
        }
        return found;
    })()
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with running_chromium() as process:
        yield process


WIDER = """
    [...document.querySelectorAll("html, body, header, main, #tree, #node, #node *")]
        .filter((each) => each.scrollWidth > each.clientWidth && each.clientWidth)
        .map((each) => each.id)
"""


def at(name: str) -> str:
    """Return the expression of an element."""
    return f"document.getElementById({json.dumps(name)})"


def row(dn: str) -> str:
    """Return the expression of a node's row."""
    return f"[...{at('rows')}.children].find((row) => row.cells[0].title === {json.dumps(dn)})"


def state(dn: str) -> str:
    """Return the expression of the state that is shown of a node."""
    return f"{row(dn)}?.cells[1].textContent"


def text(name: str) -> str:
    """Return the expression of what an element shows."""
    return f"{at(name)}.textContent"


async def focus(page: Page) -> str:
    """Return the element that has the focus: its id, or the DN of a row."""
    found = await page.evaluate(
        "document.activeElement.id || document.activeElement.cells?.[0].title"
    )
    assert isinstance(found, str)
    return found


async def drawn(page: Page) -> list[str]:
    """Return the DNs of the rows."""
    found: list[str] = await page.evaluate(
        f"[...{at('rows')}.children].map((row) => row.cells[0].title)"
    )
    return found


def written_address(capfd: pytest.CaptureFixture[str]) -> str:
    """Return the address that an inspector has written to standard error."""
    found = re.search(r"http://[\d.:]+/#token=\S+", capfd.readouterr().err)
    assert found is not None
    return found[0]


@contextlib.asynccontextmanager
async def open_page(
    root: Callable[[], Awaitable[object]],
    path: Path,
    capfd: pytest.CaptureFixture[str],
    chromium: Chromium,
    *,
    before: str = "",
    control: object = True,
    logs: LogBuffer | None = None,
) -> AsyncIterator[tuple[Supervisor, Page]]:
    """Run a tree, and look at it by a browser.

    Nobody but the inspector is asked for anything, and nothing is wrong in the browser's eyes.
    """
    with trio.fail_after(HANGS):
        async with (
            open_harness(root, patience=60.0) as tree,
            open_beside(tree, path, http="127.0.0.1:0", control=control, logs=logs or LogBuffer()),
            chromium.open() as browser,
        ):
            address = written_address(capfd)
            page = await browser.open(address, before=before)
            await page.until(CONNECTED)
            yield tree, page
            base = address.partition("#")[0]
            assert page.requests
            assert [each for each in page.requests if not each.startswith(base)] == []
            assert not any("token" in each for each in page.requests)
            assert page.errors == []


async def test_a_crash_among_500_nodes_is_in_the_next_drawing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: drawings and changes are gathered for less than half a second."""
    remote = Remote()

    async def root() -> None:
        for number in range(500):
            runnable = remote if number == 250 else idle
            supervisor.run(f"n{number}", runnable, backoff=LONG)
        await idle()

    async with open_page(root, tmp_path / "s", capfd, chromium, before=BY_HAND) as (_, page):
        await page.evaluate("draw()")
        await remote.become_healthy()
        assert len(await drawn(page)) == 501
        await remote.die(OSError("no lease"))
        await page.until("document.documentElement.lang === 'de'")
        assert await page.evaluate(state("root.n250")) != "DEAD"
        await page.evaluate("draw()")
        assert await page.evaluate(state("root.n250")) == "DEAD"
        assert (
            await page.evaluate(f"{row('root.n250')}.cells[6].textContent") == "OSError: no lease"
        )
        assert GATHERED + await page.evaluate("period") / 1000 < 0.5


async def test_it_says_when_a_service_that_is_connected_is_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: as one is whose loop is blocked; the next that comes ends it."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("dhcp", remote, backoff=LONG)
        await idle()

    before = "performance.now = () => 0;" + BY_HAND
    async with open_page(root, tmp_path / "s", capfd, chromium, before=before) as (_, page):
        # Each is one step of the page, in which nothing comes.
        later = f"performance.now = () => %d, draw(), {text('connection')}"
        assert await page.evaluate(later % 20_000) == "connected"
        silent = "connected; but nothing has come for more than 20 s"
        assert await page.evaluate(later % 20_001) == silent
        await remote.die()
        await page.until("document.documentElement.lang === 'de'")
        await page.evaluate("draw()")
        assert await page.evaluate(CONNECTED)


async def test_3000_nodes_have_2000_rows(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: the page says how many are not drawn, and the filter finds them."""

    async def root() -> None:
        for number in range(3000):
            supervisor.run(f"n{number}", idle)
        await idle()

    async with open_page(root, tmp_path / "s", capfd, chromium) as (_, page):
        await page.until(f"{text('counts')} === '3001 HEALTHY'")
        assert len(await drawn(page)) == 2000
        assert await page.evaluate(text("more")) == "1001 more nodes are not drawn: use the filter"
        await page.press("/", *"n2999")
        await page.until(f"{ROWS} === 1")
        assert await drawn(page) == ["root.n2999"]
        assert await page.evaluate(text("more")) == ""


async def many_states() -> None:
    """Have a node in each state, and some with long texts."""

    async def dies() -> None:
        supervisor.signal(Signal.HEALTHY)
        await trio.lowlevel.checkpoint()
        raise OSError("no lease " + "w" * 200)

    async def not_ready() -> None:
        supervisor.signal(Signal.HEALTHY)
        supervisor.set_ready(False, "no peer")  # noqa: FBT003
        await trio.sleep_forever()

    supervisor.run_group({"dhcp": dies, "dns": idle}, backoff=LONG)
    supervisor.run("done", finish)
    supervisor.run("new", trio.sleep_forever)
    supervisor.run("not_ready", not_ready)
    handle = supervisor.run("stopped", idle)
    await handle.stop()
    await idle()


async def test_both_colour_schemes_can_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: each text has a contrast of 4.5 at least, chosen or not."""
    async with open_page(many_states, tmp_path / "s", capfd, chromium, control="http") as (_, page):
        await page.until(f"{state('root.dhcp')} === 'DEAD'")
        await page.evaluate(f"{row('root.dhcp')}.click()")
        await page.until(f"!{at('actions')}.hidden")
        seen = {}
        for scheme in ("light", "dark"):
            await page.prefer(scheme)
            picture = await page.screenshot()
            assert picture.startswith(b"\x89PNG")
            (tmp_path / f"{scheme}.png").write_bytes(picture)
            back = "getComputedStyle(document.body).backgroundColor"
            seen[scheme] = picture, await page.evaluate(back)
            for chosen in ("true", "false"):
                await page.evaluate(
                    "for (const row of document.getElementById('rows').children)"
                    f" row.setAttribute('aria-selected', '{chosen}')"
                )
                contrasts = await page.evaluate(CONTRAST)
                assert {"DEAD", "BACKOFF", "NEW", "DONE", "STOPPED"} <= {
                    each for _, each in contrasts
                }
                assert [each for each in contrasts if each[0] < 4.5] == []
        assert seen["light"][0] != seen["dark"][0]
        assert [back for _, back in seen.values()] == ["rgb(251, 251, 250)", "rgb(22, 24, 27)"]


async def test_long_texts_make_nothing_wider(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: in a narrow window, the table alone is wider than its place."""
    async with open_page(many_states, tmp_path / "s", capfd, chromium, control="http") as (_, page):
        await page.until(f"{state('root.dhcp')} === 'DEAD'")
        await page.evaluate(f"{row('root.dhcp')}.click()")
        await page.until(f"{text('crashes')}.includes('wwwww')")
        for width, expected in [(1280, []), (400, ["tree"])]:
            await page.resize(width, 800)
            assert await page.evaluate(WIDER) == expected
            assert await page.evaluate(
                f"{at('tree')}.getBoundingClientRect().bottom <= innerHeight"
            )


async def test_the_keyboard_reaches_all_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: filters, nodes, and what acts on them, which asks first."""
    remote = Remote()

    async def root() -> None:
        supervisor.run_group({"dhcp": remote, "dns": idle}, backoff=LONG)
        supervisor.run("web", idle)
        await idle()

    async with open_page(root, tmp_path / "s", capfd, chromium, control="http") as (_, page):
        await page.until(f"{state('root.dhcp')} === 'NEW'")
        await remote.become_healthy()
        await remote.die(OSError("no lease"))
        await page.until(f"{state('root.dhcp')} === 'DEAD'")
        reached = []
        for _ in range(3):
            await page.press("Tab")
            reached.append(await focus(page))
        assert reached == ["filter", "unready", "root"]
        # Behind the table comes the panel, where nothing restarts the root's group.
        await page.press("Enter")
        await page.until(f"{text('why')}.startsWith('root is HEALTHY')")
        await page.press("Tab")
        assert await focus(page) == "log"
        await page.press("Tab", modifiers=SHIFT)
        assert await focus(page) == "root"
        for key, dn in [("End", "root.web"), ("ArrowUp", "root.dns"), ("Home", "root")]:
            await page.press(key)
            assert await focus(page) == dn
        await page.press("ArrowDown", "Enter")
        await page.until(f"{text('why')}.startsWith('root.dhcp died ')")
        await page.press("Tab")
        assert await focus(page) == "restart"

        await page.press("Enter")
        assert await page.evaluate(text("asked")) == "Restart root.dhcp, root.dns?"
        assert await focus(page) == "no"
        await page.press("Escape")
        assert await focus(page) == "restart"
        assert not await page.evaluate(f"{at('question')}.open")
        await page.press("Enter", "Enter")
        assert await focus(page) == "restart"
        await page.press("Enter", "Tab")
        assert await focus(page) == "yes"
        assert await page.evaluate(text("done")) == ""
        await page.press("Enter")
        await page.until(f"{text('done')} === 'restart: root.dhcp, root.dns'")
        await page.until(f"{state('root.dhcp')} === 'NEW'")
        await remote.become_healthy()
        await page.until(f"{state('root.dhcp')} === 'HEALTHY'")
        await page.press("Tab", "Enter", "Tab", "Enter")
        await page.until(f"{text('done')} === 'stop: root.dhcp, root.dns'")
        await page.until(f"{state('root.dhcp')} === 'STOPPED'")

        reached = []
        for _ in range(4):
            await page.press("Tab")
            reached.append(await focus(page))
        assert reached == ["log", "stack", "crashes", "values"]


async def test_what_is_not_chosen_by_the_filters_is_not_drawn(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: names are whole then, since parents may be missing."""
    remote = Remote()
    name = "dhcp_of_the_second_network"
    dn = f"root.net.{name}"

    async def net() -> None:
        supervisor.run(name, remote, backoff=LONG)
        await idle()

    async def root() -> None:
        supervisor.run("net", net)
        supervisor.run("web", idle)
        await idle()

    async with open_page(root, tmp_path / "s", capfd, chromium) as (_, page):
        await remote.become_healthy()
        await page.until(f"{state(dn)} === 'HEALTHY'")
        cell = f"{row(dn)}.cells[0]"
        assert await page.evaluate(f"{cell}.textContent") == name
        await page.press("/", *"dhc")
        await page.until(f"{ROWS} === 1")
        assert await page.evaluate(f"{cell}.textContent") == dn
        assert await page.evaluate(f"{cell}.scrollWidth <= {cell}.clientWidth")
        await page.press("Escape")
        await page.until(f"{ROWS} === 4")
        await page.press("Tab", "Tab", "End")
        assert await focus(page) == "root.web"
        await page.press("Tab", "Tab", modifiers=SHIFT)
        await page.press("Tab", " ")
        await page.until(f"{text('more')} === 'no node is such'")
        await remote.die(OSError("no lease"))
        await page.until(f"{ROWS} > 0")
        assert await drawn(page) == [dn]
        await page.press("Tab")
        assert await focus(page) == dn
        await page.press("Enter")
        await page.until(f"{text('dn')} === '{dn}'")


async def test_the_focus_goes_to_a_neighbour_of_a_row_that_vanishes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: otherwise it would go to the beginning of the page."""
    remote = Remote()
    names = ["child"]

    async def parent() -> None:
        for name in names:
            supervisor.run(name, idle)
        await remote()

    async def root() -> None:
        supervisor.run("parent", parent, backoff=AT_ONCE)
        await idle()

    async with open_page(root, tmp_path / "s", capfd, chromium) as (_, page):
        await remote.become_healthy()
        await page.until(f"{state('root.parent.child')} === 'HEALTHY'")
        await page.press("Tab", "Tab", "Tab", "End")
        assert await focus(page) == "root.parent.child"
        names.clear()
        await remote.die()
        await page.until(f"{ROWS} === 2")
        assert await focus(page) == "root.parent"


async def test_a_node_is_explained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: why, its log as it comes, its await-stacks and its crashes, as texts."""
    remote = Remote()

    async def root() -> None:
        supervisor.run("dhcp", remote, backoff=LONG)
        await idle()

    buffer = LogBuffer()
    buffer.handle(record("root.dhcp", "<b>first</b>"))
    async with open_page(root, tmp_path / "s", capfd, chromium, logs=buffer) as (tree, page):
        await page.until(f"{state('root.dhcp')} === 'NEW'")
        await page.evaluate(f"{row('root.dhcp')}.click()")
        await page.until(f"{text('log')}.endsWith('INFO root.dhcp: <b>first</b>\\n')")
        await page.until(f"{text('why')}.startsWith('root.dhcp is NEW for ')")
        await page.until(f"{text('stack')}.includes('await ')")
        assert await page.evaluate(text("crashes")) == "none"
        assert await page.evaluate(f"{at('actions')}.hidden")
        await remote.become_healthy()
        await remote.die(OSError("no lease"))
        await page.until(f"{text('why')}.includes(' ago (OSError: no lease)')")
        await page.until(f"{text('crashes')}.trim().endsWith('OSError: no lease')")
        await page.until(f"{text('stack')} === 'nothing of it runs'")
        # What a user has marked in it stays so when the page asks again.
        await page.evaluate(f"window.marked = {at('crashes')}.firstChild")
        await tree.restart("root.dhcp")
        await page.until(f"{text('why')}.startsWith('root.dhcp is NEW for ')")
        assert await page.evaluate(f"{at('crashes')}.firstChild === window.marked")


async def test_the_log_stays_at_its_end_unless_the_user_scrolls(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: also when its lines are wrapped anew."""
    buffer = LogBuffer()
    log = at("log")

    async def write(page: Page, word: str) -> bool:
        for _ in range(30):
            buffer.handle(record("root", f"{word} " * 40))
        await page.until(f"{log}.childNodes.length && {log}.lastChild.data.includes('{word}')")
        buffer.handle(record("root", f"end of {word}"))
        await page.until(f"{log}.lastChild.data.includes('end of {word}')")
        found = await page.evaluate(
            f"{log}.scrollTop + {log}.clientHeight >= {log}.scrollHeight - 4"
        )
        assert isinstance(found, bool)
        return found

    async with open_page(idle, tmp_path / "s", capfd, chromium, logs=buffer) as (_, page):
        await page.until(f"{state('root')} === 'HEALTHY'")
        await page.evaluate(f"{row('root')}.click()")
        assert await write(page, "one")
        await page.resize(600, 800)
        assert await write(page, "two")
        scrolled = f"new Promise((done) => {{ {log}.onscroll = done; {log}.scrollTop = %s; }})"
        await page.evaluate(f"{scrolled % 100}.then(() => null)")
        assert not await write(page, "three")
        assert await page.evaluate(f"{log}.scrollTop") == 100
        await page.evaluate(f"{scrolled % 100_000}.then(() => null)")
        assert await write(page, "four")


async def test_it_says_when_the_service_is_gone_and_takes_the_next_address(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], chromium: Chromium
) -> None:
    """S39: the last picture stays, and the address of the next run is taken where it stands."""

    async def root() -> None:
        supervisor.run("one", idle)
        await idle()

    with trio.fail_after(HANGS):
        async with open_harness(root, patience=60.0) as tree, chromium.open() as browser:
            async with open_beside(tree, tmp_path / "s", http="127.0.0.1:0"):
                address = written_address(capfd)
                page = await browser.open(address)
                await page.until(f"{state('root.one')} === 'HEALTHY'")
                assert await page.evaluate("location.hash") == ""
            await page.until(f"{text('connection')}.startsWith('not connected: ')")
            assert await drawn(page) == ["root", "root.one"]
            port = re.sub(r"http://(.*?)/.*", r"\1", address)
            async with open_beside(tree, tmp_path / "s", http=port):
                refused = (
                    "not connected: the header Authorization does not have this run's token; "
                    "open the address that the service has written"
                )
                await page.until(f"{text('connection')} === {json.dumps(refused)}")
                await page.evaluate("window.same = true")
                await page.call("Page.navigate", url=written_address(capfd))
                await page.until(CONNECTED)
                assert await page.evaluate("window.same")
                assert await page.evaluate("location.hash") == ""


async def test_the_time_until_a_crash_is_shown_is_measured(
    tmp_path: Path, chromium: Chromium
) -> None:
    """S39: while other nodes restart; the session ``browser`` says how long it is."""
    with trio.fail_after(HANGS):
        took = await show_crashes(20, tmp_path / "s", chromium, rounds=1, rate=100.0)
    assert len(took) == 1
