"""The outcomes, split once for all steps into those to learn from and those to test on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from warehouse import NotReadyError, Outcomes, Warehouse, load_outcomes


@dataclass(frozen=True)
class Evidence:
    """Outcomes of n answered questions, each on one side of the split or on neither.

    Attributes:
        every: all outcomes, those to learn from first.
        learned: mask [n] of those that may be learned from.
        frozen: mask [n] of the frozen set.
        left_out: experts without any row that has both a score and a cost.
    """

    every: Outcomes
    learned: NDArray[np.bool_]
    frozen: NDArray[np.bool_]
    left_out: tuple[str, ...] = ()

    def to_learn(self) -> Outcomes | None:
        """Return the outcomes to learn from; None if there are none."""
        return self.every.take(self.learned) if self.learned.any() else None

    def to_test(self) -> Outcomes | None:
        """Return the outcomes of the frozen set; None if there are none."""
        return self.every.take(self.frozen) if self.frozen.any() else None


def read_evidence(warehouse: Warehouse, experts: Sequence[str], frozen_ids: Sequence[str]) -> Evidence | None:
    """Read and split the outcomes of these experts; None if there are none.

    Questions on the evaluation side of the split, by the hash of their prompt, are never learned from. They
    belong to the frozen set only if it lists them. An expert whose answers have no scores or no costs is
    left out, so that it does not keep the others from learning.
    """
    from orchestrator.text.splits import frozen_split

    try:
        outcomes = load_outcomes(warehouse)
    except NotReadyError:
        return None
    names = [name for name in experts if name in outcomes.experts]
    if not names:
        return None
    outcomes = outcomes.only(names)
    split = frozen_split(outcomes.prompts)
    learned = np.zeros(len(outcomes), bool)
    learned[split.train] = learned[split.validation] = True
    frozen = np.isin(outcomes.question_ids, list(frozen_ids))
    answered = np.isfinite(outcomes.score).any(axis=1)
    learned, frozen = learned & answered & ~frozen, frozen & answered
    has_both = np.isfinite(outcomes.score + outcomes.cost_usd)
    tells = np.array([has_both[learned, j].any() or not learned.any() for j in range(len(names))])
    left_out = tuple(name for name, told in zip(outcomes.experts, tells, strict=True) if not told)
    if not tells.any():
        return None
    outcomes = outcomes.only([name for name in outcomes.experts if name not in left_out])
    answered = np.isfinite(outcomes.score).any(axis=1)
    learned, frozen = learned & answered, frozen & answered
    order = np.concatenate([np.flatnonzero(learned), np.flatnonzero(frozen)])
    if not len(order):
        return None
    return Evidence(outcomes.take(order), learned[order], frozen[order], left_out)


def read_questions(warehouse: Warehouse, ids: Sequence[str], *, keeper: Path) -> pa.Table:
    """QUESTIONS rows of these ids, in their order.

    Args:
        warehouse: where they are.
        ids: of the questions.
        keeper: folder of the records that name them.

    Raises:
        NotReadyError: some are not in the warehouse any more.
    """
    table = warehouse.scan("questions")
    place = pc.index_in(pa.array(ids, pa.string()), value_set=table["question_id"].combine_chunks())
    if place.null_count:
        raise NotReadyError(
            f"{place.null_count} questions of this round are not in the warehouse any more",
            where=warehouse.url,
            fix=f"restore them, or delete {keeper} to begin anew",
        )
    return table.take(place)
