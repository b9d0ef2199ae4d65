"""Two or more ways of answering, compared on one machine in one run: each asked in turn, in drawn order.

Whatever else goes on in the machine meets all of them alike. The API behind them answers at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

BAR_MS = 1.0  # at p50
RESAMPLES = 2_000
WARMING = 50


@dataclass(frozen=True)
class Arm:
    """One way of answering: where it is asked, with which key, and with which headers beside."""

    name: str
    url: str
    secret: str
    headers: Mapping[str, str] = field(default_factory=dict)


async def ask_in_turn(arms: Sequence[Arm], rounds: int, clients: int, seed: int) -> NDArray[np.float64]:
    """Return the seconds [rounds, arms] that each request took."""
    took_s = np.full((rounds, len(arms)), np.nan)
    numbers = iter(range(rounds))
    rng = np.random.default_rng(seed)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as web:

        async def client() -> None:
            for number in numbers:
                for place in rng.permutation(len(arms)):
                    arm = arms[place]
                    asked = {"role": "user", "content": f"Tell of the river number {number}, {place}."}
                    body = {"model": "leeroo", "messages": [asked], "max_tokens": 16}
                    headers = {"authorization": f"Bearer {arm.secret}", **arm.headers}
                    began = time.perf_counter()
                    async with web.post(
                        f"{arm.url}/v1/chat/completions", json=body, headers=headers
                    ) as reply:
                        reply.raise_for_status()
                        await reply.read()
                    took_s[number, place] = time.perf_counter() - began

        await asyncio.gather(*(client() for _ in range(clients)))
    return took_s


def measure(arms: Sequence[Arm], rounds: int, clients: int, seed: int) -> NDArray[np.float64]:
    """Warm all of them up, and ask; see :func:`ask_in_turn`."""
    asyncio.run(ask_in_turn(arms, WARMING * clients, clients, seed))
    return asyncio.run(ask_in_turn(arms, rounds, clients, seed))


def added_ms(took_s: NDArray[np.float64], place: int, seed: int) -> dict[str, float]:
    """Return what one arm adds to the median of the first, with a 95% interval by bootstrap over rounds."""
    pair = took_s[:, [0, place]]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(pair), (RESAMPLES, len(pair)))
    medians = np.median(pair[drawn], axis=1)
    low, high = np.quantile(medians[:, 1] - medians[:, 0], (0.025, 0.975)) * 1e3
    p50, p99 = (np.quantile(pair, q, axis=0) * 1e3 for q in (0.5, 0.99))
    return {
        "off_p50_ms": float(p50[0]),
        "on_p50_ms": float(p50[1]),
        "added_p50_ms": float(p50[1] - p50[0]),
        "added_low_ms": float(low),
        "added_high_ms": float(high),
        "off_p99_ms": float(p99[0]),
        "on_p99_ms": float(p99[1]),
    }


def read_options(description: str | None, counted: str, default: int, help: str) -> argparse.Namespace:
    """Read the options of a comparison; ``counted`` is the one that says how often all arms are asked."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(counted, dest="rounds", type=int, default=default, help=help)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="clients at once")
    parser.add_argument("--embedder", default="wordllama", help="of the router")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser.parse_args()


def report(figures: Mapping[str, Mapping[str, float]], path: Path | None) -> None:
    """Print the figures beside the bar, and write them to a file if there is one."""
    console = Console()
    table = Table("ms", "p50 off", "p50 on", "added", "95%", "p99 off", "p99 on")
    for name, found in figures.items():
        numbers = [f"{found[key]:.2f}" for key in ("off_p50_ms", "on_p50_ms", "added_p50_ms")]
        interval = f"{found['added_low_ms']:.2f} to {found['added_high_ms']:.2f}"
        table.add_row(name, *numbers, interval, f"{found['off_p99_ms']:.1f}", f"{found['on_p99_ms']:.1f}")
    console.print(table)
    console.print(f"bar: {BAR_MS:g} ms at p50")
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n")
