"""Fenced blocks of Markdown, and what their marks say of the commands in them.

The word after the language says who runs the block:

- ``sh {run}``: the test of the documents, in order of the pages, on one small home.
- ``sh {run-by="tests/..."}``: that test; its text has to have each command.
- ``sh {not-run="why"}``: nobody, and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SHELLS = frozenset({"sh", "bash", "console", "shell"})
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)$")
_MARK = re.compile(r"\{(?P<kind>run|run-by|not-run)(?:=\"(?P<value>[^\"]+)\")?\}")


@dataclass(frozen=True)
class Fence:
    """A fenced block: its language, its mark and its text, and the line that it begins at."""

    language: str
    mark: str  # "", "run", "run-by" or "not-run"
    value: str  # of the mark
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The commands of the block, each on one line; of a session only what follows a prompt."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = joined.splitlines()
        if self.language == "console":
            return [line.removeprefix("$ ").strip() for line in lines if line.startswith("$ ")]
        return [
            stripped for line in lines if (stripped := line.split("  #")[0].strip()) and stripped[0] != "#"
        ]


def read_fences(markdown: str) -> Iterator[Fence]:
    """Yield the fenced blocks of a page."""
    opened: re.Match[str] | None = None
    start, body = 0, list[str]()
    for number, line in enumerate(markdown.splitlines(), 1):
        match = _FENCE.match(line)
        if opened is None:
            if match:
                opened, start, body = match, number, []
        elif match and not match["info"].strip() and len(match["ticks"]) >= len(opened["ticks"]):
            yield _fence(opened["info"].strip(), body, len(opened["indent"]), start)
            opened = None
        else:
            body.append(line)


def _fence(info: str, body: list[str], indent: int, line: int) -> Fence:
    mark = _MARK.search(info)
    language = info.split()[0] if info and not info.startswith("{") else ""
    text = "\n".join(one[indent:] for one in body)
    return Fence(language, mark["kind"] if mark else "", (mark and mark["value"]) or "", text, line)


def without_marks(markdown: str) -> str:
    """Return the page as a renderer takes it: fences by their language alone."""
    return "\n".join(
        _MARK.sub("", line).rstrip() if _FENCE.match(line) else line for line in markdown.split("\n")
    )
