"""The traffic on its way from the ledger to the warehouse."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from serve.config import ServeConfig
from serve.ledger.ledger import Ledger
from serve.ledger.messages import TrafficRecord
from serve.ledger.store.place import ledger_place
from serve.ledger.traffic.spool import SPOOL_FOLDER, find_rows_of_the_dead
from warehouse import DECISIONS, TRAFFIC, InputError, Warehouse
from warehouse.traffic.hashing import TRAFFIC_FOLDER

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("ray.serve")

_BATCH = 2_000  # rows in memory at once
_VECTORS = ("embedding", "surface")


def warehouse_of(config: ServeConfig) -> Warehouse:
    """Return the warehouse of an endpoint."""
    return Warehouse(config.warehouse_url or str(config.home / "warehouse"))


def carry_traffic(config: ServeConfig) -> int:
    """Move the traffic from the ledger, and from the spools of the dead, to the warehouse; return how much.

    A crash between writing and forgetting writes the same rows again, which the warehouse skips by their key.
    """
    ledger = Ledger(ledger_place(config.home, config.ledger))
    store = warehouse_of(config)
    try:
        with ledger.carrying():
            for path, records in find_rows_of_the_dead(config.home / TRAFFIC_FOLDER / SPOOL_FOLDER):
                if lost := ledger.traffic.keep(records):
                    logger.error("%s: no room for %d rows of the traffic", path, lost)
            written = 0
            while records := ledger.traffic.take(_BATCH):
                written += _append(store, records)
                ledger.traffic.drop([record.request_id for record in records])
            _tidy(store)
            return written + _carry_decisions(ledger, store)
    finally:
        ledger.close()


def _append(store: Warehouse, records: Sequence[TrafficRecord]) -> int:
    by_round: dict[str, list[TrafficRecord]] = {}
    for record in records:
        by_round.setdefault(orjson.loads(record.content)["round"], []).append(record)
    return sum(_append_round(store, members, name) for name, members in by_round.items())


def _append_round(store: Warehouse, records: Sequence[TrafficRecord], round_name: str) -> int:
    import pyarrow as pa

    try:
        return store.append("traffic", table_of(records), round=round_name)
    except (InputError, pa.ArrowException):
        if len(records) > 1:  # one that does not fit does not keep the others back
            return sum(_append_round(store, [record], round_name) for record in records)
        logger.exception("a row of the traffic does not fit its table, and is left out")
        return 0


def _tidy(store: Warehouse) -> None:
    """Make one file of each day that is over; today's grow in number until then."""
    today = f"serve-{datetime.now(UTC):%Y-%m-%d}"
    for table in ("traffic", "feedback"):
        rounds = Counter(entry.round for entry in store.files(table) if entry.round != today)
        if any(count > 1 for count in rounds.values()):
            store.compact(table, but=today)


def table_of(records: Sequence[TrafficRecord]) -> pa.Table:
    """Return rows of the traffic as a table of the warehouse."""
    import pyarrow as pa

    told = pa.schema([field for field in TRAFFIC if field.name not in _VECTORS])
    table = pa.Table.from_pylist([orjson.loads(record.content) for record in records], told)
    for name in _VECTORS:
        vectors = [np.frombuffer(getattr(record, name), np.float32) for record in records]
        ends = np.cumsum([0, *map(len, vectors)])
        none = pa.array([len(vector) == 0 for vector in vectors])
        column = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), np.concatenate(vectors), mask=none)
        table = table.append_column(TRAFFIC.field(name), column)
    return table


def _carry_decisions(ledger: Ledger, store: Warehouse) -> int:
    """Bring decisions along that a version before the traffic left in the ledger."""
    import pyarrow as pa

    rows = ledger.take_decisions()
    by_round: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_round.setdefault(row["round"], []).append(row)
    schema = pa.schema([field for field in DECISIONS if field.name != "created_at"])
    written = 0
    for name, members in by_round.items():
        written += store.append("decisions", pa.Table.from_pylist(members, schema), round=name)
    if rows:
        ledger.drop_decisions([row["request_id"] for row in rows])
    return written
