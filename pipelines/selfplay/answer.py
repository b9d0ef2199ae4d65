"""The experts of a run answer, and its judge grades what no rule can."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answering.bulk import answer_open_work
from pipelines.answering.judging import judge_answers
from pipelines.answering.open_work import find_open_work
from pipelines.answering.round_money import RoundMoney
from pipelines.ray_session import Connection
from pipelines.selfplay.events import Answered, AnsweringBegins, AnswersCame, Tell
from pipelines.selfplay.panel import Panel
from pipelines.selfplay.round_record import FROZEN
from warehouse import Warehouse


def answer_round(
    warehouse: Warehouse,
    panel: Panel,
    questions: Mapping[str, pa.Table],
    *,
    run_id: str,
    money: RoundMoney,
    connection: Connection,
    tell: Tell,
) -> Answered:
    """Have the experts answer what they have not answered yet, and the judge grade what is not graded.

    Args:
        warehouse: where answers are looked up and stored.
        panel: who answers, and who judges.
        questions: rows of the questions table by expert's name.
        run_id: kept on every row.
        money: of the round under which the answers are kept.
        connection: made where anything is open.
        tell: hears of the answers while they come, one event at a time.
    """
    round = money.round
    left = money.left_usd()
    before_usd = money.spent_usd()
    work = find_open_work(warehouse, panel.experts, questions)
    counts = {name: table.num_rows for name, table in questions.items()}
    tell(AnsweringBegins(round, counts, bool(work), round == FROZEN))
    if work:
        connection.ensure()
    turn = threading.Lock()  # experts answer side by side, each in a thread

    def tell_progress(expert: str, count: int) -> None:
        with turn:
            tell(AnswersCame(expert, count))

    receipts = answer_open_work(
        warehouse, work, round=round, run_id=run_id, budget_usd=left, on_progress=tell_progress
    )
    if panel.judge is None:
        return Answered(round, tuple(receipts))
    if left is not None:
        left = max(left - (money.spent_usd() - before_usd), 0.0)
    judged = judge_answers(
        warehouse, panel.judge, round=round, run_id=run_id, budget_usd=left, connect=connection.ensure
    )
    return Answered(round, tuple(receipts), panel.judge.name, judged)


def count_answers(warehouse: Warehouse, question_ids: Sequence[str], experts: Sequence[str]) -> int:
    """How many answers of these experts to these questions there are."""
    answers = warehouse.scan("answers", ["question_id", "expert"])
    mask = pc.and_(
        pc.is_in(answers["question_id"], value_set=pa.array(list(question_ids), pa.string())),
        pc.is_in(answers["expert"], value_set=pa.array(list(experts))),
    )
    return int(pc.sum(mask).as_py() or 0)
