"""What the endpoint costs: the same real expert asked through the orchestrator, and without it.

Run by ``make bench-serve``. Both ways go through one front to one engine with the same requests, half of them
streamed: *direct* by a deployment that does nothing but pass on, by Serve's handle; *routed* by ours, with
keys, a router (the default embedder and predictor), budgets and books. At the end the books must agree with
what the answers said, to the last picodollar, and no key may be over its budget.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from bench.gateway.gateways import free_port
from experts.upstream import Failure

EXPERT = "smollm2-135m"
PICO_PER_USD = 10**12
KEYS = 8
BURST_S = 5.0
TIMEOUT_S = 120.0  # of an answer
TURNS = 4  # of one client, direct and routed

Ask = Callable[[int], Awaitable[None]]


class Direct:
    """A Serve deployment that passes a request on to the expert, and its answer back."""

    def __init__(self, deployment: str, app: str) -> None:
        from ray import serve as ray_serve

        self._handle = ray_serve.get_deployment_handle(deployment, app)
        self._streaming = self._handle.options(stream=True)

    async def __call__(self, request: Any) -> Any:
        from starlette.responses import JSONResponse, StreamingResponse

        body = json.loads(await request.body())
        if body.pop("stream"):
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        asked = time.monotonic()
        answer = await self._handle.answer.remote(body, TIMEOUT_S)
        if isinstance(answer, Failure):
            return JSONResponse({"error": answer.message}, status_code=502)
        return JSONResponse(answer.body | {"expert_s": time.monotonic() - asked})

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        async for piece in self._streaming.stream.remote(body, TIMEOUT_S):
            told = {"error": piece.message} if isinstance(piece, Failure) else piece.body
            if told:  # the last piece has the token counts alone
                yield f"data: {json.dumps(told)}\n\n"
        yield "data: [DONE]\n\n"


@dataclass
class Tally:
    """What came of the requests of one way."""

    latencies_s: list[float] = field(default_factory=list)
    added_s: list[float] = field(default_factory=list)  # of whole answers: time that was not the expert's
    spent_pico: dict[int, int] = field(default_factory=dict)  # by key, as the answers said
    refused: int = 0
    failed: int = 0
    wall_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        return len(self.latencies_s) / self.wall_s if self.wall_s else 0.0

    def latency_ms(self, q: float) -> float:
        return float(np.quantile(self.latencies_s, q)) * 1e3 if self.latencies_s else float("nan")

    def added_ms(self, q: float) -> float:
        return float(np.quantile(self.added_s, q)) * 1e3 if self.added_s else float("nan")


@dataclass(frozen=True)
class Way:
    """An address to ask, and the keys to ask with."""

    web: aiohttp.ClientSession
    url: str
    secrets: tuple[str, ...] = ()
    tokens: int | None = None  # of every answer; 4 to 12 in turn when not given
    may_be_refused: bool = False

    async def ask(self, number: int, tally: Tally) -> None:
        """Ask one question, streamed if its number is odd, and take down what came of it."""
        body = question(number, self.tokens)
        key = number % len(self.secrets) if self.secrets else 0
        headers = {"Authorization": f"Bearer {self.secrets[key]}"} if self.secrets else {}
        start = time.perf_counter()
        async with self.web.post(self.url, json=body, headers=headers) as reply:
            if reply.status == 429 and self.may_be_refused:
                tally.refused += 1
                await asyncio.sleep(0.2)
                return
            reply.raise_for_status()
            told = await last_event(reply) if body["stream"] else await reply.json()
        took_s = time.perf_counter() - start
        tally.latencies_s.append(took_s)
        ours = told.get("leeroo", told)
        if not body["stream"]:
            tally.added_s.append(took_s - ours["expert_s"])
        if self.secrets:
            tally.spent_pico[key] = tally.spent_pico.get(key, 0) + round(ours["cost_usd"] * PICO_PER_USD)

    async def load(self, tally: Tally, *, clients: int, seconds: float, first: int = 0) -> None:
        """Let so many clients ask one question after the other for so long."""
        numbers = iter(range(first, 10**9))
        began, cpu_s = time.perf_counter(), cpu_by_part()

        async def client() -> None:
            while time.perf_counter() - began < seconds:
                try:
                    await self.ask(next(numbers), tally)
                except Exception as error:
                    tally.failed += 1
                    print(f"failed: {type(error).__name__}: {error}")

        await asyncio.gather(*(client() for _ in range(clients)))
        tally.wall_s += time.perf_counter() - began
        for part, used_s in cpu_by_part().items():
            tally.cpu_s[part] = tally.cpu_s.get(part, 0.0) + used_s - cpu_s.get(part, 0.0)


def question(number: int, tokens: int | None) -> dict[str, Any]:
    """A request of its own, so that no answer comes from a cache; with ``tokens``, always the same one."""
    of = number if tokens is None else 1
    return {
        "messages": [{"role": "user", "content": f"What is {of} + {of * 7}?"}],
        "max_tokens": tokens or 4 + number % 9,
        "ignore_eos": True,
        "stream": tokens is None and number % 2 == 1,
    }


async def last_event(reply: aiohttp.ClientResponse) -> dict[str, Any]:
    """Read a stream to its end; return the last event before ``[DONE]``."""
    content = (await reply.read()).decode()
    *_, last, done = [line.removeprefix("data: ") for line in content.splitlines() if line]
    told: dict[str, Any] = json.loads(last)
    if done != "[DONE]" or "error" in told:
        raise RuntimeError(f"the stream ended with {last}")
    return told


def cpu_by_part() -> dict[str, float]:
    """Return the CPU seconds that the processes under this one have used, by what they are."""
    used: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            name, times = " ".join(process.cmdline()) or process.name(), process.cpu_times()
        except psutil.Error:
            continue
        words = name.split(".")[0].split(":")
        is_front = any(front in name for front in ("ProxyActor", "HAProxyManager", "bin/haproxy"))
        part = "engine" if "EngineCore" in name else "front" if is_front else "Ray's own"
        if "ServeReplica" in name:
            part = words[4] if words[4] != "expert" else "expert's front"
        used[part] = used.get(part, 0.0) + times.user + times.system
    return used


def train_toy_router(directory: Path) -> None:
    """A router that knows the expert and decides on real embeddings; what it learned does not matter here."""
    from bench.toy_outcomes import toy_outcomes
    from orchestrator.train import train_router

    n = 2_000
    texts = [f"What is {i} + {i * 7}?" for i in range(n)]
    train_router(toy_outcomes(texts, (EXPERT,), np.full((n, 1), 0.5), [1e-6])).orchestrator.save(directory)


def start_direct(route: str) -> None:
    """Start the deployment that does nothing but pass on, with the settings of our own light ones."""
    from ray import serve as ray_serve

    from serve.app import LIGHT
    from serve.experts.deployments import deployment_name
    from serve.run import APP_NAME

    bound = ray_serve.deployment(Direct, **LIGHT).bind(deployment_name(EXPERT), APP_NAME)
    ray_serve.run(bound, name="direct", route_prefix=route)


async def compare(
    url: str, secrets: tuple[str, ...], small: str, options: argparse.Namespace
) -> dict[str, Tally]:
    """Ask both ways in turn: one client first, then many, and then with a budget that runs out."""
    tallies = {name: Tally() for name in ("direct alone", "routed alone", "direct", "routed", "burst")}
    timeout = aiohttp.ClientTimeout(300)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, raise_for_status=False
    ) as web:
        ours = f"{url}/v1/chat/completions"
        direct, routed = Way(web, f"{url}/direct"), Way(web, ours, secrets)
        alone = (Way(web, f"{url}/direct", tokens=1), Way(web, ours, secrets, tokens=1))
        warming = Tally()  # its costs are in the books too
        for way in (*alone, direct, routed):
            await way.load(warming, clients=4, seconds=2)
        tallies["routed alone"].spent_pico.update(warming.spent_pico)
        for _ in range(TURNS):
            for way, name in zip(alone, ("direct alone", "routed alone"), strict=True):
                await way.load(tallies[name], clients=1, seconds=options.alone_seconds / TURNS)
        # Half of the direct load before and half after, so that a machine that slows down favours neither.
        half = options.seconds / 2
        await direct.load(tallies["direct"], clients=options.clients, seconds=half, first=10**5)
        await routed.load(
            tallies["routed"], clients=options.clients, seconds=options.seconds, first=2 * 10**5
        )
        await direct.load(tallies["direct"], clients=options.clients, seconds=half, first=3 * 10**5)
        burst = Way(web, ours, (small,), may_be_refused=True)
        await burst.load(tallies["burst"], clients=options.clients, seconds=BURST_S, first=4 * 10**5)
    return tallies


def report(tallies: dict[str, Tally], console: Console) -> dict[str, float]:
    """Print the figures against their bars and return them."""
    table = Table("ms", "asked", "failed", "per s", "p50", "p99", "p50 less expert", "p99 less expert")
    for name, tally in tallies.items():
        counted = [str(len(tally.latencies_s)), str(tally.failed), f"{tally.per_s:.2f}"]
        quantiles = [f"{tally.latency_ms(q):.0f}" for q in (0.5, 0.99)]
        table.add_row(name, *counted, *quantiles, *(f"{tally.added_ms(q):.1f}" for q in (0.5, 0.99)))
    console.print(table)
    cpu = Table("CPU ms a request", "direct", "routed")
    for part in sorted(tallies["routed"].cpu_s):
        spent = [tallies[name].cpu_s.get(part, 0.0) for name in ("direct", "routed")]
        counts = [max(1, len(tallies[name].latencies_s)) for name in ("direct", "routed")]
        cpu.add_row(part, *(f"{1e3 * s / n:.1f}" for s, n in zip(spent, counts, strict=True)))
    console.print(cpu)
    direct, routed = tallies["direct alone"], tallies["routed alone"]
    figures = {
        "added_p50_ms": routed.added_ms(0.5) - direct.added_ms(0.5),
        "added_p99_ms": routed.added_ms(0.99) - direct.added_ms(0.99),
        "latency_added_p50_ms": routed.latency_ms(0.5) - direct.latency_ms(0.5),
        "latency_added_p99_ms": routed.latency_ms(0.99) - direct.latency_ms(0.99),
        "added_under_load_p50_ms": tallies["routed"].added_ms(0.5) - tallies["direct"].added_ms(0.5),
        "added_under_load_p99_ms": tallies["routed"].added_ms(0.99) - tallies["direct"].added_ms(0.99),
        "throughput_kept": tallies["routed"].per_s / tallies["direct"].per_s,
        "failed": float(sum(tally.failed for tally in tallies.values())),
    }
    console.print(
        f"added to one client's whole latency: {figures['latency_added_p50_ms']:.1f} ms at p50 (bar 15),"
        f" {figures['latency_added_p99_ms']:.1f} ms at p99 (bar 40)"
    )
    console.print(
        f"added outside the expert: {figures['added_p50_ms']:.1f} and {figures['added_p99_ms']:.1f} ms;"
        f" under load {figures['added_under_load_p50_ms']:.1f} and"
        f" {figures['added_under_load_p99_ms']:.1f} ms"
    )
    console.print(
        f"throughput kept: {figures['throughput_kept']:.0%} (bar 85%); failed: {figures['failed']:.0f}"
    )
    return figures


def audit(path: Path, tallies: dict[str, Tally], console: Console) -> dict[str, float]:
    """Compare the books with what the answers said, key by key, and with the budgets."""
    import sqlite3

    from serve.ledger.ledger import Ledger

    keys = Ledger(path).list_keys()
    with sqlite3.connect(path) as db:
        settled = dict(
            db.execute("select key_id, sum(cost) from calls where state = 'settled' group by key_id")
        )
    spent = [round(key.spent_usd * PICO_PER_USD) for key in keys]
    told = [0] * len(keys)
    for name in ("routed alone", "routed", "burst"):
        for key, pico in tallies[name].spent_pico.items():
            told[key if name != "burst" else len(keys) - 1] += pico
    figures = {
        "booked_less_settled_pico": float(sum(spent) - sum(settled.values())),
        "booked_less_told_pico": float(sum(spent) - sum(told)),
        "keys_unequal": float(sum(a != b for a, b in zip(spent, told, strict=True))),
        "keys_over_budget": float(
            sum(key.spent_usd + key.reserved_usd > (key.budget_usd or 0) for key in keys)
        ),
    }
    console.print(
        f"books: {len(keys)} keys, ${sum(spent) / PICO_PER_USD:.9f} spent;"
        f" less the settled calls {figures['booked_less_settled_pico']:.0f} picodollars,"
        f" less what answers said {figures['booked_less_told_pico']:.0f};"
        f" keys over budget: {figures['keys_over_budget']:.0f}"
    )
    small = keys[-1]
    console.print(
        f"a budget of ${small.budget_usd:.6g}, asked by all at once: ${small.spent_usd:.6g} spent,"
        f" {len(tallies['burst'].latencies_s)} answers, {tallies['burst'].refused} refusals"
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64, help="clients at once, under load")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of load for each way")
    parser.add_argument("--alone-seconds", type=float, default=20.0, help="seconds of one client, each way")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()

    from pipelines.ray_session import serving_session
    from serve.config import ServeConfig
    from serve.ledger.ledger import LEDGER_FILE, Ledger

    console = Console()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        home = Path(scratch)
        config = ServeConfig(
            home=home, access="keys", router_dir=home / "router", experts=(EXPERT,), port=free_port()
        )
        stack.enter_context(serving_session(config, tell=console.print))
        from serve.run import start_serving, stop_serving

        train_toy_router(home / "router")
        ledger = Ledger(home / LEDGER_FILE)
        secrets = tuple(
            ledger.create_key(f"bench-{i}", budget_usd=1.0, period="total")[1] for i in range(KEYS)
        )
        _, small = ledger.create_key("small", budget_usd=2e-5, period="total")
        with console.status("starting the endpoint"):
            url = start_serving(config)
            start_direct("/direct")
        try:
            with console.status("asking"):
                tallies = asyncio.run(compare(url, secrets, small, options))
        finally:
            stop_serving()
        figures = report(tallies, console) | audit(home / LEDGER_FILE, tallies, console)
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
