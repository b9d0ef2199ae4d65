"""``leeroo ledger``: whether the books of the keys add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from serve.ledger.audit import Audit


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    ledger = typer.Typer(help="Check what keys were charged.", no_args_is_help=True)
    ledger.callback()(_ledger)
    ledger.command("check")(check)
    app.add_typer(ledger, name="ledger")


def _ledger() -> None:
    """Keep `check` a command of its own, though it is the only one."""


def check(
    home: HomeOption = DEFAULT_HOME,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_csv: CsvOption = False,
) -> None:
    """Compare what keys were charged with their calls, to the picodollar; exit code 1 if it differs."""
    import json
    import sys
    from dataclasses import asdict

    from pipelines.commands.terminal.console import Terminal
    from serve.ledger.audit import check_books
    from serve.ledger.store.place import LEDGER_FILE
    from warehouse import NotReadyError

    path = Home.open(home).path / LEDGER_FILE
    if not path.exists() and not path.with_suffix(".keys").exists():
        raise NotReadyError("there are no books yet", where=str(path), fix="leeroo keys create NAME")
    audit = check_books(path)
    if as_json:
        typer.echo(json.dumps(asdict(audit) | {"disputed_usd": audit.disputed_usd}, indent=2))
    elif as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records([asdict(books) for books in audit.periods], sys.stdout, as_csv=True)
    else:
        console = Terminal()
        console.print(books_table(audit))
        for fault in audit.faults:
            console.print(fault, style="red")
        if audit.disputed_usd:
            console.print(
                f"${audit.disputed_usd:.6g} were claimed by upstreams, or may be billed, beyond what keys"
                " were charged: yours to settle with them."
            )
        console.print("Charges and calls do not match." if audit.faults else "Charges and calls match.")
    if audit.faults:
        raise typer.Exit(1)


def books_table(audit: Audit) -> Table:
    """Lay the books of the keys out, a row for each period."""
    from rich.table import Table

    from serve.ledger.picodollars import PICO_PER_USD

    table = Table("key", "period", "charged USD", "disputed USD", "reserved USD", "budget USD", "calls")
    for books in audit.periods:
        amounts = (books.spent, books.disputed, books.reserved)
        table.add_row(
            books.name or books.key_id or "(nobody)",
            books.period_start,
            *(f"{pico / PICO_PER_USD:.6g}" for pico in amounts),
            "-" if books.budget is None else f"{books.budget / PICO_PER_USD:g}",
            str(books.calls),
        )
    return table
