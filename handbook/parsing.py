"""Whether a command that a page shows is one that ``leeroo`` takes."""

from __future__ import annotations

import re
import shlex
from typing import Any

import typer

#: What the parser raises at a wrong command line: click's class, of which typer may have a copy of its own.
UsageError: Any = typer.BadParameter.__base__


class UnknownCommandError(Exception):
    """A page shows a command or an option that there is not; the message is the parser's."""


def check_command(line: str) -> tuple[str, ...]:
    """Parse a shell line as ``leeroo`` would, and return the command's words; () for other programs.

    Raises:
        UnknownCommandError: there is no such command or option, an argument lacks, or a value is of no use.
    """
    words = read_words(line)
    if not words or words[0] != "leeroo":
        return ()
    from pipelines.cli import app

    command: Any = typer.main.get_command(app)
    path, rest = ["leeroo"], words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, path, rest = command.commands[rest[0]], [*path, rest[0]], rest[1:]
    if rest and getattr(command, "commands", {}) and not rest[0].startswith("-"):
        raise UnknownCommandError(f"{line}: {' '.join(path)} has no command {rest[0]!r}")
    try:
        if rest != ["--help"]:
            command.make_context(" ".join(path), list(rest))
    except typer.Exit:
        pass
    except UsageError as error:
        if "does not exist" not in str(error.format_message()):  # the reader's own files
            raise UnknownCommandError(f"{line}: {error.format_message()}") from error
    return tuple(path[1:])


def read_words(line: str) -> list[str]:
    """Return the words of a line's first program, without variables before it and what follows a pipe."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # one line of a text in quotes that goes on: of no command of ours
        words = line.split()
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    end = next(
        (i for i, word in enumerate(words) if word in ("|", ">", ">>", "<", "&", "&&", "||")), len(words)
    )
    return words[:end]
