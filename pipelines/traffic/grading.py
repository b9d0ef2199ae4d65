"""Shadow answers are graded by what fits: their form, what a user said is right, a judge, agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from experts.forms import (
    AnswerForm,
    JsonText,
    LongText,
    Said,
    comparable_key,
    form_of_request,
    is_comparable,
    judge_usable,
)
from pipelines.answering.judging import JudgeReceipt, judge_answers
from pipelines.answering.round_money import RoundMoney
from pipelines.learning.recorded_requests import RecordedRequests
from warehouse import JUDGEMENTS, Warehouse

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from experts import ExpertSpec
    from pipelines.traffic.as_questions import RecordedText
    from pipelines.traffic.settings import JudgeBy

#: Who gave a score, as JUDGEMENTS name it.
BY_FORM, BY_USER, BY_AGREEMENT, BY_MIRROR = "form@1", "user@1", "agreement@1", "pairs-served@1"
#: What users say at least of an answer that others may be compared with.
_ENDORSED = 0.75
#: Answers that agreement needs; of two that differ nobody knows which is right.
_FEWEST_AGREEING = 3

_ALL = """
select a.question_id, a.expert, a.expert_version, a.text, o.score
from outcomes o join answers a using (question_id, expert, expert_version) join asked using (question_id)
where a.error is null and a.text is not null order by 1, 2
"""
_OPEN = f"select * from ({_ALL}) where score is null order by 1, 2"

Row = dict[str, Any]  # an answer, and its score so far
_Scores = Iterator[tuple[Row, float, str]]  # an answer, its score, and why


@dataclass(frozen=True)
class GradedAnswers:
    """How many answers have a score now, by what gave it, and how many have none."""

    by: Mapping[str, int]
    open: int
    judging: tuple[JudgeReceipt, ...] = ()


@dataclass(frozen=True)
class Asked:
    """One question as its answers are looked at: its form, who was served, what users said of that."""

    form: AnswerForm
    served: str
    feedback: float
    demonstration: str | None


def read_asked(
    requests: RecordedRequests, questions: pa.Table, texts: Mapping[str, RecordedText] | None = None
) -> dict[str, Asked]:
    """What is known of each question, by its id; of requests that say the same the last counts.

    ``texts`` have the schemas by which requests asked for JSON.
    """
    known: dict[str, Asked] = {}
    columns = zip(
        *(questions[name].to_pylist() for name in ("question_id", "prompt")), requests.column("request_id"),
        requests.column("form"), requests.column("expert"), requests.feedback, requests.demonstrations,
        strict=True,
    )  # fmt: skip
    for name, prompt, request, form, served, feedback, demonstration in columns:
        text = (texts or {}).get(str(request))
        wanted = None if text is None else text.response_format
        found = _json_of(wanted) if form == "json" else form_of_request({}, prompt)
        if form in ("tool_call", "code", "long_text") and is_comparable(found):
            found = LongText()  # the request said more than its text does
        known[name] = Asked(found, str(served), float(feedback), demonstration)
    return known


def _json_of(wanted: Mapping[str, Any] | None) -> AnswerForm:
    """The JSON that a field of the request asked for; any, where no field did."""
    found = JsonText() if wanted is None else form_of_request({"response_format": wanted}, "")
    return found if isinstance(found, JsonText) else JsonText()


def grade_answers(
    warehouse: Warehouse,
    asked: Mapping[str, Asked],
    *,
    judge: ExpertSpec | None,
    judge_by: JudgeBy,
    money: RoundMoney,
    run_id: str,
    connect: Callable[[], None],
) -> GradedAnswers:
    """Give every answer to these questions the score of what fits best, cheapest first.

    An answer that its reader can do nothing with is wrong, and no judge is paid for it. One that says what a
    user's demonstration says, or what an answer says that a user has endorsed, is right. The judge reads what
    is left; without one, agreement between three experts or more grades what can be compared. Every score is
    a row of JUDGEMENTS, so what was graded is not graded again.

    Args:
        warehouse: where answers are, and where judgements go.
        asked: the questions.
        judge: who grades what no rule can; None: nobody.
        judge_by: a rubric, or pairs with the served answer in both orders.
        money: of the round; the judge is paid out of it.
        run_id: kept on the judge's own rows.
        connect: called before the judge is asked, and only then.
    """
    by: Counter[str] = Counter()
    for grader, scores in (
        (BY_FORM, _score_by_form(_answers(warehouse, asked, _OPEN), asked)),
        (BY_USER, _score_by_user(_answers(warehouse, asked, _ALL), asked)),
    ):
        by[grader] += _keep(warehouse, scores, grader, money.round)
    receipts: list[JudgeReceipt] = []
    if judge is None:
        scores = _score_by_agreement(_answers(warehouse, asked, _ALL), asked)
        by[BY_AGREEMENT] += _keep(warehouse, scores, BY_AGREEMENT, money.round)
    else:
        for against, rows in _to_judge(warehouse, asked, judge, judge_by):
            receipts.append(
                judge_answers(
                    warehouse, judge, round=money.round, run_id=run_id, against=against, only=rows,
                    budget_usd=money.left_usd(), connect=connect,
                )
            )  # fmt: skip
        if judge_by == "pairs":
            by[BY_MIRROR] += _keep(warehouse, _score_served(warehouse, asked), BY_MIRROR, money.round)
        by["judge"] += sum(one.judged for one in receipts)
    left = _answers(warehouse, asked, _OPEN).num_rows
    return GradedAnswers({name: n for name, n in by.items() if n}, left, tuple(receipts))


def _to_judge(
    warehouse: Warehouse, asked: Mapping[str, Asked], judge: ExpertSpec, judge_by: JudgeBy
) -> list[tuple[str | None, pa.Table]]:
    """What the judge is to read: with whom each part is compared, None for the rubric, and its rows."""
    rows = _answers(warehouse, asked, _OPEN)
    rows = rows.filter(pc.not_equal(rows["expert"], judge.name))
    if judge_by == "rubric":
        return [(None, rows)] if rows.num_rows else []
    everything = _answers(warehouse, asked, _ALL)
    there = set(zip(*(everything[name].to_pylist() for name in ("question_id", "expert")), strict=True))
    parts: dict[str, list[int]] = {}
    columns = (rows["question_id"].to_pylist(), rows["expert"].to_pylist())
    for i, (name, expert) in enumerate(zip(*columns, strict=True)):
        served = asked[name].served
        if expert != served and served != judge.name and (name, served) in there:
            parts.setdefault(served, []).append(i)
    return [(served, rows.take(pa.array(own))) for served, own in sorted(parts.items())]


def _score_by_form(rows: pa.Table, asked: Mapping[str, Asked]) -> _Scores:
    """0 for what its reader can do nothing with."""
    for row in rows.to_pylist():
        if judge_usable(asked[row["question_id"]].form, Said(row["text"])) is not None:
            yield row, 0.0, "not usable in the form that was asked for"


def _score_by_user(rows: pa.Table, asked: Mapping[str, Asked]) -> _Scores:
    """1 for what says the same as a demonstration or an endorsed answer, 0 for what says something else."""
    by_question = _by_question(rows)
    for name, own in by_question.items():
        known = asked[name]
        if not is_comparable(known.form):
            continue
        right = None
        if known.demonstration:
            right = comparable_key(known.form, Said(known.demonstration))
        elif known.feedback >= _ENDORSED:
            served = [row for row in own if row["expert"] == known.served]
            right = comparable_key(known.form, Said(served[0]["text"])) if served else None
        for row in own if right is not None else ():
            said = comparable_key(known.form, Said(row["text"]))
            if row["score"] is None and said is not None:
                yield row, float(said == right), f"users say that {right!r} is right"


def _score_by_agreement(rows: pa.Table, asked: Mapping[str, Asked]) -> _Scores:
    """The share of the other experts that say the same, where three or more can be compared."""
    for name, own in _by_question(rows).items():
        form = asked[name].form
        if not is_comparable(form):
            continue
        said = {row["expert"]: comparable_key(form, Said(row["text"])) for row in own}
        readable = Counter(key for key in said.values() if key is not None)
        if readable.total() < _FEWEST_AGREEING:
            continue
        for row in own:
            key = said[row["expert"]]
            if row["score"] is None and key is not None:
                share = (readable[key] - 1) / (readable.total() - 1)
                yield row, share, f"{readable[key] - 1} of {readable.total() - 1} others agree"


def _score_served(warehouse: Warehouse, asked: Mapping[str, Asked]) -> _Scores:
    """What was served, by the pairs in which it was the opponent: 1 less the mean of the others' scores."""
    with warehouse.connect() as connection:
        _register(connection, asked)
        found = connection.sql(
            "select question_id, avg(score) from judgements join asked using (question_id)"
            " where grader like 'judge:%/pairs/%' group by 1"
        ).fetchall()
    lost = dict(found)
    for row in _answers(warehouse, asked, _OPEN).to_pylist():
        if row["expert"] == asked[row["question_id"]].served and row["question_id"] in lost:
            yield row, 1.0 - float(lost[row["question_id"]]), "the pairs in which it was the opponent"


def _by_question(rows: pa.Table) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["question_id"], []).append(row)
    return found


def _answers(warehouse: Warehouse, asked: Mapping[str, Asked], query: str) -> pa.Table:
    with warehouse.connect() as connection:
        _register(connection, asked)
        return connection.sql(query).to_arrow_table()


def _register(connection: DuckDBPyConnection, asked: Mapping[str, Asked]) -> None:
    connection.register("asked", pa.table({"question_id": pa.array(list(asked), pa.string())}))


def _keep(warehouse: Warehouse, scores: _Scores, grader: str, round: str) -> int:
    found = list(scores)
    if not found:
        return 0
    now = datetime.now(UTC)
    columns = {
        **{key: [row[key] for row, _, _ in found] for key in ("question_id", "expert", "expert_version")},
        "grader": [grader] * len(found),
        "score": [score for _, score, _ in found],
        "explanation": [why for _, _, why in found],
        "cost_usd": [0.0] * len(found),
        "round": [round] * len(found),
        "created_at": [now] * len(found),
    }
    rows = pa.table({f.name: pa.array(columns[f.name], f.type) for f in JUDGEMENTS})
    return warehouse.append("judgements", rows, round=round)
