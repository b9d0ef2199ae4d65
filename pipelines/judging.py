"""Have a judge read the answers that no rule can grade.

The judge's replies are answers like any other: keyed, stored and paid once, so a judging that was killed goes
on where it stopped. The scores are worked out of them and kept in the ``judgements`` table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answer import AnswerReceipt, answer_questions
from warehouse import InputError, Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec, Rubric

#: The opponent in a comparison that is the question's own reference answer.
REFERENCE = "reference"


@dataclass(frozen=True)
class JudgeReceipt:
    """What a judging did: answers judged now, before, and without a score; and what the judge was paid."""

    judged: int
    reused: int
    unscored: int
    judge: AnswerReceipt


def judge_answers(
    warehouse: Warehouse,
    judge: ExpertSpec,
    *,
    round: str,
    run_id: str,
    rubric: Rubric | None = None,
    against: str | None = None,
    budget_usd: float | None = None,
) -> JudgeReceipt:
    """Judge the unscored answers to ``judged`` questions; needs a Ray connection.

    Args:
        warehouse: where answers are, and where judgements go.
        judge: the expert that judges; it does not judge its own answers.
        round: kept on the rows; every round's open answers are judged.
        run_id: kept on the judge's own rows.
        rubric: what to look at; correctness by default.
        against: None grades each answer on the rubric. ``"reference"`` compares it with the reference
            answer, an expert's name with that expert's, in both orders.
        budget_usd: what the judge may cost at most; answers beyond it stay open.

    Raises:
        InputError: the opponent has no answers.
    """
    from experts import (
        Rubric,
        judge_grader,
        pair_questions,
        read_pair_scores,
        read_rubric_scores,
        rubric_questions,
    )
    from experts import judgements as to_judgements

    rubric = rubric or Rubric()
    grader = judge_grader(judge, rubric, pairs=against is not None)
    if against is not None:
        grader += f"/{against}"
    answers = _judged_answers(warehouse, judge.name)
    if against not in (None, REFERENCE):
        answers = _beside(answers, against or "")
    open_rows = _unjudged(warehouse, answers, grader)
    texts = open_rows["text"].to_pylist()
    if against is None:
        asked = [rubric_questions(open_rows, texts, rubric)]
    else:
        others = open_rows["answer" if against == REFERENCE else "other"].to_pylist()
        asked = list(pair_questions(open_rows, texts, others, rubric))
    together = pa.concat_tables(asked)
    receipt = answer_questions(
        warehouse, judge, _distinct(together), round=round, run_id=run_id, budget_usd=budget_usd
    )
    replies = [_replies(warehouse, judge, table) for table in asked]
    scores = (
        read_rubric_scores(replies[0], rubric)
        if against is None
        else read_pair_scores(replies[0], replies[1])
    )
    rows = to_judgements(open_rows, scores, replies, grader=grader, round=round)
    written = warehouse.append("judgements", rows, round=round)
    return JudgeReceipt(
        judged=written,
        reused=answers.num_rows - open_rows.num_rows,
        unscored=open_rows.num_rows - written,
        judge=receipt,
    )


def open_judgements(warehouse: Warehouse, judge: ExpertSpec) -> int:
    """Count the answers that this judge has not graded yet for correctness."""
    from experts import Rubric, judge_grader

    answers = _judged_answers(warehouse, judge.name)
    return len(_unjudged(warehouse, answers, judge_grader(judge, Rubric(), pairs=False)))


def _unjudged(warehouse: Warehouse, answers: pa.Table, grader: str) -> pa.Table:
    keys = answers.select(["question_id", "expert", "expert_version"])
    keys = keys.append_column("grader", pa.repeat(grader, answers.num_rows))
    return answers.filter(warehouse.missing("judgements", keys))


def _judged_answers(warehouse: Warehouse, judge: str) -> pa.Table:
    """Answers to ``judged`` questions that came without an error, beside their questions."""
    with warehouse.connect() as connection:
        return connection.sql(
            "select a.question_id, a.expert, a.expert_version, a.text, q.prompt, q.answer, q.domain"
            " from answers a join questions q using (question_id)"
            " where q.kind = 'judged' and a.error is null and a.expert != $judge"
            " order by a.question_id, a.expert",
            params={"judge": judge},
        ).to_arrow_table()


def _beside(answers: pa.Table, opponent: str) -> pa.Table:
    theirs = answers.filter(pc.equal(answers["expert"], opponent))
    if not theirs.num_rows:
        raise InputError(
            f"expert {opponent!r} has no answers to judged questions", fix="let it answer them first"
        )
    ours = answers.filter(pc.not_equal(answers["expert"], opponent))
    position = pc.index_in(ours["question_id"], value_set=theirs["question_id"].combine_chunks())
    return ours.append_column("other", theirs["text"].take(position)).filter(position.is_valid())


def _distinct(questions: pa.Table) -> pa.Table:
    first = pa.table({"id": questions["question_id"], "row": range(questions.num_rows)})
    rows = first.group_by("id", use_threads=False).aggregate([("row", "min")])["row_min"]
    return questions.take(rows)


def _replies(warehouse: Warehouse, judge: ExpertSpec, asked: pa.Table) -> pa.Table:
    """The judge's rows for its questions, in their order; null where it has not answered."""
    columns = ["question_id", "text", "choice", "choice_logprobs", "cost_usd"]
    rows = warehouse.answers_of(judge.name, judge.version, columns=columns)
    return rows.take(pc.index_in(asked["question_id"], value_set=rows["question_id"].combine_chunks()))
