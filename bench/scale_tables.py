"""One size of a table: ``python -m bench.scale_tables append|outcomes SIZE FOLDER`` prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from warehouse import Warehouse, load_outcomes
from warehouse.schemas import conform, fill_round

BATCH_ROWS, REPEATS = 1_000, 33
PART_ROWS = 1_000_000
#: Of the outcomes: experts, and questions of the pool whose outcomes are read.
EXPERTS, POOL_QUESTIONS = 20, 10_000


def main() -> None:
    part, size, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    found = measure_append(size, folder) if part == "append" else measure_outcomes(size, folder)
    found["disk_mb"] = round(sum(path.stat().st_size for path in Path(folder).rglob("*.*")) / 1e6, 1)
    print(json.dumps(found))


def measure_append(rows: int, folder: str) -> dict[str, float]:
    """Append batches to a table that holds so many rows; a new process does it, as a writer that starts."""
    for start, count in parts_of(rows):
        Warehouse(folder).append("answers", answers(start, count, "x"), round="r0", expert="x")
    store = Warehouse(folder)
    began = time.perf_counter()
    store.append("answers", answers(rows, BATCH_ROWS, "x"), round="r1", expert="x")
    first_s = time.perf_counter() - began
    starts = iter(range(rows + BATCH_ROWS, rows + BATCH_ROWS * (REPEATS + 1), BATCH_ROWS))
    took = [
        timed(lambda at=at: store.append("answers", answers(at, BATCH_ROWS, "x"), round="r1", expert="x"))
        for at in starts
    ]
    return {
        "first_ms": 1e3 * first_s,
        "p50_ms": 1e3 * float(np.median(took)),
        "mean_ms": 1e3 * float(np.mean(took)),
        "p90_ms": 1e3 * float(np.quantile(took, 0.9)),
        "peak_mib": peak_mib(),
    }


def measure_outcomes(size: int, folder: str) -> dict[str, float]:
    """Sum up all answers by expert, and read the outcomes of one pool among them, by round and by source."""
    making_s = timed(lambda: make_pools(size, folder))
    made_mib = peak_mib()
    store = Warehouse(folder)
    connection = store.connect()
    summary_s = timed(
        lambda: connection.sql(
            "select expert, count(*), avg(score), sum(cost_usd) from answers group by expert"
        ).fetchall()
    )
    return {
        "summary_s": summary_s,
        "outcomes_s": timed(lambda: load_outcomes(store, rounds=["pool"])),
        "outcomes_of_a_source_s": timed(lambda: load_outcomes(store, sources=["pool"])),
        "making_s": making_s,
        "making_peak_mib": made_mib,
        "peak_mib": peak_mib(),
    }


def make_pools(size: int, folder: str) -> None:
    """Write so many answers to the questions of two pools, one of them small.

    Answers are not looked up before they are written, as an append would: it has a part of its own.
    """
    store, each = Warehouse(folder), size // EXPERTS
    table, pool = store.table("answers"), min(POOL_QUESTIONS, each)
    for source, first, count in (("pool", 0, pool), ("rest", pool, each - pool)):
        for start, rows in parts_of(count):
            store.append("questions", questions(first + start, rows, source), round=source)
            for expert in (f"expert-{number:02}" for number in range(EXPERTS)):
                part = fill_round(conform("answers", answers(first + start, rows, expert)), source)
                name = f"{source} {expert} {start}"
                entry = table.write(part, round=source, expert=expert, parts=[name], is_new=True)
                table.entries()
                table.manifest.commit([entry])


def parts_of(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, PART_ROWS):
        yield start, min(PART_ROWS, count - start)


@lru_cache(maxsize=1)
def ids_of(start: int, count: int) -> pa.Array:
    """Ids as they are: 16 hex digits without an order."""
    numbers = (np.arange(start, start + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).tolist()
    return pa.array([f"{number:016x}" for number in numbers])


def questions(start: int, count: int, source: str) -> pa.Table:
    ids = ids_of(start, count)
    same = {"source": source, "domain": "sums", "answer": "x", "kind": "exact"}
    columns = {name: pa.repeat(value, count) for name, value in same.items()}
    return pa.table({"question_id": ids, "prompt": ids, **columns})


def answers(start: int, count: int, expert: str) -> pa.Table:
    random = np.random.default_rng(start)
    return pa.table(
        {
            "question_id": ids_of(start, count),
            "expert": pa.repeat(expert, count),
            "expert_version": pa.repeat("v1", count),
            "score": pa.array(random.integers(0, 2, count), pa.float32()),
            "cost_usd": random.integers(1, 1000, count) / 1e6,
            "latency_s": pa.array(random.integers(1, 100, count) / 10, pa.float32()),
            "completion_tokens": pa.array(random.integers(1, 500, count), pa.int32()),
        }
    )


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def peak_mib() -> float:
    """The most memory that this process has had, of its own: ``ru_maxrss`` takes its parent's along."""
    (line,) = (text for text in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in text)
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
