"""Feedback on answers: the answer is looked up, and the feedback written to the warehouse at once.

It never lies in the ledger: a comment is a text. Whoever gives it waits until it is written.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from serve.config import ServeConfig
from serve.ledger.ledger import Ledger
from serve.ledger.messages import Caller, Feedback, Taken
from serve.ledger.traffic.carrying import warehouse_of
from serve.ledger.traffic.waiting import SHADOW
from serve.transport.coalescing import Coalescer
from warehouse import FEEDBACK, Warehouse

_WANTED = ("request_id", "key_id", "expert", "conversation_hash", "recording")


class FeedbackDesk:
    """Takes feedback to requests that are recorded, in the ledger still or in the warehouse already."""

    def __init__(self, config: ServeConfig, ledger: Ledger) -> None:
        self._config, self._ledger = config, ledger
        # One look into the warehouse, and one file there, for all who come meanwhile.
        self._find: Coalescer[str, dict[str, Any] | None] = Coalescer(self._find_all, most=256)
        self._write: Coalescer[dict[str, Any], bool] = Coalescer(self._write_all, most=256)

    async def add(self, caller: Caller, feedback: Feedback) -> Taken:
        """Write down what somebody says of an answer of their own; doing it twice does nothing."""
        row = self._ledger.traffic.find(feedback.request_id)
        if row is None and not feedback.request_id.endswith(SHADOW):
            row = await self._find(feedback.request_id)
        if row is None or row["key_id"] != caller.key_id:  # another's is as unknown as none
            return "unknown"
        has_texts = feedback.comment is not None or feedback.demonstration is not None
        keeps_texts = row["recording"] == "texts"
        if has_texts and not keeps_texts and feedback.score is None:
            return "texts are not kept"
        now = datetime.now(UTC)
        said = {
            "feedback_id": feedback.feedback_id,
            "request_id": feedback.request_id,
            "conversation_hash": row["conversation_hash"],
            "level": feedback.level,
            "expert": row["expert"],
            "key_id": caller.key_id,
            "kind": feedback.kind,
            "score": feedback.score,
            "source": feedback.source,
            "comment": feedback.comment if keeps_texts else None,
            "demonstration": feedback.demonstration if keeps_texts else None,
            "round": f"serve-{now:%Y-%m-%d}",
            "created_at": now,
        }
        await self._write(said)
        return "kept without texts" if has_texts and not keeps_texts else "kept"

    @functools.cached_property
    def _store(self) -> Warehouse:
        return warehouse_of(self._config)

    async def _find_all(self, request_ids: list[str]) -> Sequence[dict[str, Any] | None]:
        return await asyncio.to_thread(self._look_up, request_ids)

    def _look_up(self, request_ids: list[str]) -> list[dict[str, Any] | None]:
        import pyarrow.compute as pc

        wanted = pc.field("request_id").isin(request_ids)
        rows = self._store.dataset("traffic").to_table(columns=list(_WANTED), filter=wanted).to_pylist()
        found = {row["request_id"]: row for row in rows}
        return [found.get(request_id) for request_id in request_ids]

    async def _write_all(self, rows: list[dict[str, Any]]) -> Sequence[bool]:
        await asyncio.to_thread(self._append, rows)
        return [True] * len(rows)

    def _append(self, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa

        self._store.append("feedback", pa.Table.from_pylist(rows, FEEDBACK), round=rows[-1]["round"])
