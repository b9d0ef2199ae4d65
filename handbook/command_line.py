"""Reference of the command line, from the parser itself."""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import typer

from handbook.table import code, table

Command = Any  # click's, of which typer has a copy of its own under a private name


def render_command_line() -> str:
    """Return the page: every command with its arguments and options."""
    from pipelines.cli import app

    parts = ["# Command line\n", f"{app.info.help}\n"]
    parts.append(
        "Every command takes `--help`. Errors end with one of the [exit codes](../formats.md#exit-codes).\n"
    )
    shown = list(commands())
    first = [(f"[`{' '.join(path)}`](#{anchor(path)})", sentence(command.help)) for path, command in shown]
    parts.append(table(("command", "what it does"), first))
    parts += [render_command(path, command) for path, command in shown]
    return "\n".join(parts)


def commands() -> Iterator[tuple[tuple[str, ...], Command]]:
    """Yield every command that does something, as its words and its parser."""
    from pipelines.cli import app

    yield from _walk(("leeroo",), typer.main.get_command(app))


def _walk(path: tuple[str, ...], command: Command) -> Iterator[tuple[tuple[str, ...], Command]]:
    inner = getattr(command, "commands", {})
    if not inner or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, one in inner.items():
        yield from _walk((*path, name), one)


def render_command(path: tuple[str, ...], command: Command) -> str:
    """Return one command's section."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([*path, *(argument_word(p) for p in arguments), "[OPTIONS]" if options else ""]).strip()
    parts = [f"\n## {' '.join(path)} {{ #{anchor(path)} }}\n", f"```text\n{usage}\n```\n"]
    parts.append(f"{inspect.cleandoc(command.help or '')}\n")
    if arguments:
        rows = [(code(p.name), p.help or "") for p in arguments]
        parts.append(table(("argument", "what it is"), rows))
    if options:
        parts.append(table(("option", "value", "default", "what it does"), map(option_row, options)))
    return "\n".join(parts)


def argument_word(argument: Command) -> str:
    """Return an argument as a usage line has it."""
    word = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return word if argument.required else f"[{word}]"


def option_row(option: Command) -> tuple[str, str, str, str]:
    """Return an option's names, values, default and help."""
    names = ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))
    variable = f" Environment variable: `{option.envvar}`." if option.envvar else ""
    return names, values(option), default(option), f"{option.help or ''}{variable}"


def values(option: Command) -> str:
    """Return what an option takes: nothing for a flag, else choices or a kind of value."""
    if option.is_flag:
        return ""
    kind = option.type_descriptor.annotation
    return ", ".join(code(one) for one in _kinds(kind)) + (", may be repeated" if option.multiple else "")


def _kinds(kind: Any) -> list[str]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType, list, tuple):
        return [word for inner in typing.get_args(kind) if inner is not type(None) for word in _kinds(inner)]
    if typing.get_origin(kind) is typing.Literal:
        return [str(value) for value in typing.get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [str(member.value) for member in kind]
    return [{"str": "text", "float": "number", "int": "whole number", "Path": "path"}.get(
        getattr(kind, "__name__", ""), "text")]  # fmt: skip


def default(option: Command) -> str:
    """Return the default as it would be typed."""
    value = option.default() if callable(option.default) else option.default
    if value is None or value == [] or (option.is_flag and value is False):
        return ""
    if option.is_flag:
        return code(option.opts[0])
    return code(value.value if isinstance(value, enum.Enum) else value)


def anchor(path: tuple[str, ...]) -> str:
    """Return the name by which pages link to a command."""
    return "-".join(path[1:]) or path[0]


def sentence(told: str | None) -> str:
    """Return the first sentence of a help text."""
    return re.split(r"(?<=[.;])\s", " ".join((told or "").split()))[0]
