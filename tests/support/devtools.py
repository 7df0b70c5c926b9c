"""A headless Chromium driven as a hand would: mouse, keyboard, and eyes on the console."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from support.programs import find_program
from websockets.sync.client import ClientConnection, connect

LAPTOP = (1366, 768)
_START_S = 60.0
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


@dataclass
class Tab:
    """A tab of the browser."""

    socket: ClientConnection
    complaints: list[str] = field(default_factory=list)
    """What the console said, and what could not be loaded."""
    _count: int = 0

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command of the DevTools protocol; return its result."""
        self._count += 1
        number = self._count
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what a reader would see in the console in red."""
        params = event.get("params", {})
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page."""
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, (script, done["exceptionDetails"])
        return done["result"].get("value")

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def wait(self, script: str, timeout_s: float = 30) -> Any:
        """Wait until an expression is true."""
        until = time.monotonic() + timeout_s
        while True:
            # A page that is just being left cannot answer.
            with contextlib.suppress(AssertionError):
                if value := self.run(script):
                    return value
            if time.monotonic() > until:
                text = self.run("document.body.innerText")
                raise AssertionError(f"{script} has not come true; the page says: {text}")
            time.sleep(0.1)

    def click(self, finder: str) -> None:
        """Press the mouse on the element that an expression gives, also inside a frame."""
        place = self.wait(
            f"""(() => {{
              const element = {finder};
              if (!element) return null;
              element.scrollIntoView({{block: "center"}});
              let {{x, y, width, height}} = element.getClientRects()[0] ?? {{}};
              if (!width) return null;
              let view = element.ownerDocument.defaultView;
              while (view.frameElement) {{
                const frame = view.frameElement.getBoundingClientRect();
                x += frame.x; y += frame.y; view = view.parent;
              }}
              return [x + width / 2, y + height / 2];
            }})()"""
        )
        mouse = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type="mousePressed", **mouse)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", **mouse)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key."""
        held = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": _KEYS[key],
            "modifiers": 8 if shift else 0,
        }
        text = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **held, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **held)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def prefer(self, scheme: str) -> None:
        """Set light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def photograph(self, path: Path, *, whole: bool = False) -> None:
        """Save what is on the screen, or the whole page."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browse(profile: Path, size: tuple[int, int] = LAPTOP) -> Iterator[Tab]:
    """Open a tab of a browser with a profile of its own; it ends with the block."""
    program = find_program("chromium")
    assert program is not None
    profile.mkdir(parents=True)
    browser = subprocess.Popen(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-port=0",
            f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={profile}",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _wait_for_port(browser, profile)
        listed = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
        url = next(one for one in listed if one["type"] == "page")["webSocketDebuggerUrl"]
        with connect(url, max_size=None, proxy=None) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log"):
                tab.send(f"{domain}.enable")
            tab.send(
                "Emulation.setDeviceMetricsOverride",
                width=size[0],
                height=size[1],
                deviceScaleFactor=1,
                mobile=False,
            )
            yield tab
    finally:
        browser.terminate()
        browser.wait(timeout=30)


def _wait_for_port(browser: subprocess.Popen[bytes], profile: Path) -> int:
    """Read the port that the browser chose, once it has written it."""
    note = profile / "DevToolsActivePort"
    until = time.monotonic() + _START_S
    while not (note.exists() and "\n" in note.read_text()):
        assert browser.poll() is None, "the browser ended"
        assert time.monotonic() < until, "the browser does not start"
        time.sleep(0.1)
    return int(note.read_text().split()[0])
