"""What experts replied, in a form in which replies can be compared, and how sure of them they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experts.grading.base import Reply
from experts.grading.grade import GRADERS
from warehouse import Warehouse


@dataclass(frozen=True)
class Replies:
    """Replies of ``m`` experts to ``n`` questions."""

    answer: NDArray[np.object_]  # [n, m] equal where the replies say the same; None where there is no answer
    confidence: NDArray[np.float64]  # [n, m] probability of the option chosen, NaN where it is not known


def load_replies(warehouse: Warehouse, question_ids: Sequence[str], experts: Sequence[str]) -> Replies:
    """Load what the newest version of each expert replied, aligned with an outcomes matrix.

    A multiple-choice reply is its option, even in words; a number is its value; all else is the final answer,
    normalised.
    """
    shape = (len(question_ids), len(experts))
    answer = np.full(shape, None, object)
    confidence = np.full(shape, np.nan)
    connection = warehouse.connect()
    for name, keys in (("question_id", question_ids), ("expert", experts)):
        positions = pa.table({name: list(keys), "position": range(len(keys))})
        connection.register(f"wanted_{name}", positions)
    found = connection.execute(
        "select q.position, e.position, a.choice, a.text, a.choice_logprobs, o.kind"
        " from outcomes o join answers a using (question_id, expert, expert_version)"
        " join wanted_question_id q using (question_id) join wanted_expert e using (expert)"
        " where a.error is null"
    )
    while batch := found.fetchmany(10_000):
        for row, column, choice, text, logprobs, kind in batch:
            answer[row, column] = comparable_answer(kind, choice, text)
            confidence[row, column] = option_confidence(logprobs)
    return Replies(answer, confidence)


def comparable_answer(kind: str, choice: int | None, text: str | None) -> str | None:
    """Return what a reply says, in one form for all that say the same; None if it says nothing.

    >>> comparable_answer("exact", None, "That makes 1,000.50"), comparable_answer("choice", 2, "C")
    ('that makes 1,000.50', '2')
    >>> comparable_answer("exact", None, "#### 1,000.50"), comparable_answer("exact", None, "1000.5")
    ('1000.5', '1000.5')
    """
    grader = GRADERS.get(kind)
    return grader.comparable(Reply(text or "", choice)) if grader else None


def option_confidence(logprobs: Sequence[float] | None) -> float:
    """Return the probability of the likeliest option among all, NaN where there are no options.

    >>> round(option_confidence([-1.0, -1.0]), 3), option_confidence(None)
    (0.5, nan)
    """
    known = np.array([value for value in logprobs or () if value is not None and np.isfinite(value)])
    return float(1 / np.exp(known - known.max()).sum()) if len(known) > 1 else float("nan")
