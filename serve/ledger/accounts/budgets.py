"""The budgets that a call lies in: its key's, and those of the teams above it, each with a period of its own.

What a call sets aside and costs is booked in every one of them, in the transaction that grants it: none is
ever exceeded, whoever else spends in it. A call stays with the budgets and periods that it began in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve.ledger.ahead import TEAMS_ABOVE, Ahead
from serve.ledger.alerts.outbox import AlertBook, kind_of
from serve.ledger.periods import period_start
from serve.ledger.picodollars import MOST_PICO, PICO_PER_USD
from serve.ledger.store.store import Row, Store

_ADD = f"""
insert into spending as book (key_id, period_start, spent, reserved, disputed, requests)
values (?, ?, ?, ?, ?, ?) on conflict (key_id, period_start) do update set
  spent = case when book.spent + excluded.spent > {MOST_PICO} then {MOST_PICO}
    else book.spent + excluded.spent end,
  reserved = book.reserved + excluded.reserved,
  disputed = case when book.disputed + excluded.disputed > {MOST_PICO} then {MOST_PICO}
    else book.disputed + excluded.disputed end,
  requests = book.requests + excluded.requests
"""

Place = tuple[str, str]  # id of a key or a team, and the period


@dataclass(frozen=True)
class Budget:
    """A period of a key or a team: what it has, and what is spent, set aside and asked in it."""

    place: Place
    holder: str  # whose it is, for messages
    period: str
    budget: int | None  # in picodollars
    spent: int
    reserved: int
    requests: int

    @property
    def left(self) -> int | None:
        """What may still be set aside; None where there is no limit."""
        return None if self.budget is None else self.budget - self.spent - self.reserved

    @property
    def told_left(self) -> str:
        """The same in words."""
        left_usd = max(self.left or 0, 0) / PICO_PER_USD
        return f"{self.holder} has ${left_usd:.6g} left of its budget ({self.period})"


def tightest(budgets: Sequence[Budget]) -> Budget | None:
    """Return the one that leaves the least, of equals the key's; None where none has a limit."""
    limited = [one for one in budgets if one.left is not None]
    return min(limited, key=lambda one: one.left or 0, default=None)


def places_of(call: Row) -> tuple[Place, ...]:
    """Return where a call is booked: its key's period, then those of the teams that it began in."""
    teams = json.loads(call["teams"]) if call["teams"] else ()
    return ((call["key_id"], call["period_start"]), *((team_id, start) for team_id, start in teams))


def teams_to_keep(places: Sequence[Place]) -> str | None:
    """Return what a call keeps of its teams and their periods."""
    return json.dumps(places[1:]) if len(places) > 1 else None


class BudgetBook:
    """The table ``spending`` of a ledger, and what it is compared with."""

    def __init__(self, db: Store) -> None:
        self._db = db
        self._ahead = Ahead()
        self._alerts = AlertBook(db)

    def use(self, ahead: Ahead) -> None:
        """Take rows from there as long as it has them, until the next call of this."""
        self._ahead = ahead

    def above(self, key: Row, now: float) -> tuple[Budget, ...]:
        """Return the budgets that a call of a key lies in from now on, the key's own first."""
        accounts = [(key["key_id"], key), *((team["team_id"], team) for team in self._teams_above(key))]
        return tuple(self._budget(own_id, row, period_start(row["period"], now)) for own_id, row in accounts)

    def of_call(self, call: Row) -> tuple[Budget, ...]:
        """Return the budgets that a call lies in since it began, its key's first."""
        found = []
        for own_id, start in places_of(call):
            if (row := self._owner(own_id)) is not None:
                found.append(self._budget(own_id, row, start))
        return tuple(found)

    def key(self, key_id: str) -> Row | None:
        """Return the row of a key."""
        if key_id in self._ahead.keys:
            return self._ahead.keys[key_id]
        return self._db.one("select * from keys where key_id = ?", (key_id,))

    def add(
        self,
        places: Sequence[Place],
        *,
        spent: int = 0,
        reserved: int = 0,
        disputed: int = 0,
        requests: int = 0,
    ) -> None:
        """Add amounts to each of some periods."""
        for own_id, start in places:
            self._db.write(_ADD, (own_id, start, spent, reserved, disputed, requests))
            self._ahead.add(own_id, start, spent, reserved, requests)
            if spent > 0:
                owner = self._owner(own_id)
                if owner is not None and owner["budget"]:
                    now = self.spending(own_id, start)[0]
                    self._alerts.note_spending(owner, own_id, start, now - spent, now)

    def note_refusal(self, limit: Budget) -> None:
        """Note that a budget does not cover a request, for whoever looks after it."""
        own_id, start = limit.place
        owner = self._owner(own_id)
        if owner is not None:
            self._alerts.note_refusal(owner, own_id, start, limit.spent)

    def spending(self, own_id: str, start: str) -> tuple[int, int, int]:
        """Return what was spent and is set aside in a period, in picodollars, and its number of requests."""
        known = self._ahead.spending(own_id, start)
        if known is not None:
            return known
        row = self._db.one(
            "select spent, reserved, requests from spending where key_id = ? and period_start = ?",
            (own_id, start),
        )
        return (0, 0, 0) if row is None else (int(row["spent"]), int(row["reserved"]), int(row["requests"]))

    def _teams_above(self, key: Row) -> Sequence[Row]:
        """Return the rows of the teams above a key, its own first."""
        if key["team_id"] is None:
            return ()
        teams: Mapping[str, Row] = self._ahead.teams
        if key["team_id"] not in teams:
            rows = self._db.all(f"{TEAMS_ABOVE.format(places='?')} select * from above", (key["key_id"],))
            teams = {row["team_id"]: row for row in rows}
        found, at = [], key["team_id"]
        while at is not None:
            found.append(teams[at])
            at = found[-1]["parent_id"]
        return found

    def _owner(self, own_id: str) -> Row | None:
        return self._team(own_id) if kind_of(own_id) == "team" else self.key(own_id)

    def _team(self, team_id: str) -> Row | None:
        if team_id in self._ahead.teams:
            return self._ahead.teams[team_id]
        return self._db.one("select * from teams where team_id = ?", (team_id,))

    def _budget(self, own_id: str, row: Row, start: str) -> Budget:
        holder = f"the team {row['name']}" if kind_of(own_id) == "team" else "this key"
        spent, reserved, requests = self.spending(own_id, start)
        return Budget((own_id, start), holder, row["period"], row["budget"], spent, reserved, requests)
