"""A Chromium without a window, where one is installed, and pages that tests use in it.

It is asked by the DevTools protocol: each message is JSON, and a zero byte ends it. Chromium reads
them at its file descriptor 3 and writes them to 4. Both are one socket here, whose other end is
the test's.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal as signals
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import psutil
import pytest
import trio

from .programs import Watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

Json = Any
"""What a test reads of an answer."""

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")

FOUND: Final = next(filter(None, map(shutil.which, PROGRAMS)), None)

needs_chromium: Final = pytest.mark.skipif(
    FOUND is None, reason=f"none of {', '.join(PROGRAMS)} is installed"
)

# The socket becomes 3 and 4, whatever number it has. A shell can't name one above 9.
_START: Final = """
import os, sys
number = int(sys.argv[1])
os.dup2(number, 3)
os.dup2(number, 4)
os.closerange(5, number + 1)
os.execv(sys.argv[2], sys.argv[2:])
"""

_OPTIONS: Final = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # it may be too small
    "--remote-debugging-pipe",
)

# The text that a key types, and its number.
_KEYS: Final[Mapping[str, tuple[str, int]]] = {
    "Enter": ("\r", 13),
    "Tab": ("", 9),
    "Escape": ("", 27),
    " ": (" ", 32),
    "End": ("", 35),
    "Home": ("", 36),
    "ArrowUp": ("", 38),
    "ArrowDown": ("", 40),
    "/": ("/", 191),
}

SHIFT: Final = 8

_UNTIL: Final = """
    new Promise((done, failed) => {
        const look = () => {
            try { if (!(CONDITION)) return; } catch (error) { failed(error); }
            observer.disconnect();
            done();
        };
        const observer = new MutationObserver(look);
        observer.observe(document, {
            attributes: true, characterData: true, childList: true, subtree: true,
        });
        look();
    })
"""


@final
class ProtocolError(Exception):
    """Chromium refuses what it is asked, or a script in a page has failed."""


@final
@attrs.define
class _Question:
    answer: Json = None
    answered: trio.Event = attrs.Factory(trio.Event)


@final
class Chromium:
    """A process that runs, of which one test after the other uses a part."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection: Final = connection
        self.numbers: Final = itertools.count(1)
        self.rest = b""
        """What has come of a message that is not complete."""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Browser]:
        """Open a part of it that shares nothing with others."""
        async with trio.open_nursery() as nursery:
            browser = Browser(self)
            nursery.start_soon(browser.read)
            context = await browser.call("Target.createBrowserContext")
            browser.context = context["browserContextId"]
            yield browser
            await browser.call("Target.disposeBrowserContext", browserContextId=browser.context)
            nursery.cancel_scope.cancel()


@final
class Browser:
    """A part of a browser, to a user a browser of its own."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium: Final = chromium
        connection = trio.socket.from_stdlib_socket(chromium.connection)
        self._stream: Final = trio.SocketStream(connection)
        self._sending: Final = trio.Lock()
        self._questions: Final[dict[int, _Question]] = {}
        self._pages: Final[dict[str, Page]] = {}
        self.context: str | None = None

    async def call(self, method: str, *, session: str | None = None, **params: object) -> Json:
        """Ask something, and return the answer."""
        number = next(self._chromium.numbers)
        question = self._questions[number] = _Question()
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        async with self._sending:
            await self._stream.send_all(json.dumps(message).encode() + b"\0")
        await question.answered.wait()
        if "error" in question.answer:
            raise ProtocolError(method, question.answer["error"])
        return question.answer["result"]

    async def read(self) -> None:
        """Read what Chromium says."""
        async for data in self._stream:
            *messages, self._chromium.rest = (self._chromium.rest + data).split(b"\0")
            for each in messages:
                message = json.loads(each)
                # What others have asked for and not waited for comes as well.
                question = self._questions.get(message.get("id"))
                page = self._pages.get(message.get("sessionId"))
                if question is not None:
                    question.answer = message
                    question.answered.set()
                elif page is not None and "method" in message:
                    page.heard(message["method"], message["params"])
        raise EOFError("Chromium has ended")

    async def open(self, url: str, *, before: str = "") -> Page:
        """Open a page, in which a script has run before its own."""
        target = await self.call(
            "Target.createTarget", url="about:blank", browserContextId=self.context
        )
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Network", "Log", "Runtime"):
            await page.call(f"{domain}.enable")
        await page.resize(1280, 800)
        # Keys go to a page that has the focus.
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.call("Page.setLifecycleEventsEnabled", enabled=True)
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        navigation = await page.call("Page.navigate", url=url)
        await page.wait_loaded(navigation["loaderId"])
        return page


@final
class Page:
    """A page, and what it has done."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser: Final = browser
        self._session: Final = session
        self.requests: Final[list[str]] = []
        """The addresses that it has asked."""
        self.errors: Final[list[str]] = []
        """What a developer would see in its console: errors, and what its policy forbids."""
        self._loaded: Final[dict[str, trio.Event]] = defaultdict(trio.Event)

    def heard(self, method: str, told: Json) -> None:
        """Note what the browser tells."""
        if method == "Page.lifecycleEvent" and told["name"] == "load":
            self._loaded[told["loaderId"]].set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and told["type"] in {"error", "assert"}:
            self.errors.append(json.dumps(told["args"]))

    async def wait_loaded(self, loader: str) -> None:
        """Wait until all of a document is there, which its loader names."""
        await self._loaded[loader].wait()

    async def call(self, method: str, **params: object) -> Json:
        """Ask the browser something about this page."""
        return await self._browser.call(method, session=self._session, **params)

    async def resize(self, width: int, height: int) -> None:
        """Make the window so large."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def evaluate(self, expression: str) -> Json:
        """Return the value of an expression; that of a promise is waited for."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise ProtocolError(expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until an expression is true; it is asked again when the document has changed."""
        await self.evaluate(_UNTIL.replace("CONDITION", condition))

    async def press(self, *keys: str, modifiers: int = 0) -> None:
        """Press keys one after the other, and let go of each."""
        for key in keys:
            text, code = _KEYS.get(key, (key, ord(key[0].upper())))
            pressed = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
            await self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    async def prefer(self, scheme: str) -> None:
        """Let the user prefer a colour scheme, ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self) -> bytes:
        """Return a picture of what is seen, as a PNG file."""
        answer = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(answer["data"])


@contextlib.contextmanager
def running_chromium() -> Iterator[Chromium]:
    """Run a browser with a profile of its own, of which nothing is left at the end."""
    assert FOUND is not None
    ours, its = socket.socketpair()
    with ours, its, tempfile.TemporaryDirectory(prefix="") as profile:
        command = [sys.executable, "-ISc", _START, str(its.fileno()), FOUND, *_OPTIONS]
        if os.getuid() == 0:
            command.append("--no-sandbox")  # root's does not work
        process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}"],
            env=os.environ | dict.fromkeys(["HOME", "TMPDIR", "XDG_CONFIG_HOME"], profile),
            stderr=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            start_new_session=True,
        )
        its.close()
        try:
            yield Chromium(ours)
        finally:
            _kill(process, profile)


def _kill(process: subprocess.Popen[bytes], profile: str) -> None:
    """Kill all processes of a browser, and wait until they are dead."""
    os.killpg(process.pid, signals.SIGKILL)
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):  # it has gone meanwhile
            # What reports crashes has left the group.
            if os.getpgid(each.pid) == process.pid or profile in " ".join(each.cmdline()):
                with Watched(each.pid) as watched:
                    os.kill(each.pid, signals.SIGKILL)
                    watched.wait()
    process.wait()
