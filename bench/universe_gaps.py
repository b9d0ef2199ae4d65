"""The gap report on mmlu: stable regions over five resamples, and planted gaps found every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.universe_data import expect, read_pool
from universe import Expected, find_gaps, select_universe
from universe.report.figures import draw_gaps
from universe.report.tables import render_gaps


def print_gaps(recorded: Path, out: Path, console: Console) -> None:
    """The gaps of pool A's best three experts, then each domain set to wrong in a copy."""
    examples = read_pool(recorded, "A", out)
    outcomes, vectors, expected = examples.outcomes, examples.queries.embeddings, expect(examples, out)
    experts = select_universe(outcomes, expected=expected, max_experts=3).experts
    report = find_gaps(outcomes, expected, experts, vectors)
    draw_gaps(report).savefig(out / "gaps-A.png")
    console.print(f"universe: {', '.join(experts)}", render_gaps(report))
    table = Table(
        "planted in", "questions", "of them in gaps named", "others in gaps named",
        "found again in every resample", title="Planted gaps: a domain's outcomes all set to wrong",
    )  # fmt: skip
    for domain in np.unique(outcomes.domains):
        rows = outcomes.domains == domain
        score, success = outcomes.score.copy(), expected.score.copy()
        score[rows] = np.where(np.isfinite(score[rows]), 0, np.nan)
        success[rows] = 0
        copy = replace(outcomes, score=score)
        found = find_gaps(copy, Expected(success, expected.cost_usd), experts, vectors)
        planted = [g for g in found.gaps if domain in g.domains]
        named = np.isin(found.regions.label, [g.region for g in found.gaps])
        table.add_row(
            str(domain), str(int(rows.sum())), f"{named[rows].mean():.1%}", f"{named[~rows].mean():.1%}",
            f"{sum(g.stability == 1 for g in planted)} of {len(planted)} regions",
        )  # fmt: skip
    console.print(table)
