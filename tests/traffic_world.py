"""A small world with scripted experts, each good at something, a judge that knows, and recorded traffic."""

from __future__ import annotations

import random
import re
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.text.embedder import weights_key
from warehouse import Warehouse, question_id
from warehouse.home import Home

LETTERS = "ABCD"
#: Chance of a right answer, by expert and topic: each expert is good at something.
SKILL = {
    "cheap": {"sums": 0.9, "rivers": 0.3},
    "dear": {"sums": 0.9, "rivers": 0.95},
    "odd": {"sums": 0.2, "rivers": 0.25},
}
TOPICS = ("sums", "rivers")
PRICES = {"cheap": 1.0, "dear": 5.0, "odd": 2.0, "judge": 3.0}
EXPERT = """\
  - {{name: {name}, backend: openai, model: {name}, base_url: "{url}", scoring: generate, concurrency: 4,
     max_tokens: 16, price: {{usd_per_mtok_in: {price}, usd_per_mtok_out: {price}}}}}
"""
_NAMES = "amber basin cedar delta ember fjord grove harbor island jetty kettle lagoon meadow north ochre"


def write_catalogue(path: Path, url: str, *, judge: bool = False) -> Path:
    names = [*SKILL, "judge"] if judge else [*SKILL]
    entries = "".join(EXPERT.format(name=name, url=url, price=PRICES[name]) for name in names)
    path.write_text(f"experts:\n{entries}")
    return path


def make_prompt(topic: str, number: int) -> str:
    """A request whose right letter follows from its words."""
    rng = random.Random(f"{topic} {number}")
    if topic == "sums":
        body = f"What is {rng.randint(100, 999)} plus {rng.randint(100, 999)} minus {number}?"
    else:
        body = f"Which river flows by {' '.join(rng.sample(_NAMES.split(), 3))} number {number}?"
    options = "\n".join(f"{letter}. {topic} option {letter} of {number}" for letter in LETTERS)
    return f"{body} Choose the right option.\n{options}"


def right_letter(prompt: str) -> str:
    return LETTERS[zlib.crc32(_core(prompt).encode()) % 4]


def topic_of(prompt: str) -> str:
    return "rivers" if "river" in prompt else "sums"


def reply_of(model: str, prompt: str, skill: dict[str, dict[str, float]] = SKILL) -> str:
    """What a scripted expert says; the judge knows what is right."""
    if model == "judge":
        return _judge(prompt)
    right = right_letter(prompt)
    luck = zlib.crc32(f"{model} {_core(prompt)}".encode()) % 1000 / 1000
    is_right = luck < skill[model][topic_of(prompt)]
    return right if is_right else LETTERS[(LETTERS.index(right) + 1) % 4]


def _judge(prompt: str) -> str:
    question = prompt.split("[Question]")[1].split("[")[0]
    right = right_letter(question)
    if "[Answer to grade]" in prompt:
        answer = prompt.split("[Answer to grade]")[1].split("How good")[0]
        return "C" if answer.strip().startswith(right) else "A"
    first, second = (
        prompt.split(f"[{name} answer]")[1].strip().startswith(right) for name in ("First", "Second")
    )
    return "C" if first == second else "A" if first else "B"


def _core(prompt: str) -> str:
    found = re.search(r"(What is|Which river)[^?]*\?", prompt)
    assert found is not None, prompt
    return found[0]


