"""The first step of a round: questions are made, screened and stored."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.questions.brief import Brief
from pipelines.questions.duplicates import QuestionIndex, Refusal, find_contamination, screen_questions
from pipelines.questions.sources.base import Request, concat_unique
from pipelines.questions.sources.opening import Sources
from pipelines.ray_session import Connection
from pipelines.selfplay.frozen_set import FrozenQuestions
from pipelines.selfplay.round_record import Step
from warehouse import QUESTIONS, Warehouse


def make_round_questions(
    sources: Sources,
    warehouse: Warehouse,
    connection: Connection,
    *,
    round: str,
    run_id: str,
    seed: int,
    frozen: FrozenQuestions,
    used_ids: Sequence[str],
    brief: Brief,
    left_usd: Callable[[], float | None],
) -> Step:
    """Make a round's questions, screen and store them; return their ids and what was refused.

    Args:
        sources: who makes them, and how many.
        warehouse: what is there already, and where they go.
        connection: for sources that ask experts.
        round: its name.
        run_id: kept on the answers that making them takes.
        seed: of the run.
        frozen: what none of them may match.
        used_ids: questions that rounds have been given before.
        brief: what they should be about.
        left_usd: what the round may still spend; None: no limit.
    """
    there = warehouse.scan("questions")
    # What a killed attempt at this step stored is made again, the same.
    is_used = pc.is_in(there["question_id"], value_set=pa.array([*used_ids, *frozen.ids], pa.string()))
    there = there.filter(pc.or_(pc.not_equal(there["round"], round), is_used))
    index, known = QuestionIndex(), QuestionIndex()
    is_frozen = pc.is_in(there["question_id"], value_set=pa.array(list(frozen.ids), pa.string()))
    index.add(there.filter(is_frozen))
    known.add(there.filter(pc.invert(is_frozen)))
    stored = frozenset(there["question_id"].to_pylist())
    tables: list[pa.Table] = [QUESTIONS.empty_table()]
    refusals: list[Refusal] = []
    short = sources.per_round
    for source in sources.learning:
        if source.asks_experts and brief.gaps:
            connection.ensure()
        aside = source.set_aside()
        if aside is not None and source.name != frozen.source:
            refusals += find_contamination(aside.questions, index)
        made = source.make(
            Request(
                count=min(math.ceil(sources.per_round * source.share), short),
                round=round,
                seed=_round_seed(seed, round),
                exclude=frozenset(used_ids) if source.may_repeat else stored,
                brief=brief,
                budget_usd=left_usd(),
                run_id=run_id,
            )
        )
        screened = screen_questions(made.questions, frozen=index, known=known, repeats=stored - set(used_ids))
        warehouse.append("questions", screened.questions, round=round)
        refusals += [*made.refusals, *screened.refusals]
        tables.append(screened.questions)
        short -= screened.questions.num_rows
    questions = concat_unique(tables)
    return {
        "ids": questions["question_id"].to_pylist(),
        "refusals": [asdict(refusal) for refusal in refusals],
        "brief": [gap.text for gap in brief.gaps],
        "by_domain": dict(Counter(questions["domain"].to_pylist())),
    }


def _round_seed(seed: int, name: str) -> int:
    return seed * 1_000_003 + zlib.crc32(name.encode())
