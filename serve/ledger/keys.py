"""The keys of an endpoint: which experts each may ask, how often, and within which budget."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from serve.ledger.exploring import ExploringBook
from serve.ledger.messages import Caller, Period, hash_secret
from serve.ledger.periods import period_start
from serve.ledger.picodollars import PICO_PER_USD
from serve.ledger.store.store import Store
from serve.wire.limits import SHORTEST_LATENCY_S
from serve.wire.recording import RECORDINGS, Recording
from warehouse import InputError

MOST_BUDGET_USD = 1_000_000.0


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


class KeyBook:
    """The table ``keys`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db

    def create_key(
        self,
        name: str,
        *,
        budget_usd: float | None = None,
        period: Period = "month",
        requests_per_minute: int | None = None,
        experts: Sequence[str] | None = None,
        preset: str | None = None,
        paced_over: int | None = None,
        max_experts_asked: int | None = None,
        max_latency_s: float | None = None,
        record: Recording | None = None,
        explore_share: float | None = None,
        explore_usd_per_day: float | None = None,
        operator: bool = False,
    ) -> tuple[str, str]:
        """Add a key; return its id and its secret, which is shown this once and kept nowhere.

        Raises:
            InputError: a key that is not revoked has that name, or a limit is none.
        """
        if budget_usd is not None and not 0 <= budget_usd <= MOST_BUDGET_USD:
            raise InputError(
                f"{budget_usd:g} USD cannot be a budget",
                where=f"key {name!r}",
                fix=f"give 0 to {MOST_BUDGET_USD:,.0f}, or none for a key without a limit",
            )
        if requests_per_minute is not None and requests_per_minute < 1:
            raise InputError(
                f"{requests_per_minute} requests a minute cannot be a limit",
                where=f"key {name!r}",
                fix="give 1 or more, or none for a key without a limit",
            )
        if paced_over is not None and (budget_usd is None or paced_over < 1):
            raise InputError(
                f"{'no budget' if budget_usd is None else f'{budget_usd:g} USD'} cannot be spread over"
                f" {paced_over} requests",
                where=f"key {name!r}",
                fix="give a budget and 1 request or more",
            )
        if max_experts_asked is not None and max_experts_asked < 1:
            raise InputError(
                f"{max_experts_asked} experts cannot answer", where=f"key {name!r}", fix="give 1 or more"
            )
        if max_latency_s is not None and not SHORTEST_LATENCY_S <= max_latency_s < float("inf"):
            raise InputError(
                f"{max_latency_s:g} s cannot be the time for an answer",
                where=f"key {name!r}",
                fix=f"give {SHORTEST_LATENCY_S:g} or more",
            )
        _check_learning(name, record, explore_share, explore_usd_per_day)
        secret = f"lk-{secrets.token_urlsafe(32)}"
        key_id = f"key-{secrets.token_hex(6)}"
        budget = None if budget_usd is None else round(budget_usd * PICO_PER_USD)
        allowed = json.dumps(list(experts)) if experts else None
        row: dict[str, object] = {
            "key_id": key_id,
            "name": name,
            "secret_hash": hash_secret(secret),
            "budget": budget,
            "period": period,
            "requests_per_minute": requests_per_minute,
            "experts": allowed,
            "preset": preset,
            "created_at": time.time(),
            "paced_over": paced_over,
            "max_experts_asked": max_experts_asked,
            "max_latency_s": max_latency_s,
            "record": record,
            "explore_share": explore_share,
            "explore_usd_per_day": explore_usd_per_day,
            "operator": int(operator),
        }
        places = ", ".join("?" * len(row))
        with self._db.transaction():
            if self._db.one("select key_id from keys where name = ? and revoked_at is null", (name,)):
                raise InputError(
                    f"there is a key named {name!r}", fix="choose another name, or revoke that one"
                )
            self._db.write(f"insert into keys ({', '.join(row)}) values ({places})", (*row.values(),))
        self._db.note_keys()
        return key_id, secret

    def change_key(
        self,
        name_or_id: str,
        *,
        record: Recording | None = None,
        explore_share: float | None = None,
        explore_usd_per_day: float | None = None,
    ) -> str:
        """Change what may be learned from a key's requests; None leaves a setting as it is. Return its id.

        Raises:
            InputError: there is no such key, it is revoked, or a setting is none.
        """
        _check_learning(name_or_id, record, explore_share, explore_usd_per_day)
        row = self._db.one(
            "update keys set record = coalesce(?, record), explore_share = coalesce(?, explore_share),"
            " explore_usd_per_day = coalesce(?, explore_usd_per_day)"
            " where ? in (name, key_id) and revoked_at is null returning key_id",
            (record, explore_share, explore_usd_per_day, name_or_id),
        )
        if row is None:
            raise InputError(f"there is no active key {name_or_id!r}", fix="see `leeroo keys list`")
        return str(row["key_id"])

    def revoke_key(self, name_or_id: str) -> str:
        """End a key; return its id.

        Raises:
            InputError: there is no such key, or it was revoked before.
        """
        row = self._db.one(
            "update keys set revoked_at = ? where ? in (name, key_id) and revoked_at is null"
            " returning key_id",
            (time.time(), name_or_id),
        )
        if row is None:
            raise InputError(f"there is no active key {name_or_id!r}", fix="see `leeroo keys list`")
        return str(row["key_id"])

    def list_keys(self) -> list[KeyRecord]:
        """Return all keys, oldest first, with what they spent in their present period."""
        return self._list("order by created_at")

    def find_key(self, key_id: str) -> KeyRecord | None:
        """Return one key, with what it spent in its present period."""
        return next(iter(self._list("where keys.key_id = ?", key_id)), None)

    def fullest_keys(self, most: int) -> tuple[list[KeyRecord], int]:
        """Return active keys, those first that have used most of their budget, and how many are left out."""
        used = "coalesce(spending.spent, 0) + coalesce(spending.reserved, 0)"
        kept = self._list(
            f"where revoked_at is null order by ({used}) * 1.0 / nullif(budget, 0) desc nulls last,"
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

    def _list(self, which: str, *values: object) -> list[KeyRecord]:
        now, explored = time.time(), ExploringBook(self._db).spent_usd()
        starts = [period_start(period, now) for period in ("day", "month", "total")]
        rows = self._db.all(
            "select keys.*, coalesce(spending.spent, 0) as spent, coalesce(spending.reserved, 0) as reserved,"
            " coalesce(spending.disputed, 0) as disputed, coalesce(spending.requests, 0) as requests"
            " from keys left join spending on spending.key_id = keys.key_id and spending.period_start ="
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
                experts=tuple(json.loads(row["experts"])) if row["experts"] else None,
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
            )
            for row in rows
        ]

    def identify(self, secret_hash: str) -> Caller | Literal["revoked"] | None:
        """Return the key with this digest; None if there is none."""
        row = self._db.one("select * from keys where secret_hash = ?", (secret_hash,))
        if row is None:
            return None
        if row["revoked_at"] is not None:
            return "revoked"
        experts = tuple(json.loads(row["experts"])) if row["experts"] else None
        return Caller(
            row["key_id"],
            experts,
            row["preset"],
            row["requests_per_minute"],
            is_paced=row["paced_over"] is not None,
            max_experts_asked=row["max_experts_asked"],
            max_latency_s=row["max_latency_s"],
            record=row["record"],
            explore_share=row["explore_share"],
            explore_usd_per_day=row["explore_usd_per_day"],
            is_operator=bool(row["operator"]),
        )


def _check_learning(
    name: str, record: Recording | None, explore_share: float | None, explore_usd_per_day: float | None
) -> None:
    where = f"key {name!r}"
    if record is not None and record not in RECORDINGS:
        raise InputError(
            f"{record!r} does not say what is recorded", where=where, fix=f"give {', '.join(RECORDINGS)}"
        )
    if explore_share is not None and not 0 <= explore_share <= 1:
        raise InputError(
            f"{explore_share:g} is no share of the requests to explore on",
            where=where,
            fix="give 0 (never) to 1 (all of them)",
        )
    if explore_usd_per_day is not None and not 0 <= explore_usd_per_day <= MOST_BUDGET_USD:
        raise InputError(
            f"{explore_usd_per_day:g} USD cannot be what exploring may cost a day",
            where=where,
            fix=f"give 0 to {MOST_BUDGET_USD:,.0f}",
        )
