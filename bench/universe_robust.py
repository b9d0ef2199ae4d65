"""What a robust universe costs when nothing moves, and what it saves when prices and traffic do."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.universe_data import expect, read_pool
from universe import Limits, select_robust, uncertain_world, universe_program
from universe.model.risk import Risk
from universe.report.figures import draw_robustness
from universe.solver.routing import ScenarioRouter

RISKS = {"worst case": Risk(weight=1.0), "mean and worst fifth": Risk(weight=0.5, tail=0.2)}
PRICE_WEIGHT = 10.0  # score that one USD per query is worth


def print_robust(recorded: Path, out: Path, console: Console) -> None:
    """Up to three experts, chosen over 48 scenarios, judged in 200 fresh ones."""
    table = Table(
        "pool", "price spread", "chosen for", "premium today", "saved in the scenarios", "saved, fresh mean",
        "saved, fresh worst 5%", "gap", "s", "set instead of today's best", title="Robust universes",
    )  # fmt: skip
    for pool in ("D", "mmlu_pro"):
        examples = read_pool(recorded, pool, out)
        program = universe_program(
            examples.outcomes, expected=expect(examples, out), limits=Limits(max_experts=3),
            price_weight=PRICE_WEIGHT,
        )  # fmt: skip
        for spread in (0.5, 1.0):
            worlds = uncertain_world(program, price_spread=spread)
            fresh = uncertain_world(program, price_spread=spread, scenarios=200, seed=99)
            routers = [ScenarioRouter(program, world) for world in fresh]
            for label, risk in RISKS.items():
                began = time.perf_counter()
                choice = select_robust(program, worlds, risk=risk)
                seconds = time.perf_counter() - began
                nominal, robust = (
                    np.sort([r.evaluate(np.isin(program.experts, s), np.ones(len(program.experts))).value
                             for r in routers])
                    for s in (choice.nominal, choice.robust)
                )  # fmt: skip
                changed = (
                    f"{', '.join(sorted(set(choice.robust) - set(choice.nominal))) or 'nothing'} for "
                    + (", ".join(sorted(set(choice.nominal) - set(choice.robust))) or "nothing")
                )
                table.add_row(
                    pool, f"{spread:g}", label, f"{choice.premium:.4f}", f"{choice.saving:.4f}",
                    f"{robust.mean() - nominal.mean():+.4f}",
                    f"{robust[:10].mean() - nominal[:10].mean():+.4f}",
                    f"{choice.gap:.0e}", f"{seconds:.0f}", changed,
                )  # fmt: skip
                draw_robustness(choice).savefig(out / f"robust-{pool}-{spread:g}-{label.split()[0]}.png")
    console.print(table)
