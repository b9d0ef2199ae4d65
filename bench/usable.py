"""Unusable answers of real small models behind a real endpoint: how many, and what going on from them costs.

Run by ``make bench-usable``. Four sets of requests: knowledge questions with options; JSON under a schema,
where the engine keeps to it by itself; the same JSON from one model that the engine keeps to it and one
behind an API that passes over ``response_format``, as many do; and from both behind such an API. Every
request may go on to the other model. A validator of its own reads what the client got.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.gateway.gateways import free_port

MODELS = ("smollm2-135m", "gemma-3-270m")
APIS = tuple(f"{name}-api" for name in MODELS)
SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "confidence": {"enum": ["low", "medium", "high"]},
        "letters": {"type": "integer", "minimum": 0},
    },
    "required": ["answer", "confidence", "letters"],
    "additionalProperties": False,
}
ENTRY = """
  - name: {name}-api
    backend: openai
    model: {name}
    base_url: http://127.0.0.1:{port}/v1
    scoring: generate
    context_tokens: 2048
    max_tokens: 64
    timeout_s: 60
    price: {{usd_per_mtok_in: {price}, usd_per_mtok_out: {price}}}
"""


def questions(count: int) -> list[dict[str, Any]]:
    """Return rows of multiple-choice questions from the generators."""
    from pipelines.questions.make import make_questions

    rows: list[dict[str, Any]] = make_questions(per_domain=40, seed=5, allow_fewer=True).to_pylist()
    chosen = [row for row in rows if row["choices"]]
    return [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))[:count]]


def knowledge_request(row: dict[str, Any]) -> dict[str, Any]:
    from experts.catalogue.prompts import DEFAULT_TEMPLATES, render_prompt

    prompt = render_prompt(DEFAULT_TEMPLATES["generate"], row["prompt"], row["choices"])
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": 16, "temperature": 0}


def json_request(row: dict[str, Any]) -> dict[str, Any]:
    prompt = (
        f"{row['prompt']}\nReply with one JSON object and nothing else. It has the keys answer (a text),"
        " confidence (low, medium or high) and letters (how many letters the answer has)."
    )
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}
    messages = [{"role": "user", "content": prompt}]
    return {"messages": messages, "max_tokens": 64, "temperature": 0, "response_format": form}


@contextmanager
def forgetful_api(port: int, upstream: str) -> Iterator[None]:
    """Pass chats on to the endpoint's own models, without ``response_format``."""
    from aiohttp import ClientSession, web

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        body.pop("response_format", None)
        async with (
            ClientSession() as session,
            session.post(f"{upstream}/v1/chat/completions", json=body) as got,
        ):
            return web.Response(body=await got.read(), status=got.status, content_type="application/json")

    loop = asyncio.new_event_loop()

    async def begin() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    yield
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def ask_all(
    url: str, requests: list[dict[str, Any]], experts: tuple[str, ...], most_s: float, clients: int
) -> list[dict[str, Any]]:
    """Return the ``leeroo`` object of every answer, with its text and the seconds that its client waited."""
    ends_at = time.perf_counter() + most_s

    def ask(request: dict[str, Any]) -> dict[str, Any] | None:
        began = time.perf_counter()
        if began > ends_at:
            return None
        body = request | {"model": "leeroo:quality", "experts": list(experts)}
        reply = web.post(f"{url}/v1/chat/completions", json=body)
        waited_s = time.perf_counter() - began
        reply.raise_for_status()
        whole = reply.json()
        text = whole["choices"][0]["message"]["content"]
        told: dict[str, Any] = whole["leeroo"] | {"waited_s": waited_s, "text": text}
        return told

    with httpx.Client(timeout=300) as web, ThreadPoolExecutor(clients) as several:
        return [told for told in several.map(ask, requests) if told is not None]


def invalid_for_client(text: str) -> bool:
    """Tell whether an answer is not the JSON that was asked for, by another validator than the endpoint's."""
    import jsonschema  # type: ignore[import-untyped]

    try:
        jsonschema.validate(json.loads(text), SCHEMA)
    except (ValueError, jsonschema.ValidationError):
        return True
    return False


def show_json(told: list[dict[str, Any]], experts: int) -> str:
    """Say how many got invalid JSON, and how many of them though an expert was left or it seemed usable."""
    invalid = [one for one in told if invalid_for_client(one["text"])]
    avoidable = [one for one in invalid if one["unusable"] is None or len(one["tried"]) + 1 < experts]
    return f"{len(invalid)}/{len(told)} ({len(avoidable)})"


