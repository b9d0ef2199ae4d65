"""Answers that only a reader can judge: what a judge is asked, and how its replies become scores.

A judge is an expert like any other, and its questions are ordinary multiple-choice questions: which level of
a rubric an answer reaches, or which of two answers is better. So it is asked, paid, resumed and counted as
every expert is. Judges favour a place (the first answer, say), so a pair is shown in both orders and the
score is the mean (Zheng et al., 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from experts.catalogue.spec import ExpertSpec
from warehouse import JUDGEMENTS, QUESTIONS, question_id

#: An answer is cut to so many characters before a judge reads it.
_LONGEST_ANSWER = 4000

_RUBRIC_PROMPT = """\
You grade an answer to a question. {criteria}

[Question]
{question}

[Reference answer]
{reference}

[Answer to grade]
{answer}

How good is the answer to grade?"""

_PAIR_PROMPT = """\
You compare two answers to a question. {criteria}

[Question]
{question}

[First answer]
{first}

[Second answer]
{second}

Which answer is better?"""

_PAIR_CHOICES = ("the first answer", "the second answer", "both are equally good")


class Level(BaseModel):
    """One level of a rubric: what it means, and its score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    meaning: str = Field(min_length=1, description="what an answer of this level is like")
    score: float = Field(ge=0, le=1, description="the score it gets")


class Rubric(BaseModel):
    """What a judge looks at, and the levels between which it chooses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="correctness", min_length=1, description="its name on every judged row")
    criteria: str = Field(
        default="Judge only whether it is right and answers what was asked, not its length or style.",
        description="what the judge is told to look at",
    )
    levels: tuple[Level, ...] = Field(
        default=(
            Level(meaning="wrong, or no answer", score=0.0),
            Level(meaning="partly right", score=0.5),
            Level(meaning="right", score=1.0),
        ),
        min_length=2,
        max_length=20,
        description="from the worst to the best",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Rubric:
        if any(worse.score >= better.score for worse, better in pairwise(self.levels)):
            raise ValueError("the levels are not in order; list them from the lowest score to the highest")
        return self

    @property
    def version(self) -> str:
        """Hash (8 hex digits) of what decides the scores."""
        content = [self.model_dump_json(), _RUBRIC_PROMPT, _PAIR_PROMPT, _PAIR_CHOICES]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def judge_grader(judge: ExpertSpec, rubric: Rubric, *, pairs: bool) -> str:
    """Return the grader's name and version for judged rows."""
    way = "pairs" if pairs else "rubric"
    return f"judge:{judge.name}/{judge.version}/{way}/{rubric.name}@{rubric.version}"


def rubric_questions(questions: pa.Table, texts: Sequence[str], rubric: Rubric) -> pa.Table:
    """Return what to ask a judge about answers: a multiple-choice question (QUESTIONS row) for each.

    Args:
        questions: the questions that were answered, one row per answer.
        texts: the answers.
        rubric: its levels are the choices.
    """
    choices = [level.meaning for level in rubric.levels]
    prompts = [
        _RUBRIC_PROMPT.format(
            criteria=rubric.criteria, question=question, reference=reference or "(none)", answer=_cut(text)
        )
        for question, reference, text in zip(
            questions["prompt"].to_pylist(), questions["answer"].to_pylist(), texts, strict=True
        )
    ]
    return _judge_table(questions, prompts, choices)


def pair_questions(
    questions: pa.Table, texts: Sequence[str], others: Sequence[str], rubric: Rubric
) -> tuple[pa.Table, pa.Table]:
    """Return what to ask a judge about pairs of answers, in both orders: ``texts`` first, then second."""
    tables = []
    for first, second in ((texts, others), (others, texts)):
        prompts = [
            _PAIR_PROMPT.format(criteria=rubric.criteria, question=question, first=_cut(a), second=_cut(b))
            for question, a, b in zip(questions["prompt"].to_pylist(), first, second, strict=True)
        ]
        tables.append(_judge_table(questions, prompts, _PAIR_CHOICES))
    return tables[0], tables[1]


def read_rubric_scores(replies: pa.Table, rubric: Rubric) -> list[float | None]:
    """Return scores in [0, 1] from a judge's rows: the expected level where it gave likelihoods.

    None where the judge failed or named no level.
    """
    return _expected(replies, [level.score for level in rubric.levels])


def read_pair_scores(first: pa.Table, second: pa.Table) -> list[float | None]:
    """Return the share of the comparison that each answer won: 1 won, 0.5 even, 0 lost, mean of both orders.

    ``first`` are the judge's rows where the answer stood first, ``second`` where it stood second.
    """
    pairs = zip(_expected(first, [1.0, 0.0, 0.5]), _expected(second, [0.0, 1.0, 0.5]), strict=True)
    return [None if a is None or b is None else (a + b) / 2 for a, b in pairs]


def judgements(
    answers: pa.Table, scores: Sequence[float | None], replies: Sequence[pa.Table], *, grader: str, round: str
) -> pa.Table:
    """Return JUDGEMENTS rows for the answers that got a score.

    Args:
        answers: rows with ``question_id``, ``expert`` and ``expert_version``.
        scores: theirs, None where there is none.
        replies: the judge's rows for them, one table per time that the judge was asked.
        grader: as :func:`judge_grader` gives it.
        round: kept on every row.
    """
    cost_usd = np.sum([np.nan_to_num(r["cost_usd"].to_numpy()) for r in replies], axis=0)
    said = zip(*(r["text"].to_pylist() for r in replies), strict=True)
    columns = {
        **{name: answers[name] for name in ("question_id", "expert", "expert_version")},
        "grader": pa.repeat(grader, answers.num_rows),
        "score": pa.array(scores, pa.float32()),
        "explanation": [" | ".join(text or "" for text in texts) for texts in said],
        "cost_usd": cost_usd,
        "round": pa.repeat(round, answers.num_rows),
        "created_at": pa.repeat(pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC")), answers.num_rows),
    }
    rows = pa.table(columns).select(JUDGEMENTS.names)
    return rows.filter(rows["score"].is_valid())


def _judge_table(questions: pa.Table, prompts: Sequence[str], choices: Sequence[str]) -> pa.Table:
    # A judge's question has no right choice: its "answer" is empty, and so its own score stays null.
    n = len(prompts)
    columns = {
        "question_id": [question_id(prompt, choices, "") for prompt in prompts],
        "source": pa.repeat("judge", n),
        "domain": questions["domain"],
        "prompt": prompts,
        "choices": pa.array([list(choices)] * n, pa.list_(pa.string())),
        "answer": pa.repeat("", n),
        "kind": pa.repeat("choice", n),
        "parent_id": questions["question_id"],
    }
    table = pa.table(columns)
    arrays = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(n, f.type) for f in QUESTIONS
    ]
    return pa.table(arrays, schema=QUESTIONS)


def _expected(replies: pa.Table, values: Sequence[float]) -> list[float | None]:
    scores: list[float | None] = []
    for choice, logprobs in zip(
        replies["choice"].to_pylist(), replies["choice_logprobs"].to_pylist(), strict=True
    ):
        if logprobs and len(logprobs) == len(values):
            weights = np.exp(np.array(logprobs) - np.max(logprobs))
            scores.append(float(weights @ np.array(values) / weights.sum()))
        else:
            scores.append(None if choice is None else values[choice])
    return scores


def _cut(text: str | None) -> str:
    text = (text or "").strip() or "(nothing)"
    return text if len(text) <= _LONGEST_ANSWER else f"{text[:_LONGEST_ANSWER]} ..."
