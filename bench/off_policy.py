"""Off-policy intervals and the canary's test in hostile worlds: ``python -m bench.off_policy [--simulations
N]``.

The worlds are those of the tests (`tests/orchestrator/logged_world.py`), where the truth is known: how often
95% intervals hold it, how wide they are, how often too little overlap is refused and how often a worse
challenger is told better; beside the same estimates with plain normal intervals and no clipping. Then the
canary: how often it errs when it is looked at after every unit, and after how many units it ends.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "orchestrator"))

from logged_world import Drawn, World, draw, draw_canary, true_difference

from orchestrator.off_policy.estimate import compare_policies
from orchestrator.off_policy.sequential import CanaryDecision, CanaryRule, replay_canary
from warehouse import TooFewError

WORLDS = {
    "plain: 10% explore, all rated": World(),
    "20% explore": World(explore_share=0.2),
    "2% explore, 10,000 requests": World(requests=10_000, explore_share=0.02),
    "5% rated, 20% explore, 20,000": World(requests=20_000, rated_share=0.05, explore_share=0.2),
    "5% rated, 5% explore, 20,000": World(requests=20_000, rated_share=0.05, explore_share=0.05),
    "tiny propensities (temp. .03)": World(requests=6_000, temperature=0.03),
    "forecasts off by up to .3": World(forecast_error=0.3, multiplier=1.0),
    "costs lognormal, sigma 2": World(cost_spread=2.0, multiplier=100.0),
    "ten experts": World(experts=10, explore_share=0.2, multiplier=0.5),
    "conversations of 10": World(repeats=10, explore_share=0.2),
    "600 requests, 30% explore": World(requests=600, explore_share=0.3),
    "worse challenger": World(worse=0.3),
    "much worse challenger, 20%": World(worse=0.9, explore_share=0.2),
}
METHODS = ("dr", "snips", "ips", "plain ips", "plain dr")
CANARIES = {
    "equal": {},
    "equal, 2% of the units": {"share": 0.02},
    "equal, 5% rated": {"rated": 0.05},
    "equal, costs sigma 2, cost alone": {"spread": 2.0, "multiplier": 1e6},
    "equal, 2%, sigma 2, cost alone": {"share": 0.02, "spread": 2.0, "multiplier": 1e6},
    "worse by 5 points": {"better": -0.05},
    "worse by 15 points": {"better": -0.15},
    "better by 5 points": {"better": 0.05},
    "better by 15 points": {"better": 0.15},
    "half the cost, equal": {"dearer": 0.5, "multiplier": 200.0},
}


def plain_interval(drawn: Drawn, method: str) -> tuple[float, float]:
    """The difference in success with a normal interval, unclipped: the textbook."""
    logged, difference = drawn.logged, drawn.challenger - drawn.champion
    rows = np.arange(len(logged))
    weight = difference[rows, logged.chosen] / logged.propensity[rows, logged.chosen]
    seen = logged.rated
    known = np.where(seen, logged.reward, 0.0)
    if method == "plain ips":
        values = (weight * known)[seen]
    else:
        own = logged.success_hat[rows, logged.chosen]
        values = ((difference * logged.success_hat).sum(axis=1) + weight * (known - own))[seen]
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - 1.96 * error), float(values.mean() + 1.96 * error)


def measure(world: World, simulations: int) -> dict[str, dict[str, float]]:
    """By method: shares of simulations in which each interval held the truth, and what else is shown."""
    success, cost = true_difference(world, draws=5)
    value = success - world.multiplier * cost
    names = ("success", "cost", "value", "width", "better", "worse", "refused")
    held: dict[str, dict[str, list[float]]] = {method: {name: [] for name in names} for method in METHODS}
    for seed in range(simulations):
        drawn = draw(world, seed)
        for method, of in held.items():
            if method.startswith("plain"):
                low, high = plain_interval(drawn, method)
                of["success"].append(low <= success <= high)
                of["width"].append(high - low)
                continue
            try:
                found = compare_policies(
                    drawn.logged, drawn.challenger, drawn.champion, method, multiplier=world.multiplier
                )
            except TooFewError:
                of["refused"].append(1.0)
                continue
            of["refused"].append(0.0)
            for name, truth, one in (
                ("success", success, found.success_difference),
                ("cost", cost, found.cost_difference),
                ("value", value, found.value_difference),
            ):
                of[name].append(one.interval.low <= truth <= one.interval.high)
            interval = found.success_difference.interval
            of["width"].append(interval.high - interval.low)
            of["better"].append(found.value_difference.is_above)
            of["worse"].append(found.value_difference.is_below)
    truths = {"true success": success, "true value": value}
    return {
        method: {name: float(np.mean(shares)) if shares else float("nan") for name, shares in of.items()}
        | truths
        for method, of in held.items()
    }


def measure_canary(world: dict[str, float], simulations: int, units: int) -> dict[str, float]:
    options = dict(world)
    rule = CanaryRule(options.pop("multiplier", 20.0), most_units=10**9)
    ends: list[int] = []
    counts = dict.fromkeys(CanaryDecision, 0)
    for seed in range(simulations):
        said = replay_canary(draw_canary(seed, units, **options), rule)
        end = next((place for place, one in enumerate(said) if one != CanaryDecision.GO_ON), None)
        counts[CanaryDecision.GO_ON if end is None else said[end]] += 1
        if end is not None:
            ends.append(end + 1)
    shares = {str(verdict): count / simulations for verdict, count in counts.items()}
    return shares | {"median units": float(np.median(ends)) if ends else float("nan")}


def _keep(found: dict[str, dict[str, dict[str, float]]], out: Path | None) -> None:
    if out:
        out.write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=200, help="of each world (200)")
    parser.add_argument("--canaries", type=int, default=1000, help="simulations of each canary (1,000)")
    parser.add_argument("--units", type=int, default=5000, help="of a canary, at most (5,000)")
    parser.add_argument("--world", default="", help="only worlds whose name holds this")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    options = parser.parse_args()
    console, began = Console(), time.monotonic()
    found: dict[str, dict[str, dict[str, float]]] = {}
    columns = ("true", "success", "cost", "value", "width", "better", "worse", "refused")
    for name, world in WORLDS.items():
        if options.world not in name:
            continue
        table = Table("method", *columns, title=f"{name}; shares of {options.simulations} simulations")
        found[name] = measure(world, options.simulations)
        for method, one in found[name].items():
            shown = (one["true value"], *(one[column] for column in columns[1:]))
            table.add_row(method, *(f"{figure:.3f}" for figure in shown))
        console.print(table)
        _keep(found, options.out)
    table = Table("canary", "promote", "stop", "go on", "median units", title="looked at after every unit")
    found["canaries"] = {}
    for name, kind in CANARIES.items():
        if options.world not in name:
            continue
        one = found["canaries"][name] = measure_canary(kind, options.canaries, options.units)
        table.add_row(name, *(f"{one[column]:.3f}" for column in ("promote", "stop", "go on")),
                      f"{one['median units']:,.0f}")  # fmt: skip
    console.print(table)
    _keep(found, options.out)
    console.print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
