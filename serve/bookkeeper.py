"""The bookkeeper: the one deployment that holds the ledger, and brings decisions to the warehouse."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Sequence
from typing import Any

from serve.config import ServeConfig
from serve.ledger import LEDGER_FILE, Caller, Grant, Ledger, Refusal

logger = logging.getLogger("ray.serve")


class RateLimiter:
    """Token buckets: a key may make its requests of a minute at once, and then one each 60/rate seconds."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, key_id: str, requests_per_minute: int, now: float) -> float:
        """Take one request from the bucket; return 0, or the seconds until there is one to take."""
        tokens, then = self._buckets.get(key_id, (float(requests_per_minute), now))
        tokens = min(float(requests_per_minute), tokens + (now - then) * requests_per_minute / 60)
        if tokens < 1:
            self._buckets[key_id] = (tokens, now)
            return (1 - tokens) * 60 / requests_per_minute
        self._buckets[key_id] = (tokens - 1, now)
        return 0.0


class Bookkeeper:
    """Answers for keys and money. Every method may be called again after a failure without harm."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._ledger = Ledger(config.home / LEDGER_FILE)
        self._rates = RateLimiter()
        self._carrying: asyncio.Task[None] | None = None

    async def identify(self, secret_hash: str | None) -> Caller | None:
        """Return who asks, by the digest of the key; None when the request may not come in."""
        self._carry_on()
        caller = self._ledger.identify(secret_hash) if secret_hash else None
        if isinstance(caller, Caller):
            return caller
        return None if caller == "revoked" or not self._is_open() else Caller()

    async def reserve(
        self, caller: Caller, request_id: str, bounds_usd: Sequence[float]
    ) -> Grant | Refusal | float:
        """Set money aside; returns the seconds to wait when the key asks too often."""
        if caller.key_id is None:
            raise ValueError("where nobody is charged there is nothing to reserve")
        if caller.requests_per_minute is not None:
            wait_s = self._rates.wait_s(caller.key_id, caller.requests_per_minute, time.monotonic())
            if wait_s:
                return wait_s
        return self._ledger.reserve(
            caller.key_id, request_id, bounds_usd, lifetime_s=2 * self._config.deadline_s
        )

    async def settle(
        self, caller: Caller, request_id: str, cost_usd: float, decision: dict[str, Any] | None
    ) -> None:
        """Charge a call and keep its decision."""
        self._ledger.settle(request_id, cost_usd, decision=decision, key_id=caller.key_id)

    async def add_feedback(self, caller: Caller, request_id: str, score: float) -> bool:
        """Attach a score to a decision of this caller's; False when it is not here any more."""
        return self._ledger.add_feedback(request_id, caller.key_id, score)

    def _is_open(self) -> bool:
        if self._config.access == "auto":
            return is_loopback(self._config.host) and not self._ledger.list_keys()
        return self._config.access == "open"

    def _carry_on(self) -> None:
        if self._carrying is None or self._carrying.done():
            self._carrying = asyncio.get_running_loop().create_task(self._carry())

    async def _carry(self) -> None:
        """Bring decisions to the warehouse, for ever, once their time for feedback is over."""
        while True:
            await asyncio.sleep(min(60.0, self._config.feedback_window_s))
            try:
                await asyncio.to_thread(carry_decisions, self._config)
            except Exception:  # the decisions stay in the ledger, and the next turn tries again
                logger.exception("cannot write decisions to the warehouse")


def carry_decisions(config: ServeConfig, older_than_s: float | None = None) -> int:
    """Move decisions from the ledger to the warehouse; return how many rows were written.

    A crash between writing and forgetting writes the same rows again, which the warehouse skips by their key.
    """
    import pyarrow as pa

    from warehouse import DECISIONS, Warehouse

    ledger = Ledger(config.home / LEDGER_FILE)
    try:
        rows = ledger.take_decisions(config.feedback_window_s if older_than_s is None else older_than_s)
        if not rows:
            return 0
        by_round: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_round.setdefault(row["round"], []).append(row)
        store = Warehouse(str(config.home / "warehouse"))
        schema = pa.schema([field for field in DECISIONS if field.name != "created_at"])
        written = 0
        for round_name, members in by_round.items():
            written += store.append("decisions", pa.Table.from_pylist(members, schema), round=round_name)
        ledger.drop_decisions([row["request_id"] for row in rows])
        return written
    finally:
        ledger.close()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
