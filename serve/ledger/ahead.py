"""The rows that a group of entries will need, read in one message before the first of them is judged.

They are good within one transaction, since nobody else writes meanwhile, and as long as whoever changes one
says so here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from serve.ledger.periods import PERIODS, period_start
from serve.ledger.picodollars import MOST_PICO
from serve.ledger.store.store import Row, Store


@dataclass
class Ahead:
    """Keys, calls and conversations by what they are asked for; None where there is no such row."""

    keys: dict[str, Row | None] = field(default_factory=dict)
    calls: dict[str, Row | None] = field(default_factory=dict)
    conversations: dict[bytes, Row | None] = field(default_factory=dict)
    _starts: tuple[str, ...] = ()  # periods whose spending was read
    _spending: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)

    def spending(self, key_id: str, start: str) -> tuple[int, int, int] | None:
        """Return what is spent and reserved, and the requests; None where that was not read."""
        if key_id not in self.keys or start not in self._starts:
            return None
        return self._spending.get((key_id, start), (0, 0, 0))

    def add(self, key_id: str, start: str, spent: int, reserved: int, requests: int) -> None:
        """Note what was added to a period."""
        known = self.spending(key_id, start)
        if known is not None:
            sums = (min(known[0] + spent, MOST_PICO), known[1] + reserved, known[2] + requests)
            self._spending[key_id, start] = sums

    def clear(self) -> None:
        """Forget all."""
        for rows in (self.keys, self.calls, self.conversations, self._spending):
            rows.clear()


def read_ahead(
    db: Store,
    key_ids: Collection[str],
    request_ids: Collection[str],
    conversations: Collection[bytes],
    now: float,
) -> Ahead:
    """Read the rows of these keys, calls and conversations, and what the keys spent in periods of now."""
    starts = tuple(period_start(period, now) for period in PERIODS)
    wanted = [
        ("select * from keys where key_id in", key_ids, ()),
        ("select * from calls where request_id in", request_ids, ()),
        ("select * from conversations where digest in", conversations, ()),
        ("select * from spending where period_start in (?, ?, ?) and key_id in", key_ids, starts),
    ]
    asked = [
        (f"{sql} ({', '.join('?' * len(values))})", (*first, *values))
        for sql, values, first in wanted
        if values
    ]
    found = iter(db.read_many(asked))
    keys, calls, held, spent = (next(found) if values else () for _, values, _ in wanted)
    return Ahead(
        dict.fromkeys(key_ids) | {row["key_id"]: row for row in keys},
        dict.fromkeys(request_ids) | {row["request_id"]: row for row in calls},
        dict.fromkeys(conversations) | {row["digest"]: row for row in held},
        starts,
        {
            (row["key_id"], row["period_start"]): (row["spent"], row["reserved"], row["requests"])
            for row in spent
        },
    )
