"""The playground in a headless browser, in front of the real web application."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]


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

    def call(self, method: str, **params):
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while (reply := json.loads(self._socket.recv(timeout=60))).get("id") != self._count:
            pass
        assert "error" not in reply, reply
        return reply["result"]

    def read(self, expression: str):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

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


@pytest.fixture
def page(local_url, tmp_path):
    page = Page(local_url, tmp_path / "profile")
    yield page
    page.close()


def test_a_question_is_typed_forecast_answered_and_judged_by_keyboard(page, tmp_path):
    chosen = "document.querySelector('tr.chosen td')?.textContent"
    page.wait(
        lambda: page.read("document.getElementById('state')?.textContent") == "router version v1, 2 experts"
    )
    page.call("Input.insertText", text="What is the capital of Peru?")  # the question has the focus already
    page.wait(lambda: page.read(chosen) is not None)
    balanced = page.read(chosen)

    page.read("document.getElementById('price').focus()")
    page.press("End")
    page.wait(lambda: page.read(chosen) == "gemma-3-270m")
    page.press("Home")
    page.wait(lambda: page.read(chosen) == "smollm2-135m")
    page.press("End")
    page.wait(lambda: page.read(chosen) == "gemma-3-270m")
    assert balanced in {"gemma-3-270m", "smollm2-135m"}

    page.press("Enter", modifiers=2)
    page.wait(lambda: page.read("document.getElementById('answer').textContent") == "onetwothree")
    page.wait(lambda: page.read("document.getElementById('recent').rows.length") == 2)
    assert page.read("document.getElementById('facts').textContent").startswith("gemma-3-270m, $0.000003")
    assert page.read("document.getElementById('trouble').textContent") == ""

    page.read("document.querySelector('#recent button').focus()")
    page.read("document.activeElement.click()")
    page.wait(lambda: page.read("document.querySelector('#recent td:last-child').textContent") == "yes")

    shot = base64.b64decode(page.call("Page.captureScreenshot", format="png")["data"])
    target = Path(os.environ.get("LEEROO_SCREENSHOTS", tmp_path)) / "playground.png"
    target.write_bytes(shot)
    assert len(shot) > 10_000
