"""``leeroo traffic texts`` and ``make-key``: what texts lie here, and the key that seals them."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import typer

from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption, JsonOption
from pipelines.commands.traffic.forget import RequestOption
from warehouse.home import Home


def register(traffic: typer.Typer) -> None:
    """Add the commands to their group."""
    traffic.command("texts")(show_texts)
    traffic.command("make-key")(make_text_key)


def show_texts(
    request: RequestOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show how many texts are stored, since when, and whether they are encrypted; --request shows one."""
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.query_output import write_records
    from warehouse.traffic.texts import TextStore

    store = TextStore(Home.open(home).path)
    if request and as_csv:
        write_records([asdict(text) for text in store.read(request).values()], sys.stdout, as_csv=True)
        return
    if request:
        for text in store.read(request).values():
            typer.echo(json.dumps(asdict(text), default=str))
        return
    held = store.held()
    if as_json or as_csv:
        write_records([asdict(held)], sys.stdout, as_csv=as_csv)
        return
    since = f", the oldest from {held.oldest:%Y-%m-%d %H:%M} UTC" if held.oldest else ""
    print_line(f"{held.texts:,} texts, {held.plain:,} of them plain, {held.size_bytes / 1e6:.1f} MB{since}")


def make_text_key() -> None:
    """Print a new key for texts. It is stored nowhere: without it, texts it encrypted cannot be read."""
    from warehouse.traffic.sealing import make_key

    typer.echo(make_key())
