"""``leeroo prices``: what the catalogue's experts cost, and what a list of prices says of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import CatalogueOption, CsvOption, JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from experts.price_update import PriceChange, PriceReview


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(help="Update the prices in the catalogue.", no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("update")(update)
    app.add_typer(group, name="prices")


def update(
    source: Annotated[
        str,
        typer.Option(
            "--from", help="A JSON or YAML file of prices, or litellm for the list of that package."
        ),
    ],
    catalogue: CatalogueOption = None,
    expert: Annotated[
        list[str] | None,
        typer.Option(help="EXPERT=KEY: the entry of the list that is this expert's; may be repeated."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day (UTC) from which new prices hold; today if not given."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Write the new prices; else they are only shown.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show what a list of prices would change in the catalogue, and write it with --yes.

    New prices are added with their day; earlier ones stay, and so does what was charged by them.
    """
    from experts import load_catalogue
    from experts.catalogue_file import DEFAULT_CATALOGUE
    from experts.price_map import read_price_map
    from experts.price_update import review_prices
    from experts.price_writing import write_prices
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.query_output import write_records
    from warehouse import InputError

    if yes and (catalogue is None or Path(catalogue).resolve() == DEFAULT_CATALOGUE.resolve()):
        raise InputError(
            "the default catalogue is a part of the program", where="--yes", fix="name yours by --catalogue"
        )
    day = (since or datetime.now(UTC)).date()
    known = load_catalogue(catalogue)
    prices = read_price_map(source)
    review = review_prices(known, prices, since=day, named=_named(expert or []))
    if as_json or as_csv:
        write_records(_records(review, str(day)), sys.stdout, as_csv=as_csv)
    else:
        _show(review, prices.origin)
    if yes and review.changes:
        write_prices(known, review.changes)
    if not (as_json or as_csv):
        count = len(review.changes)
        if not count:
            told = "nothing to write"
        elif yes:
            told = f"{known.path}: {count} new prices since {day}; earlier ones stay"
        else:
            told = f"{count} new prices; nothing is written, --yes writes them"
        print_line(told)


def price_table(changes: Sequence[PriceChange]) -> Table:
    """Lay out what would change, a row for each price."""
    from rich.table import Table

    table = Table()
    for column in ("expert", "entry", "price", "was", "becomes"):
        table.add_column(column, justify="right" if column in ("was", "becomes") else "left")
    for change in changes:
        for row, one in enumerate(change.differences):
            names = (change.expert, change.key) if not row else ("", "")
            table.add_row(*names, one.field, _figure(one.was), _figure(one.becomes))
    return table


def _show(review: PriceReview, origin: str) -> None:
    from pipelines.commands.terminal.console import Terminal, print_line

    if review.changes:
        Terminal().print(price_table(review.changes))
    if review.same:
        print_line(f"as in {origin}: {', '.join(review.same)}")
    for expert, why in review.unknown.items():
        print_line(f"{expert}: {why}; --expert {expert}=KEY names its entry")
    for expert, missed in review.left_out.items():
        print_line(f"{expert}: {origin} also has {', '.join(missed)}, which no price here has a word for")


def _records(review: PriceReview, day: str) -> list[dict[str, object]]:
    return [
        {
            **{"expert": change.expert, "key": change.key, "since": day, "field": one.field},
            **{"was": one.was, "becomes": one.becomes},
        }
        for change in review.changes
        for one in change.differences
    ]


def _figure(usd: float | None) -> str:
    return "-" if usd is None else f"{usd:g}"


def _named(pairs: list[str]) -> dict[str, str]:
    from warehouse import InputError

    named = {}
    for pair in pairs:
        name, equals, key = pair.partition("=")
        if not equals or not name.strip() or not key.strip():
            raise InputError(
                f"{pair!r} names no entry", where="--expert", fix="write EXPERT=KEY, as in ann=openai/gpt-4o"
            )
        named[name.strip()] = key.strip()
    return named
