"""Latency and exactness of the ledger's two stores: ``python -m bench.ledger [--clients N] [--seconds S]``.

Clients reserve money for a request, wait as long as an expert would take to answer, and settle; a
bookkeeper writes what comes meanwhile together, as it does for an ingress. The same load meets SQLite and
PostgreSQL, the latter on a server of the benchmark's own that writes to the disk at every commit, or where
LEEROO_LEDGER says (it must be empty). Told are the latency of the reservation, which a request waits for, of
the settlement, which none does, and whether the books are those of the clients to the picodollar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from serve.config import ServeConfig
from serve.ledger.audit import check_books
from serve.ledger.bookkeeper import Bookkeeper
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.ledger.messages import Caller, Figures, Reservation, Settlement, TrafficRecord
from serve.ledger.store.place import Place, postgres_place
from serve.transport.coalescing import Coalescer

KEYS = 8
PICO = 10**12


@dataclass(frozen=True)
class Measured:
    """What one store did under load; ``is_exact``: whether its books are what the clients were told."""

    store: str
    bookkeepers: int
    requests: int
    requests_per_s: float
    reserve_p50_ms: float
    reserve_p95_ms: float
    settle_p50_ms: float
    cpu_us: float  # of the bookkeepers' processes, a request
    is_exact: bool


@dataclass(frozen=True)
class Load:
    """How many clients come for how long, and how long each waits between reservation and settlement."""

    clients: int
    seconds: float
    think_s: float
    bookkeepers: int = 1


def measure(store: str, place: Place, home: Path, load: Load) -> Measured:
    """Put the load on a ledger that is empty, by bookkeepers in processes of their own."""
    ledger = Ledger(place)
    keys = [ledger.create_key(f"key {n}", budget_usd=1e5, period="total")[0] for n in range(KEYS)]
    shown = None if isinstance(place, Path) else place.shown
    share = max(1, load.clients // load.bookkeepers)
    tasks = [(str(home), shown, keys, share, load.seconds, load.think_s, n) for n in range(load.bookkeepers)]
    with multiprocessing.get_context("spawn").Pool(load.bookkeepers) as pool:
        done = pool.starmap(_work, tasks, chunksize=1)
    charged: dict[str, int] = dict.fromkeys(keys, 0)
    for one in done:
        for key_id, pico in one["charged"].items():
            charged[key_id] += pico
    booked = {key.key_id: (round(key.spent_usd * PICO), key.reserved_usd) for key in ledger.list_keys()}
    ledger.close()
    reserve, settle = (np.concatenate([one[name] for one in done]) * 1e3 for name in ("reserve", "settle"))
    requests = len(settle)
    return Measured(
        store,
        load.bookkeepers,
        requests,
        requests / load.seconds,
        *(float(np.quantile(reserve, q)) for q in (0.5, 0.95)),
        float(np.median(settle)),
        sum(one["cpu_s"] for one in done) / max(1, requests) * 1e6,
        booked == {key_id: (pico, 0.0) for key_id, pico in charged.items()} and not check_books(place).faults,
    )


def _work(
    home: str, ledger: str | None, keys: list[str], clients: int, seconds: float, think_s: float, seed: int
) -> dict[str, object]:
    config = ServeConfig(home=Path(home), access="keys", ledger=ledger)
    bookkeeper = Bookkeeper(config)
    write = Coalescer(bookkeeper.write, most=256)
    charged: dict[str, int] = {}
    reserve: list[float] = []
    settle: list[float] = []

    async def client(number: int) -> None:
        rng = random.Random(seed * 1_000 + number)
        caller = Caller(keys[number % len(keys)])
        ends, turn = time.monotonic() + seconds, 0
        await asyncio.sleep(rng.random() * think_s)
        while time.monotonic() < ends:
            turn += 1
            request_id = f"{seed}-{number}-{turn}"
            began = time.perf_counter()
            conversation = request_id.encode()
            bounds = (rng.random() * 0.01, rng.random() * 0.02)
            await write(Reservation(request_id, caller, bounds, conversation, f"bench-{seed}", bounds))
            reserve.append(time.perf_counter() - began)
            await asyncio.sleep(think_s * (0.5 + rng.random()))
            row = TrafficRecord(request_id, b'{"round": "bench"}', bytes(1_024))
            began = time.perf_counter()
            settled = await write(
                Settlement(
                    request_id,
                    caller,
                    rng.random() * 0.02,
                    conversation=conversation,
                    records=(row,) if turn % 2 else (),
                    answer=Figures("a", {"prompt_tokens": 9, "completion_tokens": 9}, think_s)
                    if not turn % 2
                    else None,
                )
            )
            settle.append(time.perf_counter() - began)
            pico = round(settled.charged_usd * PICO)
            charged[caller.key_id or ""] = charged.get(caller.key_id or "", 0) + pico

    async def all_clients() -> None:
        await asyncio.gather(*(client(number) for number in range(clients)))

    began = time.process_time()
    asyncio.run(all_clients())
    cpu_s = time.process_time() - began
    return {"charged": charged, "reserve": np.array(reserve), "settle": np.array(settle), "cpu_s": cpu_s}


def report(found: list[Measured]) -> Table:
    """Lay the figures out."""
    table = Table(
        "store",
        "book-\nkeepers",
        "requests/s",
        "reserve\np50 ms",
        "p95 ms",
        "settle\np50 ms",
        "CPU us",
        "exact",
    )
    for one in found:
        figures = (one.requests_per_s, one.reserve_p50_ms, one.reserve_p95_ms, one.settle_p50_ms, one.cpu_us)
        table.add_row(
            one.store,
            str(one.bookkeepers),
            *(f"{figure:.3g}" if figure < 100 else f"{figure:.0f}" for figure in figures),
            "yes" if one.is_exact else "NO",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--think-ms", type=float, default=200.0, help="time of an answer; 0: as fast as can be"
    )
    parser.add_argument("--bookkeepers", type=int, default=2, help="the most that share the database")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    console, found = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        load = Load(options.clients, options.seconds, options.think_ms / 1e3)
        found.append(measure("sqlite", Path(folder) / LEDGER_FILE, Path(folder), load))
        if url := os.environ.get("LEEROO_LEDGER"):
            found += _on_postgres(url, folder, load, options.bookkeepers)
        else:
            from local_postgres import LocalPostgres

            server = LocalPostgres(is_durable=True)
            try:
                found += _on_postgres(server.url, folder, load, options.bookkeepers)
            finally:
                server.close()
    console.print(report(found))
    added = found[1].reserve_p50_ms - found[0].reserve_p50_ms
    console.print(f"PostgreSQL adds {added:.2f} ms to a reservation at the median.")
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=2))
    if not all(one.is_exact for one in found):
        raise SystemExit("The books are not what the clients were told.")


def _on_postgres(url: object, folder: str, load: Load, most: int) -> list[Measured]:
    found = []
    for bookkeepers in sorted({1, most}):
        told = url(f"{folder}/{bookkeepers}") if callable(url) else str(url)
        place = postgres_place(told, "LEEROO_LEDGER")
        load = Load(load.clients, load.seconds, load.think_s, bookkeepers)
        found.append(measure("postgres", place, Path(folder), load))
    return found


if __name__ == "__main__":
    main()
