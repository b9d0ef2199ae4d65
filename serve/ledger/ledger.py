"""The ledger: keys, budgets and what was spent, in one SQLite file that survives any crash.

Money is kept in whole picodollars (1e-12 USD), so that sums are exact. A call reserves the most it can cost
before it is made and settles what it did cost afterwards; both are one transaction, and doing either twice
does nothing. A reservation whose process died runs out and costs nothing: its caller got no whole answer.

The write-ahead log is synchronised at checkpoints, not at every commit: a crash of a process loses nothing,
a crash of the machine may lose the last moments.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from serve.ledger.ledger_file import open_ledger
from serve.ledger.messages import MOST_USD, Caller, Grant, Refusal
from warehouse import InputError

LEDGER_FILE = "ledger.db"
PICO_PER_USD = 10**12
MOST_BUDGET_USD = 1_000_000.0
THINNED_OVER = 0.02  # share of the foreseen requests over which the last of a paced budget is spread

Period = Literal["day", "month", "total"]
PERIODS: tuple[Period, ...] = ("day", "month", "total")


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
    spent_usd: float
    reserved_usd: float
    requests: int
    revoked: bool


def hash_secret(secret: str) -> str:
    """Return the digest under which a key is kept. Keys are 256 random bits, so a plain digest is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Ledger:
    """The ledger in one SQLite file. Several processes may have it open at once."""

    def __init__(self, path: Path) -> None:
        self._db = open_ledger(path)

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
        if self._db.execute("select 1 from keys where name = ? and revoked_at is null", (name,)).fetchone():
            raise InputError(f"there is a key named {name!r}", fix="choose another name, or revoke that one")
        secret = f"lk-{secrets.token_urlsafe(32)}"
        key_id = f"key-{secrets.token_hex(6)}"
        budget = None if budget_usd is None else round(budget_usd * PICO_PER_USD)
        allowed = json.dumps(list(experts)) if experts else None
        row = (key_id, name, hash_secret(secret), budget, period, requests_per_minute, allowed, preset)
        self._db.execute(
            "insert into keys values (?, ?, ?, ?, ?, ?, ?, ?, ?, null, ?)", (*row, time.time(), paced_over)
        )
        return key_id, secret

    def revoke_key(self, name_or_id: str) -> str:
        """End a key; return its id.

        Raises:
            InputError: there is no such key, or it was revoked before.
        """
        row = self._db.execute(
            "update keys set revoked_at = ? where ? in (name, key_id) and revoked_at is null"
            " returning key_id",
            (time.time(), name_or_id),
        ).fetchone()
        if row is None:
            raise InputError(f"there is no active key {name_or_id!r}", fix="see `leeroo keys list`")
        return str(row["key_id"])

    def list_keys(self) -> list[KeyRecord]:
        """Return all keys, oldest first, with what they spent in their present period."""
        records = []
        for row in self._db.execute("select * from keys order by created_at").fetchall():
            start = _period_start(row["period"], time.time())
            spent, reserved, requests = self._spending(row["key_id"], start)
            records.append(
                KeyRecord(
                    key_id=row["key_id"],
                    name=row["name"],
                    budget_usd=None if row["budget"] is None else row["budget"] / PICO_PER_USD,
                    period=row["period"],
                    requests_per_minute=row["requests_per_minute"],
                    experts=tuple(json.loads(row["experts"])) if row["experts"] else None,
                    preset=row["preset"],
                    paced_over=row["paced_over"],
                    spent_usd=spent / PICO_PER_USD,
                    reserved_usd=reserved / PICO_PER_USD,
                    requests=requests,
                    revoked=row["revoked_at"] is not None,
                )
            )
        return records

    def identify(self, secret_hash: str) -> Caller | Literal["revoked"] | None:
        """Return whose key has this digest; None where nobody's has."""
        row = self._db.execute("select * from keys where secret_hash = ?", (secret_hash,)).fetchone()
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
        )

    def reserve(
        self,
        key_id: str,
        request_id: str,
        bounds_usd: Sequence[float],
        *,
        lifetime_s: float,
        now: float | None = None,
    ) -> Grant | Refusal:
        """Set money aside for a call: the most that any expert the budget affords can cost.

        Args:
            key_id: whose budget.
            request_id: names the call; reserving again for the same one gives the same grant.
            bounds_usd: per expert, the most that its answer can cost.
            lifetime_s: after so many seconds an unsettled reservation is given back.
            now: seconds since 1970; the present by default.
        """
        now = time.time() if now is None else now
        with self.transaction():
            self._expire(now)
            key = self._db.execute("select * from keys where key_id = ?", (key_id,)).fetchone()
            if key is None or key["revoked_at"] is not None:
                return Refusal("this key is not valid", "invalid_api_key")
            start = _period_start(key["period"], now)
            spent, reserved, requests = self._spending(key_id, start)
            left = None if key["budget"] is None else key["budget"] - spent - reserved
            held = self._db.execute("select * from calls where request_id = ?", (request_id,)).fetchone()
            if held is not None:
                left_usd = None if left is None else left / PICO_PER_USD
                allowance_usd = _allowance_usd(key["paced_over"], left, requests)
                return Grant(held["reserved"] / PICO_PER_USD, left_usd, allowance_usd)
            bounds = [math.ceil(min(max(bound, 0.0), MOST_USD) * PICO_PER_USD) for bound in bounds_usd]
            affordable = [bound for bound in bounds if left is None or bound <= left]
            if not affordable:
                return Refusal(
                    f"this key has ${(left or 0) / PICO_PER_USD:.6g} left of its budget ({key['period']}),"
                    f" and this request may cost ${min(bounds) / PICO_PER_USD:.6g}",
                    "insufficient_quota",
                )
            amount = max(affordable)
            self._db.execute(
                "insert into calls values (?, ?, ?, ?, null, 'open', ?, ?)",
                (request_id, key_id, start, amount, now + lifetime_s, now),
            )
            self._add_spending(key_id, start, 0, amount, requests=1)
            left = None if left is None else left - amount
            left_usd = None if left is None else left / PICO_PER_USD
            # Without what this one may cost at most: the last request must find as much again.
            return Grant(amount / PICO_PER_USD, left_usd, _allowance_usd(key["paced_over"], left, requests))

    def allowance_usd(self, key_id: str) -> float | None:
        """What a paced key's budget has left for each request still to come; None where it is not paced."""
        key = self._db.execute("select * from keys where key_id = ?", (key_id,)).fetchone()
        if key is None or key["budget"] is None:
            return None
        spent, reserved, requests = self._spending(key_id, _period_start(key["period"], time.time()))
        return _allowance_usd(key["paced_over"], key["budget"] - spent - reserved, requests)

    def settle(
        self,
        request_id: str,
        cost_usd: float,
        *,
        decisions: Sequence[dict[str, Any]] = (),
        key_id: str | None = None,
    ) -> None:
        """Charge what a call cost, give the rest of its reservation back, and keep the decisions behind it.

        A call that is settled already is left as it is; one without a reservation charges nobody. A call that
        settles after its reservation ran out is charged all the same: its answer was given.
        """
        cost = round(min(max(cost_usd, 0.0), MOST_USD) * PICO_PER_USD)
        with self.transaction():
            call = self._db.execute("select * from calls where request_id = ?", (request_id,)).fetchone()
            if call is not None and call["state"] != "settled":
                self._db.execute(
                    "update calls set state = 'settled', cost = ? where request_id = ?", (cost, request_id)
                )
                held = call["reserved"] if call["state"] == "open" else 0
                self._add_spending(call["key_id"], call["period_start"], cost, -held)
            self._db.executemany(
                "insert or ignore into decisions values (?, ?, ?, null, ?)",
                [(row["request_id"], key_id, json.dumps(row), time.time()) for row in decisions],
            )

    def add_feedback(self, request_id: str, key_id: str | None, score: float) -> bool:
        """Attach a score to a decision that this key caused; False when it is not (or no longer) here."""
        changed = self._db.execute(
            "update decisions set feedback_score = ? where request_id = ? and key_id is ?",
            (score, request_id, key_id),
        )
        return changed.rowcount == 1

    def take_decisions(self, older_than_s: float, limit: int = 10_000) -> list[dict[str, Any]]:
        """Return decisions that have waited so long for feedback, oldest first; they stay until dropped."""
        rows = self._db.execute(
            "select * from decisions where created_at <= ? order by created_at limit ?",
            (time.time() - older_than_s, limit),
        ).fetchall()
        return [
            json.loads(row["content"]) | {"key_id": row["key_id"], "feedback_score": row["feedback_score"]}
            for row in rows
        ]

    def drop_decisions(self, request_ids: Sequence[str]) -> None:
        """Forget decisions that are in the warehouse."""
        with self.transaction():
            self._db.executemany(
                "delete from decisions where request_id = ?", [(request_id,) for request_id in request_ids]
            )

    def expert_of(self, conversation: bytes) -> str | None:
        """Return who gave the last answer of a conversation, by its digest."""
        row = self._db.execute(
            "select expert from conversations where digest = ?", (conversation,)
        ).fetchone()
        return None if row is None else str(row["expert"])

    def remember_expert(self, conversation: bytes, expert: str) -> None:
        """Note who gave the last answer of a conversation."""
        self._db.execute(
            "insert or replace into conversations values (?, ?, ?)", (conversation, expert, time.time())
        )

    def forget_conversations(self, older_than_s: float) -> None:
        """Forget who answered conversations that have been silent for so long."""
        self._db.execute("delete from conversations where answered_at < ?", (time.time() - older_than_s,))

    def forget_calls(self, ended_before_s: float, limit: int = 50_000) -> None:
        """Forget calls whose reservation ended so long ago; what they cost stays in their key's period.

        At most ``limit`` at once, the oldest first: nobody else can write meanwhile.
        """
        self._db.execute(
            "delete from calls where rowid in (select rowid from calls where state <> 'open'"
            " and expires_at < ? order by expires_at limit ?)",
            (time.time() - ended_before_s, limit),
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _expire(self, now: float) -> None:
        """Give back the reservations of calls that never settled."""
        for call in self._db.execute(
            "update calls set state = 'expired' where state = 'open' and expires_at < ? returning *", (now,)
        ).fetchall():
            self._add_spending(call["key_id"], call["period_start"], 0, -call["reserved"])

    def _spending(self, key_id: str, start: str) -> tuple[int, int, int]:
        """What a key spent and has reserved in a period, in picodollars, and how often it asked."""
        row = self._db.execute(
            "select spent, reserved, requests from spending where key_id = ? and period_start = ?",
            (key_id, start),
        ).fetchone()
        return (0, 0, 0) if row is None else (int(row["spent"]), int(row["reserved"]), int(row["requests"]))

    def _add_spending(self, key_id: str, start: str, spent: int, reserved: int, requests: int = 0) -> None:
        self._db.execute(
            "insert into spending values (?, ?, ?, ?, ?) on conflict do update set"
            " spent = spent + excluded.spent, reserved = reserved + excluded.reserved,"
            " requests = requests + excluded.requests",
            (key_id, start, spent, reserved, requests),
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all inside the block or nothing, with one commit; blocks may be nested."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")


def _allowance_usd(paced_over: int | None, left: int | None, requests: int) -> float | None:
    """What is left for each request to come; beyond the number foreseen it thins out, not to go at once."""
    if paced_over is None or left is None:
        return None
    return max(left, 0) / PICO_PER_USD / max(paced_over - requests, paced_over * THINNED_OVER, 1)


def _period_start(period: str, now: float) -> str:
    moment = datetime.fromtimestamp(now, UTC)
    return {"day": f"{moment:%Y-%m-%d}", "month": f"{moment:%Y-%m}", "total": "ever"}[period]
