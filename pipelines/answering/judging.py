"""Have a judge read the answers that no rule can grade.

The judge's replies are answers like any other: keyed, stored and paid once, so a judging that was killed goes
on where it stopped. The scores are worked out of them and kept in the ``judgements`` table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from experts.catalogue.prompts import render_prompt
from pipelines.answering.bulk import answer_questions
from pipelines.answering.receipt import AnswerReceipt
from warehouse import NotReadyError, Warehouse, first_of_each

if TYPE_CHECKING:
    from experts import ExpertSpec, Rubric

#: The opponent in a comparison that is the question's own reference answer.
REFERENCE = "reference"
#: What no rule grades, of the views ``outcomes o`` and ``questions q``.
_FOR_A_JUDGE = "(o.kind = 'judged' or (o.kind = 'choice' and q.answer = ''))"
_WITH_OPTIONS = "{question}\n{choices}"


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
    connect: Callable[[], None] = lambda: None,
    only: pa.Table | None = None,
) -> JudgeReceipt:
    """Judge the unscored answers that no rule grades; needs a Ray connection where there are any.

    Args:
        warehouse: where answers are, and where judgements go.
        judge: the expert that judges; it does not judge its own answers.
        round: kept on the rows; every round's open answers are judged.
        run_id: kept on the judge's own rows.
        rubric: what to look at; correctness by default.
        against: None grades each answer on the rubric. ``"reference"`` compares it with the reference
            answer, an expert's name with that expert's, in both orders.
        budget_usd: what the judge may cost at most; answers beyond it stay open.
        connect: called before the judge is asked, and only then.
        only: columns ``question_id`` and ``expert`` of the answers to judge; by default all that are open.

    Raises:
        NotReadyError: the opponent has no answers.
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
    opponent = None if against == REFERENCE else against
    if opponent is not None and not _has_judged_answers(warehouse, opponent):
        raise NotReadyError(
            f"expert {opponent!r} has no answers to questions that a judge grades",
            fix="let it answer them first",
        )
    answers = _judged_answers(warehouse, judge.name, opponent)
    if only is not None:
        answers = answers.filter(pc.is_in(_pair_keys(answers), value_set=_pair_keys(only)))
    open_rows = _unjudged(warehouse, answers, grader)
    if open_rows.num_rows:
        connect()
    texts = open_rows["text"].to_pylist()
    if against is None:
        asked = [rubric_questions(open_rows, texts, rubric)]
    else:
        others = open_rows["answer" if against == REFERENCE else "other"].to_pylist()
        asked = list(pair_questions(open_rows, texts, others, rubric))
    together = pa.concat_tables(asked)
    receipt = answer_questions(
        warehouse,
        judge,
        together.take(first_of_each(together["question_id"])),
        round=round,
        run_id=run_id,
        budget_usd=budget_usd,
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


def _pair_keys(rows: pa.Table) -> pa.Array:
    keys = pc.binary_join_element_wise(rows["question_id"], rows["expert"], "\x1f")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def _unjudged(warehouse: Warehouse, answers: pa.Table, grader: str) -> pa.Table:
    keys = answers.select(["question_id", "expert", "expert_version"])
    keys = keys.append_column("grader", pa.repeat(grader, answers.num_rows))
    return answers.filter(warehouse.missing("judgements", keys))


def _judged_answers(warehouse: Warehouse, judge: str, opponent: str | None) -> pa.Table:
    """Answers of current versions that wait for a judge, beside their questions.

    They are answers to ``judged`` questions, and to multiple-choice questions whose right option nobody
    knows; the options of these are put under the prompt, and an answer by likelihoods is its option. They
    came without an error, say something, and have no score (a recording brings its own). With an opponent,
    only those to which it has an answer too, ``other``; scored or not, that is there to compare with.
    """
    said, other_said = (
        f"coalesce({answers}.text, q.choices[{answers}.choice + 1])" for answers in ("a", "b")
    )
    other = f", {other_said} as other" if opponent else ""
    beside = (
        " join outcomes p on p.question_id = o.question_id and p.expert = $opponent and p.error is null"
        " join answers b on b.question_id = p.question_id and b.expert = p.expert"
        f" and b.expert_version = p.expert_version and {other_said} is not null"
        if opponent
        else ""
    )
    with warehouse.connect() as connection:
        rows = connection.sql(
            f"select a.question_id, a.expert, a.expert_version, {said} as text,"
            f" q.prompt, q.choices, q.answer, q.domain{other}"
            " from outcomes o join answers a using (question_id, expert, expert_version)"
            f" join questions q on q.question_id = o.question_id{beside}"
            f" where {_FOR_A_JUDGE} and a.error is null and a.score is null and {said} is not null"
            " and o.expert != $judge and ($opponent is null or o.expert != $opponent)"
            " order by a.question_id, a.expert",
            params={"judge": judge, "opponent": opponent},
        ).to_arrow_table()
    prompts = [
        render_prompt(_WITH_OPTIONS, prompt, choices) if choices else prompt
        for prompt, choices in zip(rows["prompt"].to_pylist(), rows["choices"].to_pylist(), strict=True)
    ]
    place = rows.schema.get_field_index("prompt")
    return rows.set_column(place, "prompt", pa.array(prompts, pa.string())).drop_columns(["choices"])


def _has_judged_answers(warehouse: Warehouse, expert: str) -> bool:
    with warehouse.connect() as connection:
        found = connection.execute(
            "select 1 from outcomes o join answers a using (question_id, expert, expert_version)"
            " join questions q on q.question_id = o.question_id"
            f" where {_FOR_A_JUDGE} and coalesce(a.text, q.choices[a.choice + 1]) is not null"
            " and o.expert = ? limit 1",
            [expert],
        )
        return found.fetchone() is not None


def _replies(warehouse: Warehouse, judge: ExpertSpec, asked: pa.Table) -> pa.Table:
    """The judge's rows for its questions, in their order; null where it has not answered."""
    columns = ["question_id", "text", "choice", "choice_logprobs", "cost_usd"]
    rows = warehouse.answers_of(judge.name, judge.version, columns=columns)
    return rows.take(pc.index_in(asked["question_id"], value_set=rows["question_id"].combine_chunks()))
