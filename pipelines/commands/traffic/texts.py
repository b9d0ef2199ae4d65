"""``leeroo traffic texts`` and ``make-key``: what texts lie here, and the key that seals them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from pipelines.commands.traffic.forget import RequestOption
from warehouse.home import Home


def register(traffic: typer.Typer) -> None:
    """Add the commands to their group."""
    traffic.command("texts")(show_texts)
    traffic.command("make-key")(make_text_key)


def show_texts(
    request: RequestOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show how many texts are stored, since when, and whether they are encrypted; --request shows one."""
    from pipelines.commands.screen import print_line
    from warehouse.traffic.texts import TextStore

    store = TextStore(Home.open(home).path)
    if request:
        for text in store.read(request).values():
            typer.echo(json.dumps(asdict(text), default=str))
        return
    held = store.held()
    if as_json:
        typer.echo(json.dumps(asdict(held), default=str))
        return
    since = f", the oldest from {held.oldest:%Y-%m-%d %H:%M} UTC" if held.oldest else ""
    print_line(f"{held.texts:,} texts, {held.plain:,} of them plain, {held.size_bytes / 1e6:.1f} MB{since}")


def make_text_key() -> None:
    """Print a new key for texts. It is stored nowhere: without it, texts it encrypted cannot be read."""
    from warehouse.traffic.sealing import make_key

    typer.echo(make_key())