def row_of(name: str, told: list[dict[str, Any]], invalid: str) -> tuple[str, ...]:
    """Return a row of the table; ``invalid`` is what the validator of the bench says."""
    asked, unusable = Counter[str](), Counter[tuple[str, str]]()
    first_usd, fell, added_s = 0.0, 0, []
    for one in told:
        attempts = [
            (each["expert"], each.get("reason", each["kind"]), each["cost_usd"]) for each in one["tried"]
        ]
        answer = (one["expert"], one["unusable"], one["expert_cost_usd"])
        order = [*attempts, answer] if one["unusable"] is None else [answer, *attempts]
        first_usd += order[0][2]
        fell += len(order) > 1
        if len(order) > 1:  # the second ask: the one whose answer was given, unless the first was
            added_s.append(one["latency_s"] - one["expert_s"] if one["unusable"] else one["expert_s"])
        for expert, reason, _ in order:
            asked[expert] += 1
            if reason is not None:
                unusable[expert, reason] += 1
    spent_usd = sum(one["cost_usd"] for one in told)
    shares = "; ".join(
        f"{expert} {sum(n for (who, _), n in unusable.items() if who == expert)}/{many} ("
        + ", ".join(f"{reason} {n}" for (who, reason), n in unusable.most_common() if who == expert)
        + ")"
        for expert, many in asked.items()
    )
    left = sum(one["unusable"] is not None for one in told)
    waited = float(np.median([one["waited_s"] for one in told]))
    return (
        name,
        shares,
        str(fell),
        f"{len(told) - left}/{len(told)}",
        invalid,
        f"+{100 * (spent_usd / first_usd - 1):.0f}%",
        f"{np.median(added_s) if added_s else 0:.2f} s ({sum(added_s) / len(told):.2f} s)",
        f"{waited:.2f} s",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100, help="requests of each set")
    parser.add_argument("--seconds", type=float, default=120, help="of a set at most: then it is cut short")
    parser.add_argument("--clients", type=int, default=1, help="that ask at once")
    options = parser.parse_args()

    from bench.toy_outcomes import toy_outcomes
    from experts.catalogue_file import DEFAULT_CATALOGUE
    from orchestrator.train import train_router
    from pipelines.ray_session import ray_session

    console = Console(width=200)
    with tempfile.TemporaryDirectory() as scratch, ray_session():
        from serve.run import ServeConfig, start_serving, stop_serving

        home, api_port, port = Path(scratch), free_port(), free_port()
        rows = questions(options.requests)
        texts = [row["prompt"] for row in rows] * 4
        chances = np.full((len(texts), 4), 0.5)
        outcomes = toy_outcomes(texts, MODELS + APIS, chances, [1e-6, 2e-6] * 2)
        train_router(outcomes, embedder="wordllama").orchestrator.save(home / "router")
        entries = [
            ENTRY.format(name=name, port=api_port, price=price)
            for name, price in zip(MODELS, (0.01, 0.02), strict=True)
        ]
        (home / "experts.yaml").write_text(DEFAULT_CATALOGUE.read_text() + "".join(entries))
        config = ServeConfig(
            home=home, access="open", router_dir=home / "router", catalogue=home / "experts.yaml",
            experts=MODELS + APIS, port=port,
        )  # fmt: skip
        url = start_serving(config)
        table = Table(
            "requests",
            "unusable by expert",
            "went on",
            "usable",
            "invalid JSON (avoidable)",
            "cost",
            "added where it went on (over all)",
            "waited p50",
        )
        try:
            with forgetful_api(api_port, url):
                for name, make, experts in (
                    ("knowledge, options", knowledge_request, MODELS),
                    ("JSON, the engine keeps to the schema", json_request, MODELS),
                    ("JSON, one by the engine, one behind an API", json_request, (MODELS[0], APIS[1])),
                    ("JSON, an API that passes over it", json_request, APIS),
                ):
                    requests = [make(row) for row in rows]
                    told = ask_all(url, requests, experts, options.seconds, options.clients)
                    invalid = show_json(told, len(experts)) if make is json_request else "-"
                    figures = row_of(name, told, invalid)
                    table.add_row(*figures)
                    console.print(*figures, sep=" | ")
            counted = httpx.get(f"{url}/metrics").text.splitlines()
        finally:
            stop_serving()
        console.print(table)
        console.print("\n".join(line for line in counted if line.startswith("leeroo_unusable_answers_total")))


if __name__ == "__main__":
    main()
