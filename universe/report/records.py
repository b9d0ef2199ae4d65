"""Universes as rows for programs: one per expert, per set, per budget of a frontier, or for a candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from universe.analysis.alternatives import RankedSet, SetByPolicy
from universe.analysis.candidate import CandidateValue
from universe.analysis.explain import MarginalValue
from universe.analysis.frontier import Frontier
from universe.model.universe import Universe


def universe_records(
    universe: Universe, values: Sequence[MarginalValue], reasons: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return one row per expert, the kept ones first.

    Args:
        universe: the chosen set.
        values: the marginal value of every expert, in score. An infinite value becomes None.
        reasons: why each kept expert is kept.
    """
    return [
        {
            "expert": value.expert,
            "kept": value.kept,
            "share": universe.share.get(value.expert, 0.0),
            "replicas": universe.replicas.get(value.expert, 0),
            "marginal_score": value.value if math.isfinite(value.value) else None,
            "why": reasons.get(value.expert) or _why_left_out(value.expert, universe),
            "status": universe.status,
            "set_score": universe.expected_score,
            "set_cost_usd": universe.expected_cost_usd,
            "set_gap": universe.gap,
        }
        for value in values
    ]


def _why_left_out(expert: str, universe: Universe) -> str:
    better = universe.dominated.get(expert)
    return f"{better} is as good everywhere and costs no more" if better else "not in the best set"


def frontier_records(frontier: Frontier) -> list[dict[str, Any]]:
    """Return one row per budget; where no set fits a budget, only the budget has a value."""
    return [
        {"limit": frontier.budget, "budget": budget}
        | {
            "experts": None if u is None else list(u.experts),
            "score": None if u is None else u.expected_score,
            "cost_usd": None if u is None else u.expected_cost_usd,
            "gap": None if u is None else u.gap,
            "shadow_price": None if u is None else u.cost_multiplier,
            "wall_s": None if u is None else u.wall_s,
        }
        for budget, u in zip(frontier.limits, frontier.universes, strict=True)
    ]


def set_records(
    ranked: Sequence[RankedSet], reached: Sequence[SetByPolicy], chosen: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one row per set, the program's first; the figures are None where the budget cannot be kept."""
    rows = []
    for by_program, by_policy in zip(ranked, reached, strict=True):
        known = not math.isnan(by_policy.score)
        rows.append(
            {
                "experts": list(by_policy.experts),
                "kept": set(by_policy.experts) == set(chosen),
                "objective": by_program.value,
                "policy_score": by_policy.score if known else None,
                "policy_low": by_policy.interval[0] if known else None,
                "policy_high": by_policy.interval[1] if known else None,
                "policy_gain": by_policy.gain if math.isfinite(by_policy.gain) else None,
                "policy_cost_usd": by_policy.cost_usd,
                "asks": by_policy.asks,
                "questions": by_policy.questions,
            }
        )
    return rows


def candidate_record(worth: CandidateValue) -> dict[str, Any]:
    """Return one row; the break-even price is None where the candidate earns its place at any price."""
    at_any_price = math.isinf(worth.break_even_usd)
    return asdict(worth) | {
        "replaces": list(worth.replaces),
        "break_even_usd": None if at_any_price else worth.break_even_usd,
        "gain": worth.gain,
    }
