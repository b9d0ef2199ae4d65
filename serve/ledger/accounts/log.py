"""Who changed what about keys and teams: the log of an operator's own deeds, in the ledger with them."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from serve.ledger.store.store import Store


@dataclass(frozen=True)
class Deed:
    """One change: who made it, when, to what. It holds no secret."""

    at: str  # in UTC
    actor: str  # id of an admin key, or the command line's user
    action: str
    target: str
    settings: dict[str, Any]


class AdminLog:
    """The table ``admin_log`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db

    def note(self, actor: str, action: str, target: str, settings: Mapping[str, Any]) -> None:
        """Note a change, in the transaction that makes it."""
        told = json.dumps(dict(settings), default=str)
        row = (f"deed-{secrets.token_hex(8)}", time.time(), actor, action, target, told)
        self._db.write("insert into admin_log values (?, ?, ?, ?, ?, ?)", row)

    def list_deeds(self, limit: int = 100) -> list[Deed]:
        """Return the last changes, the latest first."""
        rows = self._db.all("select * from admin_log order by at desc, deed_id limit ?", (limit,))
        return [
            Deed(
                f"{datetime.fromtimestamp(row['at'], UTC):%Y-%m-%dT%H:%M:%SZ}",
                row["actor"],
                row["action"],
                row["target"],
                json.loads(row["settings"]),
            )
            for row in rows
        ]
