"""What may be learned from, and what may only be tested on: the answers, split once for all steps."""

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
    """Outcomes that somebody answered, n in all, each on one side of the split or on neither.

    Attributes:
        every: the outcomes; what may be learned from comes first.
        learned: mask [n] of those that may be learned from.
        frozen: mask [n] of the frozen set.
        left_out: experts with rows from which nothing can be learned: not one has a score and a cost.
    """

    every: Outcomes
    learned: NDArray[np.bool_]
    frozen: NDArray[np.bool_]
    left_out: tuple[str, ...] = ()

    def to_learn(self) -> Outcomes | None:
        """The outcomes that may be learned from; None where there are none."""
        return self.every.take(self.learned) if self.learned.any() else None

    def to_test(self) -> Outcomes | None:
        """The outcomes of the frozen set; None where there are none."""
        return self.every.take(self.frozen) if self.frozen.any() else None


def read_evidence(warehouse: Warehouse, experts: Sequence[str], frozen_ids: Sequence[str]) -> Evidence | None:
    """Read what these experts have answered, and split it; None where they have answered nothing.

    What falls to the evaluation side by the hash of its prompt is learned from by nobody, and is part of the
    frozen set only where it is listed. An expert whose answers have no scores or no costs is left out: one
    such expert must not keep the others from learning.
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
