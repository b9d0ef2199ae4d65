"""Teams lie above keys and in other teams; everything that is spent in one shares its budget."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Unpack

from serve.ledger.accounts.changing import find_row, insert_row, update_row
from serve.ledger.accounts.settings import TeamSettings, columns_of
from serve.ledger.messages import Period
from serve.ledger.periods import period_start
from serve.ledger.picodollars import PICO_PER_USD
from serve.ledger.store.store import Store
from warehouse import InputError

MOST_LEVELS = 8  # of teams above a key


@dataclass(frozen=True)
class TeamRecord:
    """A team as the operator sees it; amounts are of its present period, with all that lies in it."""

    team_id: str
    name: str
    parent: str | None  # name of the team that it lies in
    budget_usd: float | None
    period: Period
    spent_usd: float
    reserved_usd: float
    requests: int
    keys: int  # active ones directly in it
    alert_at: tuple[int, ...] | None = None  # percent of its budget


class TeamBook:
    """The table ``teams`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db

    def create_team(self, name: str, **settings: Unpack[TeamSettings]) -> str:
        """Add a team; return its id. Its period is a month unless it is said.

        Raises:
            InputError: a team has that name, a setting is none, or there is no such parent.
        """
        columns = {"period": "month"} | columns_of(f"team {name!r}", settings)
        with self._db.transaction():
            if (parent := settings.get("parent")) is not None:
                columns["parent_id"] = self._parent_for(name, None, parent)
            return insert_row(self._db, "teams", name, columns)

    def change_team(self, name_or_id: str, **settings: Unpack[TeamSettings]) -> str:
        """Change a team, from the next request in it on; return its id.

        What was spent in it stays booked where it was: a team that moves takes nothing along.

        Raises:
            InputError: there is no such team or parent, a setting is none, or it would lie in itself.
        """
        columns = columns_of(f"team {name_or_id!r}", settings)
        with self._db.transaction():
            team_id = str(find_row(self._db, "teams", name_or_id)["team_id"])
            if "parent" in settings:
                parent = settings["parent"]
                columns["parent_id"] = (
                    None if parent is None else self._parent_for(name_or_id, team_id, parent)
                )
            update_row(self._db, "teams", team_id, columns)
            return team_id

    def remove_team(self, name_or_id: str) -> str:
        """Remove a team in which nothing is left; return its id. Its books stay.

        Raises:
            InputError: there is no such team, or keys or teams lie in it.
        """
        with self._db.transaction():
            team_id = str(find_row(self._db, "teams", name_or_id)["team_id"])
            inside = [
                str(row["name"])
                for row in self._db.all(
                    "select name from keys where team_id = ? and revoked_at is null"
                    " union all select name from teams where parent_id = ? and removed_at is null",
                    (team_id, team_id),
                )
            ]
            if inside:
                raise InputError(
                    f"{', '.join(inside[:5])}{', ...' if len(inside) > 5 else ''} would be left without it",
                    where=f"team {name_or_id!r}",
                    fix="revoke or move that first (`leeroo keys set`, `leeroo teams set`)",
                )
            update_row(self._db, "teams", team_id, {"removed_at": time.time()})
            return team_id

    def list_teams(self) -> list[TeamRecord]:
        """Return all teams but those removed, oldest first, with what was spent in their present period."""
        now = time.time()
        starts = [period_start(period, now) for period in ("day", "month", "total")]
        rows = self._db.all(
            "select teams.*, above.name as parent, coalesce(spending.spent, 0) as spent,"
            " coalesce(spending.reserved, 0) as reserved, coalesce(spending.requests, 0) as requests,"
            " (select count(*) from keys where keys.team_id = teams.team_id and revoked_at is null) as keys"
            " from teams left join teams as above on above.team_id = teams.parent_id"
            " left join spending on spending.key_id = teams.team_id and spending.period_start ="
            " case teams.period when 'day' then ? when 'month' then ? else ? end"
            " where teams.removed_at is null order by teams.created_at, teams.team_id",
            starts,
        )
        return [
            TeamRecord(
                team_id=row["team_id"],
                name=row["name"],
                parent=row["parent"],
                budget_usd=None if row["budget"] is None else row["budget"] / PICO_PER_USD,
                period=row["period"],
                spent_usd=row["spent"] / PICO_PER_USD,
                reserved_usd=row["reserved"] / PICO_PER_USD,
                requests=row["requests"],
                keys=row["keys"],
                alert_at=None if row["alert_at"] is None else tuple(json.loads(row["alert_at"])),
            )
            for row in rows
        ]

    def _parent_for(self, name: str, team_id: str | None, parent: str) -> str:
        """Return the id of the team that a team is to lie in."""
        where = f"team {name!r}"
        above = find_row(self._db, "teams", parent)
        rows = self._db.all("select team_id, parent_id from teams where removed_at is null")
        parents = {row["team_id"]: row["parent_id"] for row in rows}
        levels = 1
        at: str | None = above["team_id"]
        while at is not None:
            levels += 1
            if at == team_id:
                raise InputError(
                    f"{parent!r} lies in it", where=where, fix="give a team that does not lie in this one"
                )
            at = parents.get(at)
        if levels + _levels_below(team_id, parents) > MOST_LEVELS:
            raise InputError(
                f"{levels} levels of teams are too many",
                where=where,
                fix=f"give a team that leaves it and those in it within {MOST_LEVELS} levels",
            )
        return str(above["team_id"])


def _levels_below(team_id: str | None, parents: dict[str, str | None]) -> int:
    inside = [one for one, above in parents.items() if team_id is not None and above == team_id]
    return max((1 + _levels_below(one, parents) for one in inside), default=0)
