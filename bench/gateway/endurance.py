"""Our endpoint under many clients: what fails, whether the books are exact, memory, who is crowded out."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from bench.gateway.gateways import EXPERTS, Ours
from bench.gateway.load import Question, Tally, load
from bench.gateway.usage import memory_mib

PICO_PER_USD = 10**12
CLIENTS = 128
_WARMING = 8  # a how-manieth of the requests is asked before memory is measured
_STREAMED = 18  # and of these is a stream: 300 of 5,300
_SETTLED_S = 60.0
_LIMIT_S = 900.0


async def endure(ours: Ours, requests: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Ask so many questions with one key, some of them streamed; return failures, books and memory."""
    secret = ours.make_key("endurance")
    address = ours.address("leeroo", secret)
    whole, streamed = (Question(address, 50, streamed=streamed) for streamed in (False, True))
    questions = (streamed, *[whole] * (_STREAMED - 1))
    numbers = itertools.count(10_000_000)
    warming = await _ask(questions, numbers, requests // _WARMING)
    before = memory_mib((ours.root,))
    tally = await _ask(questions, numbers, requests)
    after = memory_mib((ours.root,))
    grown = {part: mib - before.get(part, 0.0) for part, mib in after.items()}
    told_pico = sum(map(_cost_pico, (*(warming.replies or ()), *(tally.replies or ()))))
    spent_pico, faults = _read_books(ours, "endurance", told_pico)
    figures: dict[str, Any] = {
        "asked": tally.asked,
        "failed": tally.failed + warming.failed,
        "failures": dict((tally.failures + warming.failures).most_common(3)),
        "wall_s": tally.wall_s,
        "booked_less_told_pico": spent_pico - told_pico,
        "faults_in_books": faults,
        "memory_mib": sum(after.values()),
        "memory_grown_mib": sum(grown.values()),
        "memory_grown_mib_by_part": {part: mib for part, mib in grown.items() if abs(mib) >= 0.5},
    }
    tell(
        f"{CLIENTS} clients, {tally.asked:,} requests: {figures['failed']} failed,"
        f" {len(faults)} faults in the books, {spent_pico - told_pico} picodollars booked but not told,"
        f" memory {figures['memory_grown_mib']:+.1f} MiB of {figures['memory_mib']:.0f}"
    )
    for failure, count in figures["failures"].items():
        tell(f"  {count} times {failure}")
    return figures


async def _ask(questions: tuple[Question, ...], numbers: itertools.count[int], most: int) -> Tally:
    return await load(questions, clients=CLIENTS, numbers=numbers, seconds=_LIMIT_S, most=most, keep=True)


def _cost_pico(body: bytes) -> int:
    """Return what a reply says that it cost."""
    if body.startswith(b"{"):
        told = json.loads(body)
    else:
        events = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
        told = next(event for event in map(json.loads, reversed(events)) if "leeroo" in event)
    return round(told["leeroo"]["cost_usd"] * PICO_PER_USD)


def _read_books(ours: Ours, name: str, told_pico: int) -> tuple[int, list[str]]:
    """Return what the key was charged, once all is settled, and what is wrong with the books."""
    from serve.ledger.audit import check_books
    from serve.ledger.ledger import LEDGER_FILE

    ends = time.monotonic() + _SETTLED_S
    while True:
        audit = check_books(ours.home / LEDGER_FILE)
        periods = [period for period in audit.periods if period.name == name]
        spent, reserved = (sum(getattr(p, of) for p in periods) for of in ("spent", "reserved"))
        if (not reserved and spent == told_pico) or time.monotonic() > ends:
            return spent, list(audit.faults)
        time.sleep(0.5)


async def compare_crowding(ours: Ours, seconds: float, tell: Callable[[str], None]) -> dict[str, float]:
    """Return the median latency of a key with one client: alone, and beside a key with 100 clients."""
    lone, crowd = (
        Question(ours.address(EXPERTS[0], ours.make_key(name)), 50, streamed=False)
        for name in ("lone", "crowd")
    )
    numbers = itertools.count(20_000_000)
    await load((lone, crowd), clients=8, numbers=numbers, seconds=1.0)
    alone = await load((lone,), clients=1, numbers=numbers, seconds=seconds)
    beside, many = await asyncio.gather(
        load((lone,), clients=1, numbers=numbers, seconds=seconds),
        load((crowd,), clients=100, numbers=numbers, seconds=seconds),
    )
    figures = {
        "alone_p50_ms": alone.quantile_ms(0.5),
        "beside_p50_ms": beside.quantile_ms(0.5),
        "crowd_p50_ms": many.quantile_ms(0.5),
        "times": beside.quantile_ms(0.5) / alone.quantile_ms(0.5),
        "failed": float(alone.failed + beside.failed + many.failed),
    }
    tell(
        f"a key with one client: {figures['alone_p50_ms']:.1f} ms at p50 alone,"
        f" {figures['beside_p50_ms']:.1f} beside a key with 100 clients"
        f" ({figures['times']:.1f} times; the bar is 2),"
        f" which see {figures['crowd_p50_ms']:.1f}; {figures['failed']:.0f} failed"
    )
    return figures
