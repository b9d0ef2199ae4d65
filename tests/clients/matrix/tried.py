"""For scripts of Python's clients: what is tried, a line of JSON for each."""

from __future__ import annotations

import json
import os
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

URL, KEY = os.environ["ENDPOINT_URL"], os.environ["ENDPOINT_KEY"]
V1 = f"{URL}/v1"
ASKED = "What is the capital of Peru?"
TEXT = "Lima is the capital of Peru."


class City(BaseModel):
    """A city."""

    city: str
    people_m: float


CITY = City(city="Lima", people_m=7.5)


def tries(what: str) -> Callable[[Callable[[], Any]], None]:
    """Run a function at once, and print whether it did what it should."""

    def run(function: Callable[[], Any]) -> None:
        why = ""
        try:
            function()
        except Exception:
            why = traceback.format_exc()[-1500:]
        print(json.dumps({"tried": what, "why": why}), flush=True)

    return run


def refusal(kind: type[Exception], ask: Callable[[], Any]) -> Any:
    """Return the error of a kind that a call has to raise."""
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError("it was not refused")


def write_hello(agent: list[str], work: str, env: dict[str, str]) -> None:
    """Have an agent write ``hello.txt`` into its working directory, and end well."""
    done = subprocess.run(
        agent,
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    assert Path(work, "hello.txt").read_text() == "hello"
    assert "The tool said:" in done.stdout
