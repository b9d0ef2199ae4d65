"""``leeroo teams``: budgets that several keys share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.accounts.opened import (
    AlertOption,
    BudgetOption,
    ClearOption,
    PeriodOption,
    changes,
    given,
    open_ledger,
    percents,
    table_of_columns,
    whoever,
)
from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption, JsonOption, LedgerOption

if TYPE_CHECKING:
    from rich.table import Table

    from serve.ledger.accounts.teams import TeamRecord

ALWAYS_SHOWN = ("team", "name", "spent USD", "budget USD", "period", "requests", "keys")

NameArgument = Annotated[str, typer.Argument(help="Name or id of the team.")]
ParentOption = Annotated[str | None, typer.Option(help="Team that it lies in, by name or id.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    teams = typer.Typer(help="Manage teams: keys that share a budget.", no_args_is_help=True)
    teams.command("create")(create_team)
    teams.command("set")(set_team)
    teams.command("remove")(remove_team)
    teams.command("list")(list_teams)
    app.add_typer(teams, name="teams")


def create_team(
    name: Annotated[str, typer.Argument(help="Name of the team.")],
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    budget_usd: BudgetOption = None,
    period: PeriodOption = None,
    parent: ParentOption = None,
    alert_at: AlertOption = None,
) -> None:
    """Create a team. Everything that its keys and its teams spend counts against its budget."""
    settings = given({"budget_usd": budget_usd, "period": period, "parent": parent, "alert_at": alert_at})
    books = open_ledger(home, ledger)
    with books.noted(whoever(), "teams.create", name, settings):
        team_id = books.create_team(name, **settings)
    typer.echo(f"{team_id} is {name}.")


def set_team(
    name: NameArgument,
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    budget_usd: BudgetOption = None,
    period: PeriodOption = None,
    parent: ParentOption = None,
    alert_at: AlertOption = None,
    clear: ClearOption = None,
) -> None:
    """Change a team, from the next request of its keys on. What was spent stays booked where it was."""
    told = {"budget_usd": budget_usd, "period": period, "parent": parent, "alert_at": alert_at}
    settings = changes(f"team {name!r}", told, clear)
    books = open_ledger(home, ledger)
    with books.noted(whoever(), "teams.change", name, settings):
        team_id = books.change_team(name, **settings)
    typer.echo(f"{team_id} is changed.")


def remove_team(name: NameArgument, home: HomeOption = DEFAULT_HOME, ledger: LedgerOption = None) -> None:
    """Remove a team that has no keys and no teams any more; its books stay."""
    books = open_ledger(home, ledger)
    with books.noted(whoever(), "teams.remove", name, {}):
        team_id = books.remove_team(name)
    typer.echo(f"{team_id} is removed.")


def list_teams(
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List teams with their budgets, and what all that lies in them spent in their present periods."""
    from pipelines.commands.terminal.console import Terminal

    teams = open_ledger(home, ledger).list_teams()
    if as_json or as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records([asdict(team) for team in teams], sys.stdout, as_csv=as_csv)
        return
    Terminal().print(team_table(teams))


def team_table(teams: Sequence[TeamRecord]) -> Table:
    """Lay teams out."""
    columns: dict[str, Callable[[TeamRecord], str]] = {
        "team": lambda team: team.team_id,
        "name": lambda team: team.name,
        "in": lambda team: team.parent or "-",
        "spent USD": lambda team: f"{team.spent_usd:.6g}",
        "budget USD": lambda team: "-" if team.budget_usd is None else f"{team.budget_usd:g}",
        "period": lambda team: team.period,
        "requests": lambda team: str(team.requests),
        "keys": lambda team: str(team.keys),
        "alert at %": lambda team: percents(team.alert_at),
    }
    return table_of_columns(teams, columns, ALWAYS_SHOWN)
