"""One size of a whole router: ``python -m bench.scale_training train SIZE FOLDER`` prints JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from bench.scale_tables import peak_mib
from bench.toy_outcomes import toy_outcomes
from orchestrator import Orchestrator, train_router
from warehouse import Outcomes

EXPERTS, TOPICS, WORDS, REQUESTS = 20, 200, 24, 300
VOCABULARY, TOPIC_WORDS = 5_000, 60


def main() -> None:
    part, size, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if part == "train":
        learned = learn(size, folder)
        command = [sys.executable, "-m", "bench.scale_training", "asked", str(size), str(folder)]
        asked = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(json.dumps({**learned, **asked}))
    else:
        print(json.dumps(ask(folder)))


def learn(size: int, folder: Path) -> dict[str, float]:
    """Train the default predictor on made-up questions, and save the router."""
    outcomes = make_outcomes(size)
    made_mib = peak_mib()
    began, processor_began = time.perf_counter(), time.process_time()
    router = train_router(outcomes, embedder="wordllama").orchestrator
    learned = {
        "making_peak_mib": made_mib,
        "train_s": time.perf_counter() - began,
        "train_processor_s": time.process_time() - processor_began,
        "train_peak_mib": peak_mib(),
    }
    router.save(folder / "router")
    return learned


def make_outcomes(size: int) -> Outcomes:
    """Make questions of some topics, each with words of its own; experts differ by topic and by question."""
    random = np.random.default_rng(0)
    vocabulary = np.array(pronounceable(VOCABULARY))
    words = random.integers(0, VOCABULARY, (TOPICS, TOPIC_WORDS))
    topic = random.integers(0, TOPICS, size)
    texts = [
        " ".join(vocabulary[words[one][random.integers(0, TOPIC_WORDS, WORDS)]].tolist()) for one in topic
    ]
    skill = random.normal(0.6, 0.15, (TOPICS, EXPERTS))[topic]
    chances = np.clip(skill - random.normal(0, 0.15, (size, 1)), 0.02, 0.98)
    names = tuple(f"expert-{number:02}" for number in range(EXPERTS))
    return toy_outcomes(texts, names, chances, (1e-6 * 1.3 ** np.arange(EXPERTS)).tolist())


def pronounceable(count: int) -> list[str]:
    """Words that a tokenizer has pieces for."""
    heads = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    return [f"{first}{second}{third}" for first in heads for second in heads for third in ("", "n")][:count]


def ask(folder: Path) -> dict[str, float]:
    """Load the router mapped, as an endpoint does, and decide; then load it again while it decides."""
    words = [
        f"What is {i} times {i + 7}, and who was the first to write of it in a book?" for i in range(REQUESTS)
    ]
    Orchestrator.load(folder / "router", mapped=True).embedder.embed(
        words[:3]
    )  # its weights are there before
    began = time.perf_counter()
    router = Orchestrator.load(folder / "router", mapped=True)
    load_s = time.perf_counter() - began
    router.decide(words[:1])
    first_s = time.perf_counter() - began
    took = decide_each(router, words)
    another = threading.Thread(
        target=lambda: Orchestrator.load(folder / "router", mapped=True).decide(words[:1])
    )
    another.start()
    meanwhile: list[float] = []
    while another.is_alive() or not meanwhile:
        meanwhile += decide_each(router, words[:1])
    state = folder / "router" / "states.safetensors"
    return {
        "load_s": load_s,
        "first_decision_s": first_s,
        "p50_ms": 1e3 * float(np.median(took)),
        "p95_ms": 1e3 * float(np.quantile(took, 0.95)),
        "longest_while_loading_ms": 1e3 * max(meanwhile),
        "state_mb": state.stat().st_size / 1e6,
        "peak_mib": peak_mib(),
    }


def decide_each(router: Orchestrator, texts: list[str]) -> list[float]:
    """Return the seconds that each decision takes, one text after the other."""
    took = []
    for text in texts:
        began = time.perf_counter()
        router.decide([text])
        took.append(time.perf_counter() - began)
    return took


if __name__ == "__main__":
    main()
