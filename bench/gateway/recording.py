"""What recording adds to a request: one endpoint, asked with a key that is recorded and one that is not.

``python -m bench.gateway.recording``. The requests of both kinds take turns in pairs, in an order that is
drawn for each pair, so that whatever else goes on in the machine meets both alike. The API behind it answers
at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.gateway.gateways import Ours, ours, upstream

BAR_MS = 1.0  # at p50
KINDS = ("none", "features")
RESAMPLES = 2_000
WARMING = 50


def make_keys(endpoint: Ours) -> tuple[str, ...]:
    """Make a key of each kind; return their secrets."""
    from serve.ledger.ledger import LEDGER_FILE, Ledger

    secrets = tuple(endpoint.make_key(kind) for kind in KINDS)
    ledger = Ledger(endpoint.home / LEDGER_FILE)
    for kind in KINDS:
        ledger.change_key(kind, record=kind)  # type: ignore[arg-type]
    ledger.close()
    return secrets


async def ask_in_pairs(
    url: str, secrets: tuple[str, ...], pairs: int, clients: int, seed: int
) -> NDArray[np.float64]:
    """Return the seconds [pairs, kinds] that each request took."""
    took_s = np.full((pairs, len(KINDS)), np.nan)
    numbers = iter(range(pairs))
    rng = np.random.default_rng(seed)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as web:

        async def client() -> None:
            for number in numbers:
                for kind in rng.permutation(len(KINDS)):
                    asked = {"role": "user", "content": f"Tell of the river number {number}, {kind}."}
                    body = {"model": "leeroo", "messages": [asked], "max_tokens": 16}
                    headers = {"authorization": f"Bearer {secrets[kind]}"}
                    began = time.perf_counter()
                    async with web.post(url, json=body, headers=headers) as reply:
                        reply.raise_for_status()
                        await reply.read()
                    took_s[number, kind] = time.perf_counter() - began

        await asyncio.gather(*(client() for _ in range(clients)))
    return took_s


def added_ms(took_s: NDArray[np.float64], seed: int) -> dict[str, float]:
    """Return what the second kind adds to the median, with a 95% interval by bootstrap over pairs."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(took_s), (RESAMPLES, len(took_s)))
    medians = np.median(took_s[drawn], axis=1)
    low, high = np.quantile(medians[:, 1] - medians[:, 0], (0.025, 0.975)) * 1e3
    p50, p99 = (np.quantile(took_s, q, axis=0) * 1e3 for q in (0.5, 0.99))
    return {
        "off_p50_ms": float(p50[0]),
        "on_p50_ms": float(p50[1]),
        "added_p50_ms": float(p50[1] - p50[0]),
        "added_low_ms": float(low),
        "added_high_ms": float(high),
        "off_p99_ms": float(p99[0]),
        "on_p99_ms": float(p99[1]),
    }


def report(figures: dict[str, dict[str, float]], console: Console) -> None:
    """Print the figures beside the bar."""
    table = Table("ms", "p50 off", "p50 on", "added", "95%", "p99 off", "p99 on")
    for name, found in figures.items():
        numbers = [f"{found[key]:.2f}" for key in ("off_p50_ms", "on_p50_ms", "added_p50_ms")]
        interval = f"{found['added_low_ms']:.2f} to {found['added_high_ms']:.2f}"
        table.add_row(name, *numbers, interval, f"{found['off_p99_ms']:.1f}", f"{found['on_p99_ms']:.1f}")
    console.print(table)
    console.print(f"bar: {BAR_MS:g} ms at p50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_500, help="of requests, recorded and not")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="clients at once")
    parser.add_argument("--embedder", default="wordllama", help="of the router")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    console, figures = Console(), {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with upstream(folder) as api, ours(folder, api.address.url.split("/v1/")[0], options.embedder) as end:
            secrets, url = make_keys(end), f"{end.url}/v1/chat/completions"
            for clients in options.clients:
                asyncio.run(ask_in_pairs(url, secrets, WARMING * clients, clients, options.seed))
                took_s = asyncio.run(ask_in_pairs(url, secrets, options.pairs, clients, options.seed))
                figures[f"{clients} at once"] = added_ms(took_s, options.seed)
    report(figures, console)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
