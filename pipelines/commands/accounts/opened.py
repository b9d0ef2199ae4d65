"""The ledger that a command works on, and the options that commands for keys and teams share."""

from __future__ import annotations

import getpass
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from serve.ledger.messages import Period
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from serve.ledger.ledger import Ledger

BudgetOption = Annotated[
    float | None, typer.Option(help="Maximum spend per period; unlimited unless it is set.")
]
PeriodOption = Annotated[
    Period | None, typer.Option(help="Period after which the budget is renewed; a month by default.")
]
AlertOption = Annotated[
    list[int] | None,
    typer.Option(help="Percent of the budget at which to alert; 50, 80 and 100 by default; may be repeated."),
]
ClearOption = Annotated[
    list[str] | None,
    typer.Option(help="Take a limit away, by the name of its option: --clear budget-usd; may be repeated."),
]
T = TypeVar("T")
#: Options whose settings have other names.
SETTINGS = {"expert": "experts", "expires": "expires_at"} | {
    one: f"{one}s" for one in ("model", "dialect", "network")
}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def open_ledger(home: Path, ledger: str | None) -> Ledger:
    """Return the ledger that the options name."""
    from serve.ledger.ledger import Ledger
    from serve.ledger.store.place import ledger_place

    return Ledger(ledger_place(Home.open(home).path, ledger))


def whoever() -> str:
    """Return who gives a command, for the ledger's log."""
    try:
        return f"command line, {getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name
        return "command line"


def percents(told: Sequence[int] | None) -> str:
    """Return the percents of a budget at which alerts are sent, as a cell of a table."""
    return "-" if told is None else ", ".join(map(str, told)) or "never"


def given(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that were given."""
    return {name: value for name, value in told.items() if value is not None}


def changes(where: str, told: Mapping[str, Any], clear: Sequence[str] | None) -> dict[str, Any]:
    """Return the settings to change; None for limits to take away.

    Args:
        where: whose they are, for messages.
        told: the options, None where they were not given.
        clear: names of options whose limits are taken away.

    Raises:
        InputError: nothing is to be changed, a limit that is to go is none, or it is to be set as well.
    """
    from warehouse import InputError

    wanted, away = given(told), dict[str, Any]()
    for option in clear or ():
        name = option.removeprefix("--").replace("-", "_")
        name = SETTINGS.get(name, name)
        if name not in told or name in {"period", "operator"}:
            names = ", ".join(one.replace("_", "-") for one in told if one not in {"period", "operator"})
            raise InputError(f"{option!r} is no limit to take away", where=where, fix=f"give one of {names}")
        if name in wanted:
            raise InputError(
                f"{option!r} is to be set and to be taken away", where=where, fix="give one of the two"
            )
        away[name] = None
    wanted |= away
    if not wanted:
        names = ", ".join(f"--{one.replace('_', '-')}" for one in told)
        raise InputError("nothing is to be changed", where=where, fix=f"give one of {names}, --clear")
    return wanted


def read_duration_s(told: str, where: str) -> float:
    """Return the seconds of a duration: 90s, 30m, 12h, 7d; 0 is none at all.

    Raises:
        InputError: it is none.
    """
    from warehouse import InputError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])|0", told.strip())
    if found is None:
        raise InputError(f"{told!r} is no duration", where=where, fix="write 90s, 30m, 12h or 7d")
    return float(found[1] or 0) * _UNITS_S[found[2] or "s"]


def read_moment(told: str, where: str) -> float:
    """Return a moment in seconds since 1970: a date or time (UTC unless it says), or a duration from now.

    Raises:
        InputError: it is none.
    """
    from warehouse import InputError

    try:
        moment = datetime.fromisoformat(told.strip())
    except ValueError:
        if not re.fullmatch(r"[\d.]+[smhd]", told.strip()):
            fix = "write 2027-01-31, 2027-01-31T18:00, or how long from now: 12h, 30d"
            raise InputError(f"{told!r} is no moment", where=where, fix=fix) from None
        return time.time() + read_duration_s(told, where)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def table_of_columns(
    rows: Sequence[T], columns: Mapping[str, Callable[[T], str]], always: Sequence[str]
) -> Table:
    """Lay rows out; columns that no row has a value for are left out, unless they are always shown."""
    from rich.table import Table

    told = {name: [tell(row) for row in rows] for name, tell in columns.items()}
    told = {name: cells for name, cells in told.items() if name in always or set(cells) - {"-"}}
    table = Table(*told)
    for row in zip(*told.values(), strict=True):
        table.add_row(*row)
    return table
