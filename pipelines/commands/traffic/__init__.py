"""``leeroo learn`` and ``leeroo traffic``: learn from what was served."""

from __future__ import annotations

import importlib

import typer

#: One file per command, in the order of ``leeroo traffic --help``.
COMMANDS = ("evaluate", "labels", "report", "forget", "texts")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    from pipelines.commands.traffic.learn import learn

    app.command("learn")(learn)
    traffic = typer.Typer(
        help="Evaluate, report on, import to, and forget recorded traffic.", no_args_is_help=True
    )
    for name in COMMANDS:
        importlib.import_module(f"pipelines.commands.traffic.{name}").register(traffic)
    app.add_typer(traffic, name="traffic")
