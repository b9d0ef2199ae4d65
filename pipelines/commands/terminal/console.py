"""The one console of the command line: what it prints is text, and every table fits."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from pipelines.commands.terminal.readable_table import fit, visible

PIPE_WIDTH = 130  # columns where the output goes to a file, unless COLUMNS says otherwise


class Terminal(Console):
    """Prints to the standard output, or to the standard error where ``stderr`` is set.

    Texts of others (names of experts and keys, questions, messages) may hold anything: nothing in them is
    taken for markup, an emoji or an order to the terminal. What has a style is a :class:`rich.text.Text`.
    """

    def __init__(self, **options: Any) -> None:
        stream = sys.stderr if options.get("stderr") else sys.stdout
        is_free = stream.isatty() or "COLUMNS" in os.environ
        plain = {"highlight": False, "markup": False, "emoji": False}
        super().__init__(**({"width": None if is_free else PIPE_WIDTH} | plain | options))

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; tables fit into the width, and nothing of them is cut. In a pipe a text is one line."""
        is_text = all(isinstance(one, str | Text) for one in objects)
        options.setdefault("soft_wrap", is_text and not self.is_terminal)
        super().print(*(fit(one, self) for one in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as it is shown; see :func:`visible`."""
        return super().render_str(visible(text), **options)


def print_line(text: str) -> None:
    """Print one line of text as it is."""
    Terminal().print(text)


def print_step(text: str) -> None:
    """Print the heading of a step."""
    Terminal().print(f"\n{text}", style="bold")
