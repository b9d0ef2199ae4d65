"""What an expert did in a run of answers, counted from what is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answering.actor import FAILED_BLOCKS
from warehouse import Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec

_COUNTED = ("question_id", "error", "prompt_tokens", "completion_tokens", "cost_usd")


@dataclass(frozen=True)
class AnswerReceipt:
    """What one expert did in a round: counts of questions, tokens and money of this run alone."""

    expert: str
    asked: int  # answered now, failures included
    reused: int  # had been answered before
    failed: int  # of those asked now
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    wall_s: float
    start_s: float = 0.0  # of that, until the engine was ready
    unasked: int = 0  # left open for a later run
    problem: str | None = None  # why questions were left open; None when none were


@dataclass
class Course:
    """What is heard of experts that share an engine while they answer."""

    ready_at: float | None = None  # when the engine was, in seconds since 1970
    problems: dict[str, list[str]] = field(default_factory=dict)
    broken: str | None = None

    def why_open(self, expert: str) -> str:
        """Say why an expert left questions open."""
        if self.broken:
            return self.broken
        reasons = self.problems.get(expert, [])
        problem = reasons[0] if reasons else "it was taken out of the round"
        if sum("every answer failed" in reason for reason in reasons) >= FAILED_BLOCKS:
            problem = f"taken out of the round: {problem}"
        return problem


def count_answers(
    warehouse: Warehouse,
    spec: ExpertSpec,
    offered: pa.Table,
    todo: pa.Table | None,
    course: Course,
    *,
    wall_s: float,
    start_s: float,
) -> AnswerReceipt:
    """Count what is in the warehouse now and was not before: right whatever was killed or sent twice.

    Args:
        warehouse: where the answers are.
        spec: the expert.
        offered: the questions that it was given.
        todo: those of them that were open before; None where none were.
        course: what was heard meanwhile.
        wall_s: how long it took.
        start_s: of that, until the engine was ready.
    """
    asked = todo if todo is not None else offered.slice(0, 0)
    stored = warehouse.answers_of(spec.name, spec.version, columns=_COUNTED)
    stored = stored.filter(pc.is_in(stored["question_id"], value_set=asked["question_id"].combine_chunks()))
    unasked = asked.num_rows - stored.num_rows
    return AnswerReceipt(
        expert=spec.name,
        asked=stored.num_rows,
        reused=offered.num_rows - asked.num_rows,
        failed=stored.num_rows - stored["error"].null_count,
        prompt_tokens=pc.sum(stored["prompt_tokens"]).as_py() or 0,
        completion_tokens=pc.sum(stored["completion_tokens"]).as_py() or 0,
        cost_usd=float(pc.sum(stored["cost_usd"]).as_py() or 0.0),
        wall_s=wall_s,
        start_s=start_s,
        unasked=unasked,
        problem=course.why_open(spec.name) if unasked else None,
    )
