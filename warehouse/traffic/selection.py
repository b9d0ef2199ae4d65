"""Which requests are meant: by their ids, their key, their user, or as older than a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Selection:
    """What holds of the requests that are meant; what is None or empty does not matter.

    Attributes:
        request_ids: one of these.
        key_id: asked by this key.
        user_hash: keyed hash of the user.
        before: answered before this moment.
    """

    request_ids: frozenset[str] = frozenset()
    key_id: str | None = None
    user_hash: str | None = None
    before: datetime | None = None

    def holds(self, record: dict[str, Any]) -> bool:
        """Tell whether a record is meant, by ``request_id``, ``key_id``, ``user_hash``, ``created_at``."""
        if self.request_ids and record["request_id"] not in self.request_ids:
            return False
        if self.key_id is not None and record.get("key_id") != self.key_id:
            return False
        if self.user_hash is not None and record.get("user_hash") != self.user_hash:
            return False
        return self.before is None or moment(record["created_at"]) < self.before


def moment(told: str | datetime) -> datetime:
    """Return a moment with its time zone, UTC where none is told."""
    then = datetime.fromisoformat(told) if isinstance(told, str) else told
    return then if then.tzinfo else then.replace(tzinfo=UTC)
