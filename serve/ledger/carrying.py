"""Decisions on their way from the ledger to the warehouse."""

from __future__ import annotations

from typing import Any

from serve.config import ServeConfig
from serve.ledger.ledger import LEDGER_FILE, Ledger


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
        store = Warehouse(config.warehouse_url or str(config.home / "warehouse"))
        schema = pa.schema([field for field in DECISIONS if field.name != "created_at"])
        written = 0
        for round_name, members in by_round.items():
            written += store.append("decisions", pa.Table.from_pylist(members, schema), round=round_name)
        ledger.drop_decisions([row["request_id"] for row in rows])
        return written
    finally:
        ledger.close()
