"""The keys of an endpoint: which experts each may ask, how often, and within which budget."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Unpack

from serve.ledger.accounts.changing import find_row, insert_row, update_row
from serve.ledger.accounts.settings import KeySettings, check_number, check_pace, columns_of
from serve.ledger.exploring import ExploringBook
from serve.ledger.messages import Caller, Ended, Period, hash_secret
from serve.ledger.periods import period_start
from serve.ledger.picodollars import PICO_PER_USD
from serve.ledger.store.store import Row, Store
from serve.wire.limits import within_bounds
from serve.wire.recording import Recording

_DAY_S = 86_400.0
DEFAULT_GRACE_S = _DAY_S  # in which the secret before a rotation still works


@dataclass(frozen=True)
class KeyRecord:
    """A key as the operator sees it; amounts are of its present period."""

    key_id: str
    name: str
    budget_usd: float | None
    period: Period
    requests_per_minute: int | None
    experts: tuple[str, ...] | None
    preset: str | None
    paced_over: int | None  # requests of a period that the budget is spread over
    max_experts_asked: int | None  # that may answer one request
    max_latency_s: float | None  # for one answer
    spent_usd: float
    reserved_usd: float
    disputed_usd: float  # claimed by upstreams beyond what was charged: the operator's
    requests: int
    revoked: bool
    record: Recording | None = None  # what may be kept of its requests
    explore_share: float | None = None
    explore_usd_per_day: float | None = None
    explored_usd: float = 0.0  # what exploring its requests came to today, beyond the greedy choice
    operator: bool = False  # sees everybody's figures in the overview
    team: str | None = None  # that it lies in, by name
    expires_at: str | None = None  # in UTC
    old_secret_until: str | None = None  # where it was rotated, as long as the secret before works
    models: tuple[str, ...] | None = None
    dialects: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    is_expired: bool = False
    alert_at: tuple[int, ...] | None = None  # percent of its budget
    admin: bool = False


class KeyBook:
    """The table ``keys`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db

    def create_key(self, name: str, **settings: Unpack[KeySettings]) -> tuple[str, str]:
        """Add a key; return its id and its secret, which is shown this once and kept nowhere.

        Its period is a month unless it is said.

        Raises:
            InputError: a key that is not revoked has that name, a setting is none, or there is no such team.
        """
        where = f"key {name!r}"
        columns = {"period": "month"} | columns_of(where, settings)
        check_pace(where, columns.get("budget"), columns.get("paced_over"))
        secret = f"lk-{secrets.token_urlsafe(32)}"
        with self._db.transaction():
            columns |= self._team_of(settings) | {"secret_hash": hash_secret(secret)}
            key_id = insert_row(self._db, "keys", name, columns)
        if not self._db.in_transaction:  # else whoever began it notes that, once it is written
            self._db.note_keys()
        return key_id, secret

    def change_key(self, name_or_id: str, **settings: Unpack[KeySettings]) -> str:
        """Change a key, from its next request on; return its id.

        What it spent stays booked where it was: whoever changes team or period takes nothing along.

        Raises:
            InputError: there is no such key or team, it is revoked, or a setting is none.
        """
        where = f"key {name_or_id!r}"
        columns = columns_of(where, settings)
        with self._db.transaction():
            key = find_row(self._db, "keys", name_or_id)
            budget = columns["budget"] if "budget" in columns else key["budget"]
            check_pace(where, budget, columns["paced_over"] if "paced_over" in columns else key["paced_over"])
            update_row(self._db, "keys", key["key_id"], columns | self._team_of(settings))
        return str(key["key_id"])

    def rotate_key(self, name_or_id: str, grace_s: float = DEFAULT_GRACE_S) -> tuple[str, str]:
        """Give a key a new secret; return its id and the secret, which is shown this once.

        The key stays what it is: its budget, its limits, what it spent.

        Args:
            name_or_id: of the key.
            grace_s: how long the secret before still works. The one before that ends now.

        Raises:
            InputError: there is no such key, it is revoked, or that is no time.
        """
        check_number(f"key {name_or_id!r}", "grace_s", grace_s)
        secret = f"lk-{secrets.token_urlsafe(32)}"
        with self._db.transaction():
            key = find_row(self._db, "keys", name_or_id)
            columns: dict[str, object] = {
                "secret_hash": hash_secret(secret),
                "previous_hash": key["secret_hash"],
                "previous_until": time.time() + grace_s,
                "rotations": key["rotations"] + 1,
            }
            update_row(self._db, "keys", key["key_id"], columns)
        return str(key["key_id"]), secret

    def revoke_key(self, name_or_id: str) -> str:
        """End a key; return its id.

        Raises:
            InputError: there is no such key, or it was revoked before.
        """
        with self._db.transaction():
            key_id = str(find_row(self._db, "keys", name_or_id)["key_id"])
            update_row(self._db, "keys", key_id, {"revoked_at": time.time()})
        return key_id

    def list_keys(self) -> list[KeyRecord]:
        """Return all keys, oldest first, with what they spent in their present period."""
        return self._list("order by keys.created_at")

    def find_key(self, key_id: str) -> KeyRecord | None:
        """Return one key, with what it spent in its present period."""
        return next(iter(self._list("where keys.key_id = ?", key_id)), None)

    def key_row(self, key_id: str) -> Row | None:
        """Return the row of a key."""
        return self._db.one("select * from keys where key_id = ?", (key_id,))

    def active_key(self, name_or_id: str) -> Row:
        """Return the row of a key that is not revoked, by its name or its id, as those who change it find it.

        Raises:
            InputError: there is none.
        """
        return find_row(self._db, "keys", name_or_id)

    def fullest_keys(self, most: int) -> tuple[list[KeyRecord], int]:
        """Return active keys, those first that have used most of their budget, and how many are left out."""
        used = "coalesce(spending.spent, 0) + coalesce(spending.reserved, 0)"
        kept = self._list(
            f"where keys.revoked_at is null order by ({used}) * 1.0 / nullif(keys.budget, 0) desc nulls last,"
            f" {used} desc limit ?",
            most,
        )
        found = self._db.one("select count(*) as active from keys where revoked_at is null")
        return kept, max(0, (0 if found is None else int(found["active"])) - len(kept))

    def key_names(self, key_ids: Collection[str]) -> dict[str, str]:
        """Return the names of keys."""
        if not key_ids:
            return {}
        places = ", ".join("?" * len(key_ids))
        rows = self._db.all(f"select key_id, name from keys where key_id in ({places})", (*key_ids,))
        return {row["key_id"]: row["name"] for row in rows}

    def _team_of(self, settings: KeySettings) -> dict[str, object]:
        if "team" not in settings:
            return {}
        team = settings["team"]
        return {"team_id": None if team is None else find_row(self._db, "teams", team)["team_id"]}

    def _list(self, which: str, *values: object) -> list[KeyRecord]:
        now, explored = time.time(), ExploringBook(self._db).spent_usd()
        starts = [period_start(period, now) for period in ("day", "month", "total")]
        rows = self._db.all(
            "select keys.*, teams.name as team, coalesce(spending.spent, 0) as spent,"
            " coalesce(spending.reserved, 0) as reserved, coalesce(spending.disputed, 0) as disputed,"
            " coalesce(spending.requests, 0) as requests"
            " from keys left join teams on teams.team_id = keys.team_id"
            " left join spending on spending.key_id = keys.key_id and spending.period_start ="
            f" case keys.period when 'day' then ? when 'month' then ? else ? end {which}",
            (*starts, *values),
        )
        return [
            KeyRecord(
                key_id=row["key_id"],
                name=row["name"],
                budget_usd=None if row["budget"] is None else row["budget"] / PICO_PER_USD,
                period=row["period"],
                requests_per_minute=row["requests_per_minute"],
                experts=_names(row["experts"]),
                preset=row["preset"],
                paced_over=row["paced_over"],
                max_experts_asked=row["max_experts_asked"],
                max_latency_s=row["max_latency_s"],
                spent_usd=row["spent"] / PICO_PER_USD,
                reserved_usd=row["reserved"] / PICO_PER_USD,
                disputed_usd=row["disputed"] / PICO_PER_USD,
                requests=row["requests"],
                revoked=row["revoked_at"] is not None,
                record=row["record"],
                explore_share=row["explore_share"],
                explore_usd_per_day=row["explore_usd_per_day"],
                explored_usd=explored.get(row["key_id"], 0.0),
                operator=bool(row["operator"]),
                team=row["team"],
                expires_at=_told(row["expires_at"]),
                old_secret_until=_told(row["previous_until"]) if (row["previous_until"] or 0) > now else None,
                models=_names(row["models"]),
                dialects=_names(row["dialects"]),
                networks=_names(row["networks"]),
                alert_at=None if row["alert_at"] is None else tuple(json.loads(row["alert_at"])),
                admin=bool(row["admin"]),
                is_expired=row["expires_at"] is not None and row["expires_at"] <= now,
            )
            for row in rows
        ]

    def identify(self, secret_hash: str) -> Caller | Ended | None:
        """Return the key with this digest of a secret, or why it is none any more; None if it never was."""
        now = time.time()
        row = self._db.one("select * from keys where secret_hash = ?", (secret_hash,))
        is_old = row is None
        if row is None:
            row = self._db.one("select * from keys where previous_hash = ?", (secret_hash,))
        if row is None:
            return None
        rotation = row["rotations"] - is_old
        if ended := why_ended(row, rotation, now):
            return ended
        ends = [row["expires_at"], row["previous_until"] if is_old else None]
        return Caller(
            row["key_id"],
            _names(row["experts"]),
            row["preset"],
            within_bounds("requests_per_minute", row["requests_per_minute"]),
            is_paced=row["paced_over"] is not None,
            max_experts_asked=within_bounds("max_experts_asked", row["max_experts_asked"]),
            max_latency_s=within_bounds("max_latency_s", row["max_latency_s"]),
            record=row["record"],
            explore_share=within_bounds("explore_share", row["explore_share"]),
            explore_usd_per_day=within_bounds("explore_usd_per_day", row["explore_usd_per_day"]),
            is_operator=bool(row["operator"]),
            is_admin=bool(row["admin"]),
            models=_names(row["models"]),
            dialects=_names(row["dialects"]),
            networks=_names(row["networks"]),
            rotation=rotation,
            changes=row["changes"],
            valid_until=min((one for one in ends if one is not None), default=None),
        )


def why_ended(key: Row, rotation: int | None, now: float) -> Ended | None:
    """Return why a key, or one of its secrets, lets nobody in any more; None if it does.

    Args:
        key: its row.
        rotation: counts the key's secrets before the one in question; None for the key alone.
        now: seconds since 1970.
    """
    if key["revoked_at"] is not None:
        return "revoked"
    if key["expires_at"] is not None and key["expires_at"] <= now:
        return "expired"
    if rotation is None or rotation == key["rotations"]:
        return None
    is_in_grace = rotation == key["rotations"] - 1 and now < key["previous_until"]
    return None if is_in_grace else "rotated"


def _names(told: str | None) -> tuple[str, ...] | None:
    return tuple(json.loads(told)) if told else None


def _told(moment: float | None) -> str | None:
    return None if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
