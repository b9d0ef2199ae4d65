"""``leeroo keys``: who may use the endpoint, and for how much."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption, JsonOption, LedgerOption
from serve.ledger.messages import Period
from serve.wire.presets import Preset
from serve.wire.recording import Recording
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from serve.ledger.keys import KeyRecord
    from serve.ledger.ledger import Ledger

#: Columns of the table of keys that are there even where no key has a value.
ALWAYS_SHOWN = ("key", "name", "spent USD", "budget USD", "period", "requests", "state")

RecordOption = Annotated[
    Recording | None,
    typer.Option(
        help="What to record of this key's requests: none, features or texts; never more than the endpoint."
    ),
]
ShareOption = Annotated[
    float | None,
    typer.Option(help="Share of this key's requests to explore on; the endpoint's by default.", min=0, max=1),
]
PerDayOption = Annotated[
    float | None,
    typer.Option(
        help="Maximum extra cost of exploring this key's requests per day, within the endpoint's limit.",
        min=0,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    keys = typer.Typer(
        help="Manage API keys: who may use the endpoint, and for how much.", no_args_is_help=True
    )
    keys.command("create")(create_key)
    keys.command("set")(set_key)
    keys.command("revoke")(revoke_key)
    keys.command("list")(list_keys)
    app.add_typer(keys, name="keys")


def create_key(
    name: Annotated[str, typer.Argument(help="Owner of the key.")],
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    budget_usd: Annotated[
        float | None, typer.Option(help="Maximum spend per period; unlimited by default.")
    ] = None,
    period: Annotated[Period, typer.Option(help="Period after which the budget is renewed.")] = "month",
    paced_over: Annotated[
        int | None,
        typer.Option(
            help="Pace the budget over this many requests per period: answers get cheaper, not fewer."
        ),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Maximum requests per minute.")] = None,
    expert: Annotated[list[str] | None, typer.Option(help="Allow this expert only; may be repeated.")] = None,
    preset: Annotated[
        Preset | None, typer.Option(help="Preset that the model name leeroo stands for.")
    ] = None,
    max_experts_asked: Annotated[
        int | None, typer.Option(help="Maximum number of experts that may answer one request.")
    ] = None,
    max_latency_s: Annotated[float | None, typer.Option(help="Maximum seconds for one answer.")] = None,
    record: RecordOption = None,
    explore_share: ShareOption = None,
    explore_usd_per_day: PerDayOption = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="It sees all requests, keys and spending in the overview.")
    ] = False,
    catalogue: Annotated[
        Path | None, typer.Option(help="Catalogue that --expert refers to; the default one if not given.")
    ] = None,
) -> None:
    """Create a key. Its secret is shown once and never stored."""
    if expert:
        _check_experts(expert, catalogue)
    key_id, secret = _open(home, ledger).create_key(
        name,
        budget_usd=budget_usd,
        period=period,
        requests_per_minute=requests_per_minute,
        experts=expert,
        preset=preset,
        paced_over=paced_over,
        max_experts_asked=max_experts_asked,
        max_latency_s=max_latency_s,
        record=record,
        explore_share=explore_share,
        explore_usd_per_day=explore_usd_per_day,
        operator=operator,
    )
    typer.echo(f"{key_id} for {name}. Keep the secret, it is not shown again:\n{secret}")


def _open(home: Path, ledger: str | None) -> Ledger:
    from serve.ledger.ledger import Ledger
    from serve.ledger.store.place import ledger_place

    return Ledger(ledger_place(Home.open(home).path, ledger))


def _check_experts(names: list[str], catalogue: Path | None) -> None:
    """A key for an expert that nothing serves would be refused at every request."""
    from experts import load_catalogue
    from warehouse import InputError

    known = load_catalogue(catalogue)
    for name in names:
        if name not in known.names:
            raise InputError(
                f"no expert is called {name!r}",
                where=f"--expert, catalogue {known.path}",
                fix=f"use one of {', '.join(known.names)}, or name their file with --catalogue",
            )


def set_key(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")],
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    record: RecordOption = None,
    explore_share: ShareOption = None,
    explore_usd_per_day: PerDayOption = None,
) -> None:
    """Change what is recorded and explored for a key, from its next request on."""
    from warehouse import InputError

    if record is None and explore_share is None and explore_usd_per_day is None:
        raise InputError(
            "nothing is to be changed",
            where=f"key {name!r}",
            fix="give --record, --explore-share or --explore-usd-per-day",
        )
    key_id = _open(home, ledger).change_key(
        name, record=record, explore_share=explore_share, explore_usd_per_day=explore_usd_per_day
    )
    typer.echo(f"{key_id} is changed.")


def revoke_key(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")],
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
) -> None:
    """Revoke a key at once and for good."""
    typer.echo(f"{_open(home, ledger).revoke_key(name)} is revoked.")


def list_keys(
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List keys with their limits, their spend in the current period, and today's cost of exploring."""
    from pipelines.commands.terminal.console import Terminal, print_line

    books = _open(home, ledger)
    if as_json or as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records([asdict(key) for key in books.list_keys()], sys.stdout, as_csv=as_csv)
        return
    Terminal().print(key_table(books.list_keys()))
    if explored_usd := books.exploring.spent_usd().get("", 0.0):
        print_line(f"Exploring cost ${explored_usd:.6g} today beyond the experts that were the choice.")


def key_table(keys: Sequence[KeyRecord]) -> Table:
    """Lay keys out, with what they spent in their present period; settings that no key has are left out."""
    from rich.table import Table

    columns: dict[str, Callable[[KeyRecord], str]] = {
        "key": lambda key: key.key_id,
        "name": lambda key: key.name,
        "spent USD": lambda key: f"{key.spent_usd:.6g}",
        "budget USD": lambda key: "-" if key.budget_usd is None else f"{key.budget_usd:g}",
        "period": lambda key: key.period,
        "requests": lambda key: str(key.requests),
        "paced over": lambda key: str(key.paced_over or "-"),
        "requests/min": lambda key: str(key.requests_per_minute or "-"),
        "experts": lambda key: ", ".join(key.experts or ()) or "-",
        "preset": lambda key: key.preset or "-",
        "record": lambda key: key.record or "-",
        "explore": lambda key: "-" if key.explore_share is None else f"{key.explore_share:g}",
        "exploring USD": lambda key: f"{key.explored_usd:.6g}" if key.explored_usd else "-",
        "operator": lambda key: "yes" if key.operator else "-",
        "state": lambda key: "revoked" if key.revoked else "active",
    }
    told = {name: [tell(key) for key in keys] for name, tell in columns.items()}
    told = {name: cells for name, cells in told.items() if name in ALWAYS_SHOWN or set(cells) - {"-"}}
    table = Table(*told)
    for row in zip(*told.values(), strict=True):
        table.add_row(*row)
    return table
