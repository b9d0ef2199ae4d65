"""``leeroo keys``: who may use the endpoint, and for how much."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.accounts.opened import (
    SETTINGS,
    AlertOption,
    BudgetOption,
    ClearOption,
    PeriodOption,
    changes,
    given,
    open_ledger,
    percents,
    read_duration_s,
    read_moment,
    table_of_columns,
    whoever,
)
from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption, JsonOption, LedgerOption
from serve.wire.dialects import DIALECT_PATHS
from serve.wire.presets import Preset
from serve.wire.recording import Recording

if TYPE_CHECKING:
    from rich.table import Table

    from serve.ledger.accounts.keys import KeyRecord

#: Columns of the table of keys that are there even where no key has a value.
ALWAYS_SHOWN = ("key", "name", "spent USD", "budget USD", "period", "requests", "state")

TeamOption = Annotated[
    str | None, typer.Option(help="Team whose budget it shares, by name or id (`leeroo teams`).")
]
PacedOption = Annotated[
    int | None,
    typer.Option(help="Pace the budget over this many requests per period: answers get cheaper, not fewer."),
]
RateOption = Annotated[int | None, typer.Option(help="Maximum requests per minute.")]
ExpertOption = Annotated[list[str] | None, typer.Option(help="Allow this expert only; may be repeated.")]
PresetOption = Annotated[Preset | None, typer.Option(help="Preset that the model name leeroo stands for.")]
AskedOption = Annotated[
    int | None, typer.Option(help="Maximum number of experts that may answer one request.")
]
LatencyOption = Annotated[float | None, typer.Option(help="Maximum seconds for one answer.")]
ExpiresOption = Annotated[
    str | None, typer.Option(help="When it ends: 2027-01-31 (UTC), or how long from now, such as 30d.")
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(help="Allow this model name only, such as leeroo:economy; may be repeated."),
]
DialectOption = Annotated[
    list[str] | None,
    typer.Option(help=f"Allow this dialect only ({', '.join(DIALECT_PATHS)}); may be repeated."),
]
NetworkOption = Annotated[
    list[str] | None,
    typer.Option(help="Allow requests from this network only, as CIDR (10.0.0.0/8); may be repeated."),
]
CatalogueOfExperts = Annotated[
    Path | None, typer.Option(help="Catalogue that --expert refers to; the default one if not given.")
]
RecordOption = Annotated[
    Recording | None,
    typer.Option(
        help="What to record of this key's requests: none, features or texts; never more than the endpoint."
    ),
]
ShareOption = Annotated[
    float | None,
    typer.Option(help="Share of this key's requests to explore on; the endpoint's by default."),
]
PerDayOption = Annotated[
    float | None,
    typer.Option(
        help="Maximum extra cost of exploring this key's requests per day, within the endpoint's limit.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    keys = typer.Typer(
        help="Manage API keys: who may use the endpoint, and for how much.", no_args_is_help=True
    )
    keys.command("create")(create_key)
    keys.command("set")(set_key)
    keys.command("rotate")(rotate_key)
    keys.command("revoke")(revoke_key)
    keys.command("list")(list_keys)
    app.add_typer(keys, name="keys")


def create_key(
    name: Annotated[str, typer.Argument(help="Owner of the key.")],
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    budget_usd: BudgetOption = None,
    period: PeriodOption = None,
    team: TeamOption = None,
    paced_over: PacedOption = None,
    requests_per_minute: RateOption = None,
    expert: ExpertOption = None,
    preset: PresetOption = None,
    max_experts_asked: AskedOption = None,
    max_latency_s: LatencyOption = None,
    record: RecordOption = None,
    explore_share: ShareOption = None,
    explore_usd_per_day: PerDayOption = None,
    expires: ExpiresOption = None,
    model: ModelOption = None,
    dialect: DialectOption = None,
    network: NetworkOption = None,
    alert_at: AlertOption = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="It sees all requests, keys and spending in the overview.")
    ] = False,
    admin: Annotated[
        bool, typer.Option("--admin", help="It manages keys and teams by the admin API, and asks nothing.")
    ] = False,
    catalogue: CatalogueOfExperts = None,
) -> None:
    """Create a key. Its secret is shown once and never stored."""
    told = _settings_of(
        name, catalogue,
        budget_usd=budget_usd, period=period, team=team, paced_over=paced_over,
        requests_per_minute=requests_per_minute, expert=expert, preset=preset,
        max_experts_asked=max_experts_asked, max_latency_s=max_latency_s, record=record,
        explore_share=explore_share, explore_usd_per_day=explore_usd_per_day, expires=expires, model=model,
        dialect=dialect, network=network, alert_at=alert_at,
    )  # fmt: skip
    settings = given(told) | {"operator": operator} | ({"admin": True} if admin else {})
    books = open_ledger(home, ledger)
    with books.noted(whoever(), "keys.create", name, settings):
        key_id, secret = books.create_key(name, **settings)
    typer.echo(f"{key_id} for {name}. Keep the secret, it is not shown again:\n{secret}")


def _settings_of(name: str, catalogue: Path | None, **options: Any) -> dict[str, Any]:
    """Return the settings of a key by their names, as its options say; None for those that were not given."""
    if options["expert"]:
        _check_experts(options["expert"], catalogue)
    if options["expires"] is not None:
        options["expires"] = read_moment(options["expires"], f"key {name!r}, --expires")
    return {SETTINGS.get(option, option): value for option, value in options.items()}


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
    budget_usd: BudgetOption = None,
    period: PeriodOption = None,
    team: TeamOption = None,
    paced_over: PacedOption = None,
    requests_per_minute: RateOption = None,
    expert: ExpertOption = None,
    preset: PresetOption = None,
    max_experts_asked: AskedOption = None,
    max_latency_s: LatencyOption = None,
    record: RecordOption = None,
    explore_share: ShareOption = None,
    explore_usd_per_day: PerDayOption = None,
    expires: ExpiresOption = None,
    model: ModelOption = None,
    dialect: DialectOption = None,
    network: NetworkOption = None,
    alert_at: AlertOption = None,
    operator: Annotated[
        bool | None, typer.Option("--operator/--no-operator", help="Whether it sees everybody's figures.")
    ] = None,
    clear: ClearOption = None,
    catalogue: CatalogueOfExperts = None,
) -> None:
    """Change a key, from its next request on. What it spent stays booked where it was."""
    told = _settings_of(
        name, catalogue,
        budget_usd=budget_usd, period=period, team=team, paced_over=paced_over,
        requests_per_minute=requests_per_minute, expert=expert, preset=preset,
        max_experts_asked=max_experts_asked, max_latency_s=max_latency_s, record=record,
        explore_share=explore_share, explore_usd_per_day=explore_usd_per_day, expires=expires, model=model,
        dialect=dialect, network=network, alert_at=alert_at, operator=operator,
    )  # fmt: skip
    books, settings = open_ledger(home, ledger), changes(f"key {name!r}", told, clear)
    with books.noted(whoever(), "keys.change", name, settings):
        key_id = books.change_key(name, **settings)
    typer.echo(f"{key_id} is changed.")


def rotate_key(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")],
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    grace: Annotated[
        str, typer.Option(help="How long the old secret still works: 30m, 24h, 7d; 0 ends it now.")
    ] = "24h",
) -> None:
    """Give a key a new secret, which is shown once. Its budget, its limits and what it spent stay."""
    grace_s = read_duration_s(grace, f"key {name!r}, --grace")
    books = open_ledger(home, ledger)
    with books.noted(whoever(), "keys.rotate", name, {"grace_s": grace_s}):
        key_id, secret = books.rotate_key(name, grace_s)
    told = f"The old secret works for {grace} more." if grace_s else "The old secret is refused from now on."
    typer.echo(f"{key_id} has a new secret. {told} Keep this one, it is not shown again:\n{secret}")


def revoke_key(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")],
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
) -> None:
    """Revoke a key at once and for good."""
    books = open_ledger(home, ledger)
    with books.noted(whoever(), "keys.revoke", name, {}):
        key_id = books.revoke_key(name)
    typer.echo(f"{key_id} is revoked.")


def list_keys(
    home: HomeOption = DEFAULT_HOME,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List keys with their limits, their spend in the current period, and today's cost of exploring."""
    from pipelines.commands.terminal.console import Terminal, print_line

    books = open_ledger(home, ledger)
    if as_json or as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records([asdict(key) for key in books.list_keys()], sys.stdout, as_csv=as_csv)
        return
    Terminal().print(key_table(books.list_keys()))
    if explored_usd := books.exploring.spent_usd().get("", 0.0):
        print_line(f"Exploring cost ${explored_usd:.6g} today beyond the experts that were the choice.")


def key_table(keys: Sequence[KeyRecord]) -> Table:
    """Lay keys out, with what they spent in their present period; settings that no key has are left out."""
    columns: dict[str, Callable[[KeyRecord], str]] = {
        "key": lambda key: key.key_id,
        "name": lambda key: key.name,
        "team": lambda key: key.team or "-",
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
        "models": lambda key: ", ".join(key.models or ()) or "-",
        "dialects": lambda key: ", ".join(key.dialects or ()) or "-",
        "networks": lambda key: ", ".join(key.networks or ()) or "-",
        "expires": lambda key: key.expires_at or "-",
        "old secret until": lambda key: key.old_secret_until or "-",
        "alert at %": lambda key: percents(key.alert_at),
        "operator": lambda key: "yes" if key.operator else "-",
        "admin": lambda key: "yes" if key.admin else "-",
        "state": lambda key: "revoked" if key.revoked else "expired" if key.is_expired else "active",
    }
    return table_of_columns(keys, columns, ALWAYS_SHOWN)
