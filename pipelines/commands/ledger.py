"""``leeroo ledger``: whether the books of the keys add up, and their way to PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption, LedgerOption
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from serve.ledger.audit import Audit


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    ledger = typer.Typer(help="Check what keys were charged; move the ledger.", no_args_is_help=True)
    ledger.command("check")(check)
    ledger.command("migrate")(migrate)
    app.add_typer(ledger, name="ledger")


def check(
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_csv: CsvOption = False,
) -> None:
    """Compare what keys were charged with their calls, to the picodollar; exit code 1 if it differs."""
    import json
    import sys
    from dataclasses import asdict

    from pipelines.commands.terminal.console import Terminal
    from serve.ledger.audit import check_books
    from serve.ledger.store.place import has_ledger, ledger_place
    from warehouse import NotReadyError

    place = ledger_place(Home.open(home).path, ledger)
    if not has_ledger(place):
        raise NotReadyError("there are no books yet", where=str(place), fix="leeroo keys create NAME")
    audit = check_books(place)
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


def migrate(home: HomeOption = DEFAULT_HOME, ledger: LedgerOption = None) -> None:
    """Move the ledger of a home from its file to PostgreSQL; stop its endpoint before.

    All is copied and read back in one transaction, or nothing is. The file is kept as ledger.db.old.
    """
    from pipelines.commands.terminal.console import print_line
    from serve.ledger.audit import check_books
    from serve.ledger.moving import move_ledger
    from serve.ledger.store.place import LEDGER_FILE, PostgresPlace, ledger_place
    from warehouse import InputError

    folder = Home.open(home).path
    place = ledger_place(folder, ledger)
    if not isinstance(place, PostgresPlace):
        raise InputError(
            "nothing says where the ledger is to go",
            fix="put postgresql://user:password@host:5432/database into LEEROO_LEDGER, or give --ledger",
        )
    moved = move_ledger(folder / LEDGER_FILE, place)
    print_line(f"Moved to {place}: {moved['keys']} keys, {moved['calls']} calls,")
    print_line(f"{moved['traffic']} rows on their way to the warehouse. From now on set LEEROO_LEDGER.")
    faults = check_books(place).faults
    for fault in faults:
        print_line(fault)
    print_line("Charges and calls do not match." if faults else "Charges and calls match.")
    if faults:
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