def record_traffic(
    home: Home,
    count: int,
    *,
    texts: bool = True,
    feedback_share: float = 0.3,
    expert_version: dict[str, str] | None = None,
    seed: int = 0,
    embedder: str = "wordllama",
) -> list[str]:
    """Write requests as the endpoint records them, answered by the cheap expert or the odd one."""
    from orchestrator import load_embedder, read_queries
    from warehouse.traffic.texts import RecordedText, TextStore

    rng = np.random.default_rng(seed)
    prompts = [make_prompt(TOPICS[i % 2], 10_000 * (seed + 1) + i) for i in range(count)]
    reader = load_embedder(embedder)
    read = read_queries(prompts, reader)
    key = weights_key(reader.weights)
    start = datetime.now(UTC) - timedelta(hours=1)
    rows: list[dict[str, Any]] = []
    said, words = [], []
    experts = list(SKILL)
    for i, prompt in enumerate(prompts):
        expert = "cheap" if rng.random() < 0.7 else "odd"
        answer = reply_of(expert, prompt)
        when = start + timedelta(seconds=i)
        name = f"request-{seed}-{i:04d}"
        cost = len(prompt) * PRICES[expert] * 1e-6
        rows.append(
            {
                "request_id": name, "created_at": when, "role": "champion", "router_version": "1",
                "multiplier": 10.0, "experts": experts, "predicted_success": [0.6, 0.6, 0.6],
                "predicted_cost_usd": [len(prompt) * PRICES[e] * 1e-6 for e in experts],
                "propensities": [0.7, 0.0, 0.3], "explored": expert == "odd", "chosen": expert,
                "expert": expert, "expert_version": (expert_version or {}).get(expert, "v0"),
                "tried": [], "tried_why": [], "asked": [], "cost_usd": cost, "answer_cost_usd": cost,
                "prompt_tokens": len(prompt), "completion_tokens": 3, "latency_s": 0.1,
                "finish_reason": "stop", "form": "option", "task": None, "user_hash": None,
                "conversation_hash": f"c{seed}-{i}", "text_hash": question_id(prompt, None, ""),
                "embedder": key, "embedding": [float(v) for v in read.embeddings[i]],
                "surface": [float(v) for v in read.surface[i]],
                "recording": "texts" if texts else "features",
            }
        )  # fmt: skip
        words.append(RecordedText(name, [{"role": "user", "content": prompt}], answer, expert))
        if rng.random() < feedback_share:
            said.append(
                {
                    "feedback_id": f"f-{name}", "request_id": name, "level": "request", "kind": "thumb",
                    "score": float(answer == right_letter(prompt)), "source": "api", "expert": expert,
                    "created_at": when,
                }
            )  # fmt: skip
    store: Warehouse = home.warehouse()
    if rows:
        store.append("traffic", pa.Table.from_pylist(rows), round="serve-2026-01-01")
    if said:
        store.append("feedback", pa.Table.from_pylist(said), round="serve-2026-01-01")
    if texts and words:
        TextStore(home.path).append(words)
    return [row["request_id"] for row in rows]


def train_first(
    home: Home, catalogue: Path, count: int = 300, *, topics: tuple[str, ...] = TOPICS, seed: int = 7
) -> str:
    """Make the champion that is served: it learned that the cheap expert is best at everything."""
    from experts import load_catalogue
    from orchestrator.train import train_router
    from orchestrator.versions.mlflow_registry import log_version
    from orchestrator.versions.promotion import crown_first
    from warehouse import load_outcomes

    then = {"cheap": 0.95, "dear": 0.7, "odd": 0.3}
    rng = np.random.default_rng(seed)
    store = home.warehouse()
    prompts = [make_prompt(topics[i % len(topics)], i) for i in range(count)]
    ids = [question_id(prompt, None, right_letter(prompt)) for prompt in prompts]
    questions = {
        "question_id": ids, "source": ["bench"] * count, "domain": [topic_of(p) for p in prompts],
        "prompt": prompts, "answer": [right_letter(p) for p in prompts], "kind": ["exact"] * count,
    }  # fmt: skip
    store.append("questions", pa.table(questions), round="bench")
    for spec in load_catalogue(str(catalogue)).experts:
        if spec.name in then:
            right = rng.random(count) < then[spec.name]
            answers = {
                "question_id": ids, "expert": [spec.name] * count, "expert_version": [spec.version] * count,
                "text": [right_letter(p) if ok else "E" for p, ok in zip(prompts, right, strict=True)],
                "score": right.astype(np.float32), "grader": ["exact@1"] * count,
                "prompt_tokens": [len(p) for p in prompts], "completion_tokens": [3] * count,
                "cost_usd": [len(p) * PRICES[spec.name] * 1e-6 for p in prompts],
                "latency_s": np.full(count, 0.1, np.float32),
            }  # fmt: skip
            store.append("answers", pa.table(answers), round="bench", expert=spec.name)
    trained = train_router(load_outcomes(store), predictor="knn", embedder="wordllama")
    version = log_version(trained.orchestrator, tracking_uri=home.mlflow_uri, metrics=trained.metrics)
    crown_first(home.mlflow_uri, version)
    return version
