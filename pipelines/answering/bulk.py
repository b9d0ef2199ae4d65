"""Experts answer questions: Ray Data feeds the open ones to expert actors, which grade and store them.

Answers are stored as they come, keyed by (question, expert, expert version): those of a paid API one by one,
those of an engine of one's own block by block. A round that was killed at any moment goes on where it
stopped: at most what was in flight is asked again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.answering.holding import LostNodeError, check_holdable
from pipelines.answering.open_work import OpenWork, find_open_work
from pipelines.answering.receipt import AnswerReceipt, Course, count_answers
from pipelines.answering.round_cap import hold_cap, holder_prefix
from pipelines.answering.stream import Work, stream_receipts
from pipelines.answering.taking_in import take_in_journals, unrecorded_usd
from warehouse import LeerooError, Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec

#: Questions per block: what is stored at a time.
BATCH_QUESTIONS = 32

#: Called with an expert's name and the number of its questions answered since the last call.
Progress = Callable[[str, int], None]


def answer_questions(
    warehouse: Warehouse,
    spec: ExpertSpec,
    questions: pa.Table,
    *,
    round: str,
    run_id: str,
    batch_questions: int = BATCH_QUESTIONS,
    budget_usd: float | None = None,
    on_progress: Callable[[int], None] = lambda answered: None,
) -> AnswerReceipt:
    """Have one expert answer what it has not answered yet, through Ray Data; needs a Ray connection.

    An expert that cannot start, or keeps failing, leaves questions open: the receipt's ``problem`` says why.
    Its ``cost_usd`` has in it what was billed, or may have been, without a row.

    Args:
        warehouse: where answers are looked up and stored.
        spec: the expert; ``resources`` sets the size of its actor pool and what each actor holds.
        questions: rows of the questions table.
        round: the partition to store under.
        run_id: kept on every row (an MLflow run id).
        batch_questions: questions per block.
        budget_usd: what may be spent now at most; questions beyond it stay open.
        on_progress: called with the number of questions answered since the last call.

    Raises:
        InputError: the budget is not a finite number of 0 or more.
        CannotRunError: no node can hold the expert, and none will come; nothing was asked.
    """
    work = find_open_work(warehouse, [spec], questions)
    if work:
        check_holdable([spec])
    before_usd = unrecorded_usd(warehouse, round)
    with hold_cap(budget_usd, needed=bool(work)) as cap:
        run = Work(warehouse, round, run_id, batch_questions, cap)
        (receipt,) = answer_as_group(run, work, lambda _, answered: on_progress(answered))
    return replace(receipt, cost_usd=receipt.cost_usd + unrecorded_usd(warehouse, round) - before_usd)


def answer_with_all(
    warehouse: Warehouse,
    specs: Sequence[ExpertSpec],
    questions: pa.Table | Mapping[str, pa.Table],
    *,
    round: str,
    run_id: str,
    batch_questions: int = BATCH_QUESTIONS,
    budget_usd: float | None = None,
    on_progress: Progress = lambda expert, answered: None,
) -> list[AnswerReceipt]:
    """Have experts answer what they have not answered yet; see :func:`answer_open_work`.

    Args:
        warehouse: where answers are looked up and stored.
        specs: the experts.
        questions: rows of the questions table for all, or by expert's name the rows for each.
        round: the partition to store under.
        run_id: kept on every row.
        batch_questions: questions per block.
        budget_usd: what all of them together may spend now.
        on_progress: called as questions are answered.

    Raises:
        InputError: the budget is not a finite number of 0 or more, or an expert has no questions.
    """
    return answer_open_work(
        warehouse, find_open_work(warehouse, specs, questions), round=round, run_id=run_id,
        batch_questions=batch_questions, budget_usd=budget_usd, on_progress=on_progress,
    )  # fmt: skip


def answer_open_work(
    warehouse: Warehouse,
    work: OpenWork,
    *,
    round: str,
    run_id: str,
    batch_questions: int = BATCH_QUESTIONS,
    budget_usd: float | None = None,
    on_progress: Progress = lambda expert, answered: None,
) -> list[AnswerReceipt]:
    """Have experts answer, side by side where the cluster has room and in turn where it has not.

    Experts of one model (adapters, ways of asking) share an engine. An expert that keeps failing is taken
    out: its receipt says why, what it has answered stays, and the others go on. Compacts the answers
    afterwards. Needs a Ray connection where anything is open.

    Args:
        warehouse: where answers are stored.
        work: what is open.
        round: the partition to store under.
        run_id: kept on every row.
        batch_questions: questions per block.
        budget_usd: what all of them together may spend now; it is never passed, since the worst case of a
            question is set aside before it is asked. Questions beyond it stay open.
        on_progress: called as questions are answered.

    Returns:
        A receipt per expert, in the order of ``work.specs``.

    Raises:
        InputError: the budget is not a finite number of 0 or more.
        CannotRunError: no node can hold one of the experts, and none will come; nothing was asked.
    """
    from pipelines.answering.waves import engine_demand, plan_waves, probe_capacity, share_engines

    receipts: dict[str, AnswerReceipt] = {}
    groups = [work.of(specs) for specs in share_engines(work.specs)]
    # A round in which nothing is open needs no cluster.
    busy = [group for group in groups if group]
    check_holdable([spec for group in busy for spec in group.specs])
    with hold_cap(budget_usd, needed=bool(busy)) as cap:
        run = Work(warehouse, round, run_id, batch_questions, cap)
        waves = [busy]
        if len(busy) > 1:
            capacity = probe_capacity()
            waves = plan_waves(busy, lambda group: engine_demand(group.specs, capacity), capacity)
        for wave in [[group for group in groups if not group], *waves]:
            for receipt in _run_together(run, wave, on_progress):
                receipts[receipt.expert] = receipt
    warehouse.compact("answers")
    return [receipts[spec.name] for spec in work.specs]


def answer_as_group(run: Work, group: OpenWork, on_progress: Progress) -> list[AnswerReceipt]:
    """Have experts that share an engine answer, in one Ray Data run."""
    started, started_at = time.monotonic(), time.time()
    for spec in group.specs:
        open_rows = group.todo[spec.name].num_rows if spec.name in group.todo else 0
        on_progress(spec.name, group.offered[spec.name].num_rows - open_rows)
    course = Course()
    asked = [spec for spec in group.specs if spec.name in group.todo]
    try:
        for receipt in stream_receipts(run, asked, group.todo) if asked else ():
            course.ready_at = min(receipt["ready_at"], course.ready_at or math.inf)
            on_progress(receipt["expert"], receipt["rows"])
            if receipt["problem"]:
                course.problems.setdefault(receipt["expert"], []).append(receipt["problem"])
    except LeerooError:
        raise
    except LostNodeError as error:
        course.broken = str(error)
    except Exception as error:  # an engine that cannot start or keeps dying must not end the others' round
        course.broken = _reason(error)
    finally:
        if run.cap is not None and asked:
            # Money that actors had out when they died would keep the others waiting for ever.
            run.cap.forfeit.remote(holder_prefix(asked[0].name))
    for spec in asked:
        # Where the run broke, an actor may still be at work: then only what nobody writes any more.
        take_in_journals(run.warehouse, expert=spec.name, session=None if course.broken else run.session)
    wall_s = time.monotonic() - started
    start_s = max(0.0, course.ready_at - started_at) if course.ready_at else 0.0
    return [
        count_answers(
            run.warehouse, spec, group.offered[spec.name], group.todo.get(spec.name), course,
            wall_s=wall_s, start_s=start_s,
        )
        for spec in group.specs
    ]  # fmt: skip


def _run_together(run: Work, groups: Sequence[OpenWork], on_progress: Progress) -> Iterator[AnswerReceipt]:
    if len(groups) < 2:
        for group in groups:
            yield from answer_as_group(run, group, on_progress)
        return
    pool = ThreadPoolExecutor(len(groups))
    try:
        for future in [pool.submit(answer_as_group, run, group, on_progress) for group in groups]:
            yield from future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C must not wait for the engines


def _reason(error: BaseException) -> str:
    """The last line of the innermost cause that says anything: what a person needs of a remote traceback."""
    told: BaseException | None = error
    while told is not None:
        # Ray Data chains an empty one to what was not raised by the user's own function.
        error = told if str(told).strip() else error
        told = told.__cause__
    # A traceback that was sent as text has its own causes, the first of them first.
    first, *wrappers = str(error).split("The above exception was the direct cause of", 1)
    lines = [line.strip() for line in first.splitlines() if line.strip()]
    told_by = "" if wrappers and lines else f"{type(error).__name__}: "
    return f"{told_by}{lines[-1] if lines else ''}"[:500]
