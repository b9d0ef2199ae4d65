"""What exploring costs beyond the greedy choice: set aside before, booked by the bill, and capped per day.

An amount is set aside before the expert is drawn, the most that its answer can cost, and becomes what the
request did cost beyond the forecast of the greedy choice. Where the process that worked on it dies, the
amount stays booked: a cap errs downward.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from serve.ledger.messages import Explored, Reservation
from serve.ledger.picodollars import PICO_PER_USD, bound_pico
from serve.ledger.store.store import Store

ENDPOINT = ""  # whose sum is that of all keys
_ADD = """
insert into exploring as book values (?, ?, ?) on conflict (day, key_id) do update set
  pico = case when book.pico + excluded.pico < 0 then 0 else book.pico + excluded.pico end
"""


class ExploringBook:
    """The tables ``explored`` and ``exploring`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db

    def reserve(self, entry: Reservation, usd_per_day: float, now: float | None = None) -> float:
        """Return the most in USD that an answer may cost to be explored; set aside where the dice say so.

        Args:
            entry: asking again gives the same.
            usd_per_day: of the endpoint; the key may have less.
            now: seconds since 1970.
        """
        if entry.explores is None or not entry.bounds_usd:
            return 0.0
        known = self._db.one("select pico from explored where request_id = ?", (entry.request_id,))
        if known is not None:
            return float(known["pico"]) / PICO_PER_USD
        day, key_id = day_of(time.time() if now is None else now), entry.caller.key_id
        left = bound_pico(usd_per_day) - self._spent(day, ENDPOINT)
        own_usd = entry.caller.explore_usd_per_day
        if own_usd is not None and key_id is not None:
            left = min(left, bound_pico(own_usd) - self._spent(day, key_id))
        pico = max(0, min(left, max(map(bound_pico, entry.bounds_usd))))
        if entry.explores and pico:
            self._db.write(
                "insert into explored values (?, ?, ?, ?)", (entry.request_id, day, key_id or ENDPOINT, pico)
            )
            self._add(day, key_id, pico)
        return pico / PICO_PER_USD

    def settle(self, request_id: str, explored: Explored) -> float | None:
        """Book what a request cost beyond the greedy choice; return it in USD, at most what was set aside.

        None where nothing is set aside for it, or not any more.
        """
        row = self._db.one("delete from explored where request_id = ? returning *", (request_id,))
        if row is None:
            return None
        spent = min(int(row["pico"]), max(0, bound_pico(explored.beyond_usd)))
        self._add(row["day"], row["key_id"] or None, spent - row["pico"])
        return spent / PICO_PER_USD

    def forget(self, older_than_s: float) -> None:
        """Forget what was set aside by processes that died so long ago; it stays booked on its day."""
        self._db.write("delete from explored where day < ?", (day_of(time.time() - older_than_s),))

    def spent_usd(self, day: str | None = None) -> dict[str, float]:
        """Return what exploring came to on a day, today by default, by key; ``""`` is all of them."""
        wanted = day or day_of(time.time())
        rows = self._db.all("select * from exploring where day = ?", (wanted,))
        return {row["key_id"]: row["pico"] / PICO_PER_USD for row in rows}

    def _spent(self, day: str, key_id: str) -> int:
        row = self._db.one("select pico from exploring where day = ? and key_id = ?", (day, key_id))
        return 0 if row is None else int(row["pico"])

    def _add(self, day: str, key_id: str | None, pico: int) -> None:
        for name in {ENDPOINT, key_id or ENDPOINT}:
            self._db.write(_ADD, (day, name, pico))


def day_of(now: float) -> str:
    """Return the day (UTC) of a moment in seconds since 1970."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
