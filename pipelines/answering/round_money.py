"""What a round has cost, and what its budget leaves."""

from __future__ import annotations

import pyarrow.compute as pc

from pipelines.answering.round_cap import unrecorded_usd
from warehouse import Warehouse


def spent_usd(warehouse: Warehouse, round: str) -> float:
    """Return what a round has cost: all answers stored under it, those of its writer, its validators and its
    judge included, and what was or may have been billed without a row.
    """
    answers = warehouse.scan("answers", ["round", "cost_usd"])
    paid = pc.sum(answers.filter(pc.equal(answers["round"], round))["cost_usd"]).as_py()
    return float(paid or 0.0) + unrecorded_usd(warehouse, round)


def left_usd(warehouse: Warehouse, round: str, budget_usd: float | None) -> float | None:
    """Return what a budget leaves after all that a round has cost, in earlier runs too; None: no limit."""
    return None if budget_usd is None else max(budget_usd - spent_usd(warehouse, round), 0.0)
