"""What the endpoint costs in time: the same real expert asked directly and through the orchestrator.

Run by ``make bench-serve``. What we add to one request is measured on that request: its whole time at the
client, less the time that the ingress waited for the expert's deployment. Throughput is compared with calls
of the same deployment from this process, without HTTP, keys, routing or books, turn by turn in one session.
At the end the books must agree with the answers to the last picodollar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

EXPERT = "smollm2-135m"
PICO_PER_USD = 10**12

Ask = Callable[[int], Awaitable[None]]


@dataclass
class Tally:
    """What came of the requests of one way."""

    latencies_s: list[float] = field(default_factory=list)
    failed: int = 0
    wall_s: float = 0.0

    @property
    def per_s(self) -> float:
        return len(self.latencies_s) / self.wall_s if self.wall_s else 0.0

    def quantile_ms(self, q: float) -> float:
        return float(np.quantile(self.latencies_s, q)) * 1e3 if self.latencies_s else float("nan")


def body(number: int, tokens: int) -> dict[str, Any]:
    """A request of its own, so that no answer comes from a cache."""
    return {
        "messages": [{"role": "user", "content": f"What is {number} + {number * 7}?"}],
        "max_tokens": tokens,
        "ignore_eos": True,
    }


async def load(ask: Ask, tally: Tally, *, clients: int, seconds: float, first: int) -> None:
    """Let so many clients ask one request after the other for so long."""
    numbers = iter(range(first, 10**9))
    began = time.perf_counter()

    async def client() -> None:
        while time.perf_counter() - began < seconds:
            start = time.perf_counter()
            try:
                await ask(next(numbers))
                tally.latencies_s.append(time.perf_counter() - start)
            except Exception as error:
                tally.failed += 1
                print(f"failed: {type(error).__name__}: {error}")

    await asyncio.gather(*(client() for _ in range(clients)))
    tally.wall_s += time.perf_counter() - began


def train_toy_router(directory: Path) -> None:
    """A router that knows the expert and decides on real embeddings; what it learned does not matter here."""
    from orchestrator.train import train_router
    from warehouse import Outcomes

    rng, n = np.random.default_rng(0), 2_000
    ones = np.ones((n, 1), np.float32)
    outcomes = Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]),
        texts=tuple(f"What is {i} + {i * 7}?" for i in range(n)),
        sources=np.full(n, "bench"),
        domains=np.full(n, "bench"),
        subjects=np.full(n, ""),
        chance=np.zeros(n, np.float32),
        experts=(EXPERT,),
        score=(rng.random((n, 1)) < 0.5).astype(np.float32),
        cost_usd=1e-6 * ones.astype(np.float64),
        prompt_tokens=20 * ones,
        completion_tokens=20 * ones,
        latency_s=ones,
    )
    train_router(outcomes).orchestrator.save(directory)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def compare(url: str, secret: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run both ways and return the figures, the costs that the endpoint told among them."""
    from ray import serve as ray_serve

    from serve.errors import ExpertFailure
    from serve.experts import deployment_name
    from serve.run import APP_NAME

    handle = ray_serve.get_deployment_handle(deployment_name(EXPERT), APP_NAME)
    costs: list[float] = []
    added_s: list[float] = []
    limits = httpx.Limits(max_connections=options.clients)
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=300, headers=headers) as web:

        def direct(tokens: int) -> Ask:
            async def ask(number: int) -> None:
                answer = await handle.answer.remote(body(number, tokens))
                if isinstance(answer, ExpertFailure):
                    raise RuntimeError(answer.message)

            return ask

        def routed(tokens: int) -> Ask:
            async def ask(number: int) -> None:
                start = time.perf_counter()
                reply = await web.post(
                    "/v1/chat/completions", json={"model": "leeroo", **body(number, tokens)}
                )
                reply.raise_for_status()
                told = reply.json()["leeroo"]
                costs.append(told["cost_usd"])
                added_s.append(time.perf_counter() - start - told["expert_s"])

            return ask

        alone = Tally()
        busy = {"direct": Tally(), "routed": Tally()}
        first = 1
        for warm in (direct(1), routed(1)):
            await load(warm, Tally(), clients=2, seconds=2, first=first)
            first += 10_000
        added_s.clear()
        await load(routed(1), alone, clients=1, seconds=options.seconds / 2, first=first)
        added_alone_s = list(added_s)
        first += 10_000
        for _ in range(options.turns):
            for name, way in (("direct", direct(options.tokens)), ("routed", routed(options.tokens))):
                await load(
                    way,
                    busy[name],
                    clients=options.clients,
                    seconds=options.seconds / options.turns,
                    first=first,
                )
                first += 10_000
    return {"alone": alone, "busy": busy, "costs": costs, "added_s": added_alone_s}


def report(found: dict[str, Any], booked_pico: int, console: Console) -> dict[str, float]:
    """Print the figures against their bars and return them."""
    alone, busy = found["alone"], found["busy"]
    added_ms = np.array(found["added_s"]) * 1e3
    console.print(
        f"one client, one token: {len(alone.latencies_s)} requests, p50 {alone.quantile_ms(0.5):.1f} ms"
    )
    table = Table("under load", "requests", "failed", "per second", "p50 ms", "p99 ms")
    for name, tally in busy.items():
        row = [name, str(len(tally.latencies_s)), str(tally.failed), f"{tally.per_s:.2f}"]
        table.add_row(*row, f"{tally.quantile_ms(0.5):.0f}", f"{tally.quantile_ms(0.99):.0f}")
    console.print(table)
    told_pico = sum(round(cost * PICO_PER_USD) for cost in found["costs"])
    figures = {
        "added_p50_ms": float(np.quantile(added_ms, 0.5)),
        "added_p99_ms": float(np.quantile(added_ms, 0.99)),
        "throughput_kept": busy["routed"].per_s / busy["direct"].per_s,
        "failed": float(sum(tally.failed for tally in (alone, *busy.values()))),
        "answers_billed": float(len(found["costs"])),
        "booked_less_told_usd": (booked_pico - told_pico) / PICO_PER_USD,
    }
    console.print(
        f"added by us: {figures['added_p50_ms']:.1f} ms at p50 (bar 15), "
        f"{figures['added_p99_ms']:.1f} ms at p99 (bar 40)"
    )
    console.print(
        f"throughput kept: {figures['throughput_kept']:.0%} (bar 85%); failed: {figures['failed']:.0f}"
    )
    console.print(
        f"booked less told: ${figures['booked_less_told_usd']:g} over {len(found['costs'])} answers"
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64, help="clients at once, under load")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of load for each way")
    parser.add_argument("--turns", type=int, default=3, help="turns in which the two ways alternate")
    parser.add_argument("--tokens", type=int, default=8, help="completion tokens under load")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()

    from pipelines.cluster import ray_session
    from serve.ledger import LEDGER_FILE, Ledger

    console = Console()
    with tempfile.TemporaryDirectory() as scratch, ray_session():
        from serve.run import ServeConfig, start_serving, stop_serving

        home = Path(scratch)
        train_toy_router(home / "router")
        ledger = Ledger(home / LEDGER_FILE)
        _, secret = ledger.create_key("bench", budget_usd=100.0, period="total")
        with console.status("starting the endpoint"):
            url = start_serving(
                ServeConfig(
                    home=home, access="keys", router_dir=home / "router", experts=(EXPERT,), port=free_port()
                )
            )
        try:
            found = asyncio.run(compare(url, secret, options))
        finally:
            stop_serving()
        (key,) = ledger.list_keys()
        figures = report(found, round(key.spent_usd * PICO_PER_USD), console)
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
