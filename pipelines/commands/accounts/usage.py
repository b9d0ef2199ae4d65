"""``leeroo usage``: what keys and teams used, by day and expert."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.accounts.opened import open_ledger, table_of_columns
from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption, JsonOption, LedgerOption

if TYPE_CHECKING:
    from rich.table import Table

    from serve.ledger.accounts.usage import UsageRecord

ALWAYS_SHOWN = ("answers", "prompt tokens", "completion tokens", "cost USD")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("usage")(usage)


def usage(
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    by: Annotated[
        str, typer.Option(help="What rows are apart by, of day, key, team, expert.")
    ] = "key,team,expert",
    since: Annotated[
        str | None, typer.Option(help="First day (UTC), as 2027-01-31; the month's first by default.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last day (UTC); today by default.")] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Sum up what was charged to keys, by day, key, team and expert."""
    from pipelines.commands.terminal.console import Terminal

    today = datetime.now(UTC).date()
    first = today.replace(day=1) if since is None else _day(since, "--since")
    last = today if until is None else _day(until, "--until")
    names = [one.strip() for one in by.split(",") if one.strip()]
    rows = open_ledger(home, ledger).usage.sum_up(names, str(first), str(last))
    if as_json or as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records([asdict(row) for row in rows], sys.stdout, as_csv=as_csv)
        return
    Terminal().print(usage_table(rows))


def usage_table(rows: Sequence[UsageRecord]) -> Table:
    """Lay usage out."""
    columns: dict[str, Callable[[UsageRecord], str]] = {
        "day": lambda row: row.day or "-",
        "key": lambda row: row.key or "-",
        "team": lambda row: row.team or "-",
        "expert": lambda row: row.expert or "-",
        "answers": lambda row: str(row.answers),
        "prompt tokens": lambda row: str(row.prompt_tokens),
        "completion tokens": lambda row: str(row.completion_tokens),
        "cost USD": lambda row: f"{row.cost_usd:.6g}",
    }
    return table_of_columns(rows, columns, ALWAYS_SHOWN)


def _day(told: str, where: str) -> date:
    from warehouse import InputError

    try:
        return date.fromisoformat(told)
    except ValueError:
        raise InputError(f"{told!r} is no day", where=where, fix="write 2027-01-31") from None
