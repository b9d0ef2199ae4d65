"""A headless browser, driven by its debugging protocol."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx
from websockets.sync.client import connect

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARTIFACTS = Path(os.environ.get("LEEROO_ARTIFACTS") or Path(__file__).parents[2] / "build" / "artifacts")


class Page:
    """A page of a headless browser, driven by its debugging protocol as a person would: keys and clicks."""

    def __init__(self, address: str, profile: Path):
        command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,1150"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", address]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        told = profile / "DevToolsActivePort"
        self.wait(lambda: told.exists() and told.read_text().count("\n") >= 1)
        port = told.read_text().splitlines()[0]
        listed = lambda: httpx.get(f"http://127.0.0.1:{port}/json").json()  # noqa: E731
        self.wait(lambda: any(tab["url"].startswith(address) for tab in listed()))
        (tab,) = [tab for tab in listed() if tab["url"].startswith(address)]
        self._socket = connect(tab["webSocketDebuggerUrl"], max_size=None)
        self._count = 0
        self.events: list[dict] = []  # what the browser told meanwhile
        loaded = f"location.href.startsWith({json.dumps(address)}) && document.readyState == 'complete'"
        self.wait(lambda: self.read(loaded))  # before that there is an empty page

    def call(self, method: str, **params):
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while (reply := json.loads(self._socket.recv(timeout=60))).get("id") != self._count:
            self.events.append(reply)
        assert "error" not in reply, reply
        return reply["result"]

    def read(self, expression: str):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text(self, element: str) -> str:
        return self.read(f"document.getElementById('{element}').textContent")

    def type(self, words: str):
        """Type into what has the focus."""
        self.call("Input.insertText", text=words)

    def photograph(self, name: str, *, whole: bool = False) -> Path:
        """Keep what the page shows, or the whole of it, among the artifacts of a test run."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        target = ARTIFACTS / name
        target.write_bytes(
            base64.b64decode(
                self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
            )
        )
        return target

    def press(self, key: str, modifiers: int = 0):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers)

    def wait(self, condition, seconds: float = 60.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the page did not come to show it"
            time.sleep(0.1)

    def close(self):
        self._socket.close()
        self._process.terminate()
        self._process.wait(30)
