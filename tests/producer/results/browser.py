"""A headless Chromium that a test drives through its pipe, as its developer tools do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

CHROMIUM: Final = shutil.which("chromium")
_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe"),
)
_TO_BROWSER, _FROM_BROWSER = 3, 4  # the descriptors that --remote-debugging-pipe uses


class Browser:
    """One tab.

    Attributes:
        console: what the page wrote to the console, and what its policy refused.
        requests: the URLs that the page asked for.
    """

    def __init__(self, write: int, read: int) -> None:
        self.console: list[str] = []
        self.requests: list[str] = []
        self._write, self._read = write, read
        self._rest = b""
        self._number = 0
        self._session = ""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, path: Path) -> None:
        """Open a file, and wait until it is loaded."""
        self.send("Page.navigate", url=path.as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def value(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key on the element that has the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int = 900) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, *, kind: str = "screen", scheme: str = "light") -> None:
        """Show the page on screen or in print, in light or dark."""
        self.send(
            "Emulation.setEmulatedMedia", media=kind, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        match message.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.console.append(line.decode())
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile in this folder."""
    assert CHROMIUM
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()

    def place_pipes() -> None:
        high = [os.dup(descriptor) for descriptor in (to_browser, from_browser)]
        for descriptor, place in zip(high, (_TO_BROWSER, _FROM_BROWSER), strict=True):
            os.dup2(descriptor, place)

    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(to_browser, from_browser, _TO_BROWSER, _FROM_BROWSER),
        preexec_fn=place_pipes,  # noqa: PLW1509  the test has no other thread here
    ) as running:
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Browser(write, read)
        finally:
            os.close(write)  # the browser ends when its pipe is closed
            os.close(read)
            running.terminate()
