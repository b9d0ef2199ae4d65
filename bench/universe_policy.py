"""Sets chosen by what the policy reaches with them beside the program's own, judged by the policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.routing_data import load_readings, read_pools
from bench.universe_data import SEEDS, hold_out, paired_interval, read_pool, show_interval
from bench.universe_proof import best_single_cost
from orchestrator.text.splits import split_by_text
from pipelines.learning.cross_fitted import split_to_judge
from pipelines.learning.policy_value import Answered, best_by_policy, compare_sets, reach, value_sets
from universe import Limits, universe_program
from universe.analysis.alternatives import nearest_sets
from universe.solver.solve import solve_program

POOLS, SIZES, SETS = ("C", "D"), (3,), 6
SHARE = 0.5  # of the best single expert's price


def print_by_policy(recorded: Path, out: Path, console: Console) -> None:
    """The gain of choosing by policy among the best sets, on questions that were not used to choose.

    Five 60/40 splits within the questions that the routing benchmark's first split learns from.
    """
    table = Table(
        "pool", "experts", "program's set", "gain by policy", "gain, beyond one error", "other set, splits",
        "foreseen",
        title=f"Accuracy by policy at {SHARE:.0%} of the best single's price, of {SETS} sets; points",
    )  # fmt: skip
    for name in POOLS:
        examples = read_pool(recorded, name, out)
        readings = load_readings(recorded, read_pools(recorded)[name], examples.outcomes)
        split = split_by_text(examples.outcomes.prompts, seed=0)
        inner = np.sort(np.concatenate([split.train, split.validation]))
        examples, readings = examples.take(inner), readings.take(inner)
        for size in SIZES:
            rows = []
            for seed in range(SEEDS):
                held = hold_out(examples, out, seed)
                rows_train, rows_test = split_to_judge(examples.outcomes, seed)  # as `hold_out` splits
                train = Answered(held.train, held.expected_train, readings.take(rows_train))
                test = Answered(held.test, held.expected_test, readings.take(rows_test))
                rows.append(_one_split(train, test, size, seed, console))
            gains, careful = ([row[i] for row in rows] for i in range(2))
            table.add_row(
                name, str(size), f"{100 * np.mean([row[2] for row in rows]):.2f}",
                show_interval(paired_interval(gains)), show_interval(paired_interval(careful)),
                f"{sum(bool(row[3]) for row in rows)} of {SEEDS}",
                f"{100 * np.mean([row[4] for row in rows]):+.2f}",
            )  # fmt: skip
    console.print(table)


def _one_split(train: Answered, test: Answered, size: int, seed: int, console: Console) -> tuple[Any, ...]:
    program = universe_program(train.outcomes, expected=train.expected, limits=Limits(max_experts=size))
    budget_usd = SHARE * best_single_cost(program)
    program = replace(program, limits=replace(program.limits, max_cost_usd=budget_usd))
    best = solve_program(program, time_limit_s=30).best
    assert best is not None
    names = [name for name, kept in zip(program.experts, best.members, strict=True) if kept]
    sets = [ranked.experts for ranked in nearest_sets(program, names, SETS)]
    values = value_sets(train, sets, max_cost_usd=budget_usd, seed=seed)
    chosen = sets.index(best_by_policy(values).experts)
    error = (values[chosen].gain_interval[1] - values[chosen].gain_interval[0]) / 3.92
    careful = chosen if values[chosen].gain > error else 0
    asked = test.take(test.complete(test.outcomes.experts))
    reached = {
        place: reach(train, asked, sets[place], max_cost_usd=budget_usd, seed=seed)
        for place in sorted({0, chosen})
    }
    first, other = reached[0], reached[chosen]
    tested = compare_sets([sets[0], sets[chosen]], [first, other])
    foreseen, came = values[chosen].gain, tested[1].gain
    console.print(f"[dim]{seed}: {', '.join(sets[chosen])}: {came:+.4f}; foreseen {foreseen:+.4f}[/dim]")
    gain = other.worth - first.worth
    return gain, gain * (careful != 0), tested[0].score, chosen != 0, values[chosen].gain
