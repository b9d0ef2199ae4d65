"""What a round has cost, and what its budget leaves."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from pipelines.answering.taking_in import unrecorded_usd
from warehouse import Warehouse


@dataclass(frozen=True)
class RoundMoney:
    """The money of a round.

    Attributes:
        warehouse: where its answers are.
        round: its name.
        cap_usd: what it may cost in all, earlier runs included; None: no limit.
    """

    warehouse: Warehouse
    round: str
    cap_usd: float | None = None

    def spent_usd(self) -> float:
        """What the round has cost: all answers stored under it, those of its writer, its validators and its
        judge included, and what was or may have been billed without a row.
        """
        answers = self.warehouse.scan("answers", ["round", "cost_usd"])
        paid = pc.sum(answers.filter(pc.equal(answers["round"], self.round))["cost_usd"]).as_py()
        return float(paid or 0.0) + unrecorded_usd(self.warehouse, self.round)

    def left_usd(self) -> float | None:
        """What the cap leaves; None: no limit."""
        return None if self.cap_usd is None else max(self.cap_usd - self.spent_usd(), 0.0)
