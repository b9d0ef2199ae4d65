"""Rows of the traffic that wait in the ledger for their way to the warehouse."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

import orjson

from serve.ledger.ledger_file import transaction
from serve.ledger.messages import TrafficRecord

MOST_WAITING = 200_000  # rows; while the warehouse is away they take some 2 KB each
SHADOW = ":shadow"  # the ending of the id of what a challenger decided and nobody followed


class WaitingTraffic:
    """The table ``traffic`` of a ledger. A row comes with its request's settlement, in one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._count: int | None = None

    def keep(self, records: Sequence[TrafficRecord]) -> int:
        """Keep rows until they are carried; return how many there was no room for. Again does nothing."""
        if self._count is None or self._count + len(records) > MOST_WAITING:  # another process drops them
            self._count = int(self._db.execute("select count(*) from traffic").fetchone()[0])
        room = max(0, MOST_WAITING - self._count)
        now = time.time()
        done = self._db.executemany(
            "insert or ignore into traffic values (?, ?, ?, ?, ?)",
            [(row.request_id, row.content, row.embedding, row.surface, now) for row in records[:room]],
        )
        self._count += max(done.rowcount, 0)
        return max(0, len(records) - room)

    def take(self, limit: int) -> list[TrafficRecord]:
        """Return the oldest rows; they stay until they are dropped."""
        rows = self._db.execute("select * from traffic order by created_at limit ?", (limit,)).fetchall()
        return [
            TrafficRecord(row["request_id"], row["content"], row["embedding"], row["surface"]) for row in rows
        ]

    def drop(self, request_ids: Sequence[str]) -> None:
        """Forget rows that are in the warehouse."""
        with transaction(self._db):
            self._db.executemany(
                "delete from traffic where request_id = ?", [(name,) for name in request_ids]
            )
        self._count = None

    def find(self, request_id: str) -> dict[str, Any] | None:
        """Return a row without its vectors; None where it is not here, or was nobody's answer."""
        if request_id.endswith(SHADOW):
            return None
        row = self._db.execute("select content from traffic where request_id = ?", (request_id,)).fetchone()
        return None if row is None else dict(orjson.loads(row["content"]))
