"""Sets chosen on expected success beside sets chosen on raw outcomes, and what raw coverage promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.universe_baselines import held_out_scores, plain_valuer
from bench.universe_data import SEEDS, hold_out, paired_interval, read_pool, show_interval
from bench.universe_proof import best_single_cost
from universe import Limits, universe_program
from universe.solver.solve import solve_program


def print_expected_or_raw(recorded: Path, out: Path, console: Console) -> None:
    """Held-out routed value of both choices, routed alike; and any-right coverage beside what is reached."""
    table = Table(
        "pool", "experts", "budget", "expected", "gain over raw", "same set, splits", "coverage promised",
        "over-stated by", "expected promised", "over-stated by",
        title="Chosen on expected success or on raw outcomes: held-out routed accuracy (%), gain in points",
    )  # fmt: skip
    pooled: list[list[NDArray[np.float64]]] = [[] for _ in range(SEEDS)]
    for pool in ("A", "D"):
        examples = read_pool(recorded, pool, out)
        splits = [hold_out(examples, out, seed) for seed in range(SEEDS)]
        for k in (2, 3):
            for share in (0.25, 0.5, None):
                rows = []
                gains = []
                for seed, split in enumerate(splits):
                    smooth = universe_program(
                        split.train, expected=split.expected_train, limits=Limits(max_experts=k)
                    )
                    budget = None if share is None else share * best_single_cost(smooth)
                    limits = replace(smooth.limits, max_cost_usd=budget)
                    smooth = replace(smooth, limits=limits)
                    valuer = plain_valuer(smooth)
                    hard = universe_program(split.train, limits=limits)
                    chosen = [solve_program(p, time_limit_s=20).best for p in (smooth, hard)]
                    assert chosen[0] is not None
                    assert chosen[1] is not None
                    ours, theirs = (
                        held_out_scores(valuer, c.members, split.test, split.expected_test) for c in chosen
                    )
                    gains.append(ours - theirs)
                    pooled[seed].append(ours - theirs)
                    same = (chosen[0].members == chosen[1].members).all()
                    rows.append(
                        [np.nanmean(ours), np.nanmean(theirs), same, chosen[0].value, chosen[1].value]
                    )
                reached, reached_raw, same_share, promised, coverage = np.mean(rows, axis=0)
                table.add_row(
                    pool, str(k), "none" if share is None else f"{share:.0%}", f"{100 * reached:.2f}",
                    show_interval(paired_interval(gains)), f"{round(SEEDS * same_share)} of {SEEDS}",
                    f"{100 * coverage:.1f}", f"{100 * (coverage - reached_raw):.1f}",
                    f"{100 * promised:.1f}", f"{100 * (promised - reached):.1f}",
                )  # fmt: skip
    console.print(table)
    overall = paired_interval([np.concatenate(gains) for gains in pooled])
    console.print(f"over all cells: {show_interval(overall)} points")
