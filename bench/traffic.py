"""A simulated year: ``python -m bench.traffic [RECORDED]`` serves 20,000 requests that drift, ten times.

A router that was trained on MMLU is asked MMLU, then more and more MMLU-Pro, by experts of which two have
changed meanwhile. What it may learn from is what users say of a twentieth of the answers, and what a judge,
often wrong, says of shadow answers that it pays for. The table says what each way of learning comes to.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.routing_data import add_recorded_argument
from bench.traffic_arms import (
    OURS,
    UNEXPLORED,
    Lessons,
    Recorder,
    Remembered,
    Track,
    choices,
    forecasts_of_full,
    serve_frozen,
    serve_ours,
)
from bench.traffic_report import draw_year, print_tables
from bench.traffic_world import REQUESTS, STREAMS, Sides, World, make_world
from orchestrator.predictors.base import Prediction, Predictor
from orchestrator.predictors.cross_fitting import cross_forecasts
from orchestrator.predictors.registry import build_predictor
from orchestrator.selection.presets import choose_presets
from orchestrator.text.splits import split_by_text
from warehouse import LeerooError, text_keys

PRESETS = ("balanced", "economy", "quality")  # the first one is what a router serves at by default
SHADOWS = Lessons(explored=0.0)
IF_NEEDED = Lessons(explored=0.0, if_needed=True)
ABLATIONS = {
    "ours, no gate": Lessons(gate=False),
    "ours, explored alone": Lessons(shadows_usd=0.0),
    "ours, random shadows": Lessons(blindly=True),
    "ours, no propensities": Lessons(most_weight=1.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_recorded_argument(parser)
    parser.add_argument("--stream", default="versions", choices=tuple(STREAMS), help="domains: for tuning")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--ablations", action="store_true", help="ours without one part at a time as well")
    parser.add_argument(
        "--rivals", default="LinUCB,LinTS", help="bandits, which need the extra `bench`; '' for none"
    )
    parser.add_argument("--embedder", default="wordllama")
    parser.add_argument("--cache", type=Path, default=Path(".leeroo/cache/embeddings"))
    parser.add_argument("--out", type=Path, default=Path(".leeroo/bench/traffic"))
    parser.add_argument("--resume", action="store_true", help="keep the arms that --out has")
    arguments = parser.parse_args()
    folder = arguments.out / f"{arguments.stream}-{arguments.embedder}-{arguments.requests}"
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=80, highlight=False)
    if arguments.rivals and find_spec("mabwiser") is None:
        console.print("without the bandits: `uv pip install -e .[bench]` brings them")
        arguments.rivals = ""
    try:
        sides = STREAMS[arguments.stream](arguments.recorded, arguments.embedder, arguments.cache)
    except LeerooError as error:
        sys.exit(str(error))
    found = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        started = time.perf_counter()
        kept = folder / f"seed-{seed}.json"
        known = json.loads(kept.read_text()) if arguments.resume and kept.is_file() else {}
        found.append(run_seed(arguments, sides, seed, known))
        kept.write_text(json.dumps(found[-1], indent=1) + "\n")
        console.print(f"seed {seed}: {time.perf_counter() - started:.0f} s")
    presets = [name for name in arguments.presets.split(",") if name]
    print_tables(found, presets, console)
    for preset in presets:
        draw_year(found, preset, folder / f"{preset}.png")
    console.print(f"figures: {folder}")


def run_seed(arguments: argparse.Namespace, sides: Sides, seed: int, found: dict[str, Any]) -> dict[str, Any]:
    """Run the arms that ``found`` lacks: preset -> arm -> figures per block."""
    world = make_world(sides, seed, arguments.requests)
    predictor, presets = train(world, seed)
    frozen = Remembered(predictor)
    lessons = {
        "ours, unexplored": UNEXPLORED,
        "ours, shadows alone": SHADOWS,
        "ours, if needed": IF_NEEDED,
        "ours": OURS,
        **(ABLATIONS if arguments.ablations else {}),
    }
    full: list[np.ndarray] = []
    for preset in arguments.presets.split(","):
        multiplier = presets[preset]
        arms = found.setdefault(preset, {})
        arms["multiplier"] = multiplier
        if "frozen" not in arms:
            arms["frozen"] = as_json(serve_frozen(world, frozen, multiplier))
        for name, own in lessons.items():
            if name not in arms:
                arms[name] = as_json(serve_ours(world, frozen, world.known.queries, multiplier, seed, own))
        if "told everything" not in arms:
            full = full or forecasts_of_full(world, frozen, world.asked, seed)
            arms["told everything"] = as_json(replay_full(world, full, multiplier))
        for policy in filter(None, arguments.rivals.split(",")):
            if policy not in arms:
                from bench.traffic_rivals import serve_bandit

                arms[policy] = as_json(serve_bandit(world, multiplier, seed, policy))
    return found


def train(world: World, seed: int) -> tuple[Predictor, dict[str, float]]:
    """Train as `train_router` does: settings on a part, presets by folds, then from all."""
    examples, price = world.known, world.known.outcomes.cost_usd
    split = split_by_text(examples.outcomes.prompts, seed=seed)
    rows = np.concatenate([split.train, split.test])
    predictor = build_predictor("stack").fit(examples.take(rows), examples.take(split.validation), seed=seed)
    success = cross_forecasts(predictor, examples, seed=seed)
    presets = choose_presets(
        Prediction(predictor.experts, success, price),
        examples.outcomes.score,
        price,
        groups=text_keys(examples.outcomes.prompts),
        seed=seed,
    )
    return predictor.refit(examples), {name: preset.multiplier for name, preset in presets.items()}


def replay_full(world: World, forecasts: list[np.ndarray], multiplier: float) -> Track:
    recorder = Recorder(world, len(forecasts))
    for b, success in enumerate(forecasts):
        recorder.note(b, choices(success, world.price_usd, multiplier), 0.0, 0.0)
    return recorder.track()


def as_json(track: Track) -> dict[str, Any]:
    took = [] if track.took_over is None else track.took_over.astype(int).tolist()
    return {
        "accuracy": track.accuracy.tolist(),
        "cost_usd": track.cost_usd.tolist(),
        "greedy_usd": track.greedy_usd.tolist(),
        "learning_usd": track.learning_usd.tolist(),
        "labels": track.labels,
        "took_over": took,
    }


if __name__ == "__main__":
    main()
