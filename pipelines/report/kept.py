"""The universe: the best set at every budget, which one was chosen, and why each expert is in or out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.learning.cross_fitted import expected_success
from pipelines.report.parts import (
    Cell,
    Chart,
    Paragraph,
    Part,
    Section,
    money,
    percent,
    table_of,
    usd_per_1k,
)
from pipelines.report.theme import cost_axis, finish
from universe.model.frontier_point import FrontierPoint

if TYPE_CHECKING:
    from universe.analysis.explain import MarginalValue
    from warehouse import Outcomes

BUDGETS = 12  # of the frontier
SECONDS = 10.0  # for each at most
FEWEST = 20  # questions that expectations can be fitted on


@dataclass(frozen=True)
class Choice:
    """The universe that a round chose, or the version's pool."""

    experts: tuple[str, ...]
    expected_score: float | None
    expected_cost_usd: float | None
    frontier: tuple[FrontierPoint, ...] = ()  # as it was looked for when the choice was made


def tell_universe(learned: Outcomes | None, chosen: Choice, embedder: str, cache_dir: Path) -> Section | None:
    """The frontier and the worth of each expert, on what was learned from; None where that is too little.

    Args:
        learned: outcomes of all experts that were asked.
        chosen: which of them were kept.
        embedder: of the router.
        cache_dir: where embeddings are kept.
    """
    if learned is None or len(learned) < FEWEST or not set(chosen.experts) <= set(learned.experts):
        return None
    from universe.analysis.explain import marginal_values
    from universe.analysis.frontier import cost_points, trace_frontier
    from universe.solver.select import universe_program

    expected = expected_success(learned, embedder=embedder, cache_dir=cache_dir)
    program = universe_program(learned, expected=expected)
    values = marginal_values(program, chosen.experts)
    share: dict[str, float] = {}
    points = chosen.frontier
    if not points:
        frontier = trace_frontier(program, points=BUDGETS, time_limit_s=SECONDS)
        points = cost_points(frontier)
        best = next((u for u in reversed(frontier.universes) if u is not None), None)
        share = dict(best.share) if best is not None and set(best.experts) == set(chosen.experts) else {}
    parts: list[Part] = [_chart(points, chosen), *_reasons(learned, values, share)]
    return Section("universe", "Which experts are worth keeping", tuple(parts))


def _chart(found: Sequence[FrontierPoint], chosen: Choice) -> Chart:
    values = [
        {"cost": 1000 * u.expected_cost_usd, "score": u.expected_score, "bound": u.bound,
         "count": len(u.experts), "experts": ", ".join(u.experts)}
        for u in found if u.expected_cost_usd > 0
    ]  # fmt: skip
    x = cost_axis("expected USD per 1,000 queries (log scale)")
    y = {"field": "score", "type": "quantitative", "scale": {"zero": False},
         "axis": {"title": "expected score of the best set", "format": "%"}}  # fmt: skip
    tooltip = [
        {"field": "experts"}, {"field": "count", "title": "experts kept"},
        {"field": "cost", "title": "USD per 1,000", "format": ".3~g"}, {"field": "score", "format": ".1%"},
    ]  # fmt: skip
    dot = {"type": "circle", "color": "var(--ours)", "size": 90, "opacity": 1}
    ring = {"type": "point", "color": "var(--single)", "size": 320, "strokeWidth": 2.5}
    beside = {
        "type": "text",
        "color": "var(--single)",
        "dx": -8,
        "dy": 20,
        "align": "right",
        "fontWeight": "bold",
    }
    layers: list[dict[str, Any]] = [
        {"data": {"values": values}, "mark": {"type": "line", "color": "var(--ours)", "strokeWidth": 2.5},
         "encoding": {"x": x, "y": y}},
        {"data": {"values": values}, "mark": dot,
         "encoding": {"x": x, "y": y, "tooltip": tooltip}},
        {"data": {"values": values}, "mark": {"type": "text", "dy": -13, "color": "var(--muted)"},
         "encoding": {"x": x, "y": y, "text": {"field": "count"}}},
    ]  # fmt: skip
    if chosen.expected_cost_usd and chosen.expected_score:
        at = [{"cost": 1000 * chosen.expected_cost_usd, "score": chosen.expected_score, "text": "chosen"}]
        layers += [
            {"data": {"values": at}, "mark": ring,
             "encoding": {"x": x, "y": y}},
            {"data": {"values": at}, "mark": beside,
             "encoding": {"x": x, "y": y, "text": {"field": "text"}}},
        ]  # fmt: skip
    table = table_of(
        "frontier",
        ("budget per 1,000", "experts", "expected score", "proven at most", "which"),
        [
            (usd_per_1k(u.budget_usd), Cell(str(len(u.experts)), len(u.experts)), percent(u.expected_score),
             percent(u.bound), ", ".join(u.experts))
            for u in found
        ],
        numbers=("budget per 1,000", "experts", "expected score", "proven at most"),
    )  # fmt: skip
    says = f"{len(chosen.experts)} experts were kept: {', '.join(chosen.experts)}."
    if found:
        says += (
            f" The cheapest set reaches {found[0].expected_score:.1%} for"
            f" {money(1000 * found[0].expected_cost_usd)} per 1,000 queries, the best"
            f" {found[-1].expected_score:.1%} for {money(1000 * found[-1].expected_cost_usd)}."
        )
    says += " Numbers at the points: experts kept."
    return Chart(
        "frontier", "The best set for every budget", finish({"layer": layers}, height=340), says, table
    )


def _reasons(learned: Outcomes, values: list[MarginalValue], share: dict[str, float]) -> list[Part]:
    place = {name: j for j, name in enumerate(learned.experts)}
    rows = []
    for value in values:
        score, cost = learned.score[:, place[value.expert]], learned.cost_usd[:, place[value.expert]]
        alone = float(np.nanmean(score)) if np.isfinite(score).any() else None
        spent = float(np.nanmean(cost)) if np.isfinite(cost).any() else None
        if value.kept:
            why = (
                "the limits need it"
                if np.isinf(value.value)
                else f"without it: {-100 * value.value:+.2f} points"
            )
        else:
            why = f"with it: {100 * value.value:+.2f} points"
        rows.append(
            (value.expert, "in" if value.kept else "out", Cell(why, value.value),
             percent(share.get(value.expert)), percent(alone), usd_per_1k(spent))
        )  # fmt: skip
    numbers = ("what it is worth", "carries", "accuracy alone", "per 1,000 queries")
    table = table_of("why", ("expert", "kept", *numbers), rows, numbers=numbers)
    text = (
        "An expert is in where the set loses without it, and out where it would add less than it costs or the"
        " limits leave no room. Scores are expected ones, of predictors that had not seen the answer in"
        " question: what looks best on answers already seen flatters large sets."
    )
    return [Paragraph(text), table]
