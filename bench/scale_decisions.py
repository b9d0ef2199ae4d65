"""One size of a router's memory: ``python -m bench.scale_decisions decide SIZE FOLDER`` prints JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench.scale_tables import peak_mib
from bench.toy_outcomes import toy_outcomes
from orchestrator.predictors.knn import KnnPredictor
from orchestrator.predictors.registry import predictor_from_state
from orchestrator.predictors.states import read_states, write_states
from orchestrator.text.queries import Examples, Queries, read_queries
from orchestrator.text.registry import load_embedder

EXPERTS, TOPICS, WIDTH, REQUESTS = 20, 500, 256, 300
NEIGHBOURS, TEMPERATURE = 100, 0.1


def main() -> None:
    part, size, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if part == "decide":
        learn(size, folder)
        command = [sys.executable, "-m", "bench.scale_decisions", "asked", str(size), str(folder)]
        asked = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(json.dumps({**json.loads((folder / "learned.json").read_text()), **asked}))
    else:
        print(json.dumps(ask(folder)))


def learn(size: int, folder: Path) -> None:
    """Make questions of some topics, remember them, and save what a router keeps of them."""
    random = np.random.default_rng(0)
    topics = random.standard_normal((TOPICS, WIDTH), np.float32)
    embeddings = topics[random.integers(0, TOPICS, size)]
    embeddings += 0.9 * random.standard_normal((size, WIDTH), np.float32)
    chances = np.full((size, EXPERTS), 0.5, np.float32)
    outcomes = toy_outcomes(["q"] * size, tuple(f"e{i}" for i in range(EXPERTS)), chances, [1e-6] * EXPERTS)
    queries = Queries(embeddings, np.zeros((size, 1), np.float32), (WIDTH,))
    knn = KnnPredictor()
    knn.experts, knn.k, knn.temperature = outcomes.experts, NEIGHBOURS, TEMPERATURE
    began = time.perf_counter()
    knn.refit(Examples(queries, outcomes))
    learned = {"learn_s": time.perf_counter() - began}
    write_states(folder, {"knn": knn.state()})
    learned["learning_peak_mib"] = peak_mib()
    learned["state_mb"] = (folder / "states.safetensors").stat().st_size / 1e6
    (folder / "learned.json").write_text(json.dumps(learned))


def ask(folder: Path) -> dict[str, float]:
    """Load what was saved, mapped, and forecast for texts one by one, from the text on."""
    embedder = load_embedder("wordllama")
    words = [
        f"What is {i} times {i + 7}, and who was the first to write of it in a book?" for i in range(REQUESTS)
    ]
    read_queries(words[:3], embedder)
    began = time.perf_counter()
    knn = predictor_from_state(read_states(folder, mapped=True)["knn"])
    load_s = time.perf_counter() - began
    knn.predict(read_queries(words[:1], embedder))
    first_s = time.perf_counter() - began
    took = []
    for text in words:
        began = time.perf_counter()
        knn.predict(read_queries([text], embedder))
        took.append(time.perf_counter() - began)
    return {
        "load_s": load_s,
        "first_decision_s": first_s,
        "p50_ms": 1e3 * float(np.median(took)),
        "p95_ms": 1e3 * float(np.quantile(took, 0.95)),
        "peak_mib": peak_mib(),
    }


if __name__ == "__main__":
    main()
