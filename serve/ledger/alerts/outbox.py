"""The outbox of alerts: one row for each threshold of a budget that was reached in a period, once.

A row is written in the transaction that reaches the threshold, so neither a crash nor a second bookkeeper
makes another or loses it. Whoever sends it claims it for a while; if that one dies, another one sends it
again, under the same id.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serve.ledger.picodollars import PICO_PER_USD
from serve.ledger.store.store import Row, Store

DEFAULT_AT = (50, 80, 100)  # percent of a budget
GIVE_UP_AFTER_S = 3 * 86_400.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 3600.0

Event = Literal["reached", "refused"]
_ADD = """
insert into alerts (alert_id, account_id, kind, name, period, period_start, event, percent, budget, spent,
created_at, state, attempts, next_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', 0, 0)
on conflict (account_id, period_start, event, percent) do nothing
"""


@dataclass(frozen=True)
class Alert:
    """A threshold that was reached, or the first request of a period that was refused for want of money."""

    alert_id: str
    account_id: str
    kind: Literal["key", "team"]
    name: str
    period: str
    period_start: str
    event: Event
    percent: int  # of the budget; 0 where requests are refused
    budget_usd: float
    spent_usd: float  # when it was noted
    created_at: float
    attempts: int  # to send it, with this one

    @property
    def told(self) -> str:
        """What happened, for people."""
        whose = f"{self.kind} {self.name}"
        money = f"${self.spent_usd:.6g} of ${self.budget_usd:.6g}"
        when = "" if self.period == "total" else f" in {self.period_start}"
        if self.event == "refused":
            return f"a request was refused: the budget of {whose} does not cover it ({money} spent{when})"
        return f"{whose} has spent {self.percent}% of its budget ({money}{when})"


class AlertBook:
    """The table ``alerts`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db

    def note_spending(self, owner: Row, own_id: str, start: str, before: int, now: int) -> None:
        """Note the thresholds that spending has reached, within the transaction that spends.

        Args:
            owner: row of the key or the team.
            own_id: its id.
            start: the period.
            before: what was spent in it before, in picodollars.
            now: what is now.
        """
        budget = owner["budget"]
        if not budget:
            return
        for percent in json.loads(owner["alert_at"]) if owner["alert_at"] else DEFAULT_AT:
            if before < -(-budget * percent // 100) <= now:
                self._add(owner, own_id, start, "reached", percent, now)

    def note_refusal(self, owner: Row, own_id: str, start: str, spent: int) -> None:
        """Note that a budget does not cover a request."""
        if owner["alert_at"] != "[]":
            self._add(owner, own_id, start, "refused", 0, spent)

    def has_due(self, now: float | None = None) -> bool:
        """Tell whether any is to be sent."""
        return (
            self._db.one(
                "select 1 as due from alerts where state = 'waiting' and next_at <= ?",
                (time.time() if now is None else now,),
            )
            is not None
        )

    def claim(self, most: int, lease_s: float, now: float | None = None) -> list[Alert]:
        """Return alerts to send now, oldest first; nobody else gets them before the lease is over."""
        now = time.time() if now is None else now
        with self._db.transaction():
            rows = self._db.all(
                "update alerts set attempts = attempts + 1, next_at = ? where alert_id in (select alert_id"
                " from alerts where state = 'waiting' and next_at <= ? order by created_at, alert_id limit ?)"
                " returning *",
                (now + lease_s, now, most),
            )
        return [_alert(row) for row in sorted(rows, key=lambda row: (row["created_at"], row["alert_id"]))]

    def sent(self, alert: Alert) -> None:
        """Note that one has arrived."""
        self._end(alert, "sent")

    def failed(self, alert: Alert, now: float | None = None) -> bool:
        """Note that one has not arrived; return whether it is given up."""
        now = time.time() if now is None else now
        if now - alert.created_at > GIVE_UP_AFTER_S:
            self._end(alert, "given up")
            return True
        wait_s = min(_FIRST_WAIT_S * 2.0 ** min(alert.attempts - 1, 20), _LONGEST_WAIT_S)
        self._db.write(
            "update alerts set next_at = ? where alert_id = ? and state = 'waiting'",
            (now + wait_s, alert.alert_id),
        )
        return False

    def count(self) -> Sequence[Row]:
        """Return how many there are, by kind, event, percent and state."""
        return self._db.all(
            "select kind, event, percent, state, count(*) as alerts from alerts"
            " group by kind, event, percent, state"
        )

    def list_alerts(self, limit: int = 100) -> list[tuple[Alert, str]]:
        """Return the last ones, the latest first, each with its state."""
        rows = self._db.all("select * from alerts order by created_at desc, alert_id limit ?", (limit,))
        return [(_alert(row), str(row["state"])) for row in rows]

    def _end(self, alert: Alert, state: str) -> None:
        self._db.write(
            "update alerts set state = ? where alert_id = ? and state = 'waiting'", (state, alert.alert_id)
        )

    def _add(self, owner: Row, own_id: str, start: str, event: Event, percent: int, spent: int) -> None:
        whose = (own_id, kind_of(own_id), owner["name"], owner["period"], start)
        about = (event, percent, owner["budget"], spent)
        self._db.write(_ADD, (f"alert-{secrets.token_hex(12)}", *whose, *about, time.time()))


def kind_of(own_id: str) -> Literal["key", "team"]:
    """Return whether an id is of a key or a team; it begins with that."""
    return "team" if own_id.startswith("team-") else "key"


def _alert(row: Row) -> Alert:
    return Alert(
        alert_id=row["alert_id"],
        account_id=row["account_id"],
        kind=row["kind"],
        name=row["name"],
        period=row["period"],
        period_start=row["period_start"],
        event=row["event"],
        percent=row["percent"],
        budget_usd=row["budget"] / PICO_PER_USD,
        spent_usd=row["spent"] / PICO_PER_USD,
        created_at=row["created_at"],
        attempts=row["attempts"],
    )
