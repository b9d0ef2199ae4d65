"""Rows of the traffic that wait in the ledger for their way to the warehouse."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import orjson

from serve.ledger.messages import TrafficRecord
from serve.ledger.store.store import Store

MOST_WAITING = 200_000  # rows; while the warehouse is away they take some 2 KB each
SHADOW = ":shadow"  # the ending of the id of what a challenger decided and nobody followed


class WaitingTraffic:
    """The table ``traffic`` of a ledger. A row comes with its request's settlement, in one transaction."""

    def __init__(self, db: Store) -> None:
        self._db = db
        self._count: int | None = None

    def keep(self, records: Sequence[TrafficRecord]) -> int:
        """Keep rows until they are carried; return how many there was no room for. Again does nothing."""
        if self._count is None or self._count + len(records) > MOST_WAITING:  # another process drops them
            found = self._db.one("select count(*) as waiting from traffic")
            self._count = 0 if found is None else int(found["waiting"])
        room = max(0, MOST_WAITING - self._count)
        now = time.time()
        kept = [(row.request_id, row.content, row.embedding, row.surface, now) for row in records[:room]]
        self._db.write_many(
            "insert into traffic values (?, ?, ?, ?, ?) on conflict (request_id) do nothing", kept
        )
        self._count += len(kept)  # one that was there already counts twice until all are counted again
        return max(0, len(records) - room)

    def take(self, limit: int) -> list[TrafficRecord]:
        """Return the oldest rows; they stay until they are dropped."""
        rows = self._db.all("select * from traffic order by created_at limit ?", (limit,))
        return [
            TrafficRecord(row["request_id"], row["content"], row["embedding"], row["surface"]) for row in rows
        ]

    def drop(self, request_ids: Sequence[str]) -> None:
        """Forget rows that are in the warehouse."""
        with self._db.transaction():
            self._db.write_many("delete from traffic where request_id = ?", [(name,) for name in request_ids])
        self._count = None

    def find(self, request_id: str) -> dict[str, Any] | None:
        """Return a row without its vectors; None where it is not here, or was nobody's answer."""
        if request_id.endswith(SHADOW):
            return None
        row = self._db.one("select content from traffic where request_id = ?", (request_id,))
        return None if row is None else dict(orjson.loads(row["content"]))
