"""``leeroo forge``: from a gap to a specialist. A file per part of it."""

from __future__ import annotations

import importlib

import typer

FILES = ("gaps", "plan", "specialists", "contest", "close")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    forge = typer.Typer(
        help="Make a specialist for a gap: a LoRA adapter of a small model, tested before it is used.",
        no_args_is_help=True,
    )
    for name in FILES:
        importlib.import_module(f"pipelines.commands.forge.{name}").register(forge)
    app.add_typer(forge, name="forge")
