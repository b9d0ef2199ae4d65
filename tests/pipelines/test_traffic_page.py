"""The commands of docs/traffic.md exist, with the options that they are shown with."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from pipelines.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "traffic.md").read_text(encoding="utf-8")
SHOWN = [line for line in PAGE.splitlines() if line.startswith(("leeroo ", "ray job submit -- python -m "))]


def test_the_page_shows_the_whole_loop() -> None:
    shown = " ".join(SHOWN)
    for step in (
        "leeroo serve",
        "traffic import",
        "traffic report",
        "leeroo learn",
        "traffic evaluate",
        "promote",
    ):
        assert step in shown


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_of_the_page_exists(line: str) -> None:
    words = shlex.split(line.replace("ray job submit -- python -m pipelines.traffic", "leeroo learn"))[1:]
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert not hasattr(command, "commands"), f"no command {line!r}"
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_options_that_the_text_names_exist() -> None:
    command = typer.main.get_command(app)
    known: set[str] = set()
    waiting = [command]
    while waiting:
        one = waiting.pop()
        waiting += getattr(one, "commands", {}).values()
        known |= {name for option in one.params for name in (*option.opts, *option.secondary_opts)}
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert named
    assert named <= known
