"""Experts answer questions: Ray Data feeds the open ones to expert actors, which grade and store them.

Answers are stored block by block as they come, keyed by (question, expert, expert version). A round that was
killed at any moment goes on where it stopped: at most what the engines had in flight is answered again.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answering.actor import FAILED_BLOCKS, holder_prefix, open_questions
from pipelines.answering.round_cap import hold_cap, unrecorded_usd
from pipelines.answering.stream import Work, stream_receipts
from warehouse import InputError, Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec

__all__ = ["AnswerReceipt", "answer_questions", "answer_with_all", "open_questions"]

#: Questions per block: what is stored at a time.
BATCH_QUESTIONS = 32

Progress = Callable[[str, int], None]


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
    Its ``cost_usd`` has in it what the budget's cap booked without a row.

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
    """
    before_usd = unrecorded_usd(warehouse, round)
    offered = {spec.name: questions}
    is_open = bool(_open_by_expert(warehouse, [spec], offered))
    with hold_cap(budget_usd, warehouse, round, needed=is_open) as cap:
        work = Work(warehouse, round, run_id, batch_questions, cap)
        (receipt,) = answer_as_group(work, [spec], offered, lambda _, answered: on_progress(answered))
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
) -> list[AnswerReceipt]:
    """Have experts answer, side by side where the cluster has room and in turn where it has not.

    Experts of one model (adapters, ways of asking) share an engine. An expert that keeps failing is taken
    out: its receipt says why, what it has answered stays, and the others go on. Shows a progress bar per
    expert, and compacts the answers afterwards.

    Args:
        warehouse: where answers are looked up and stored.
        specs: the experts.
        questions: rows of the questions table for all, or by expert's name the rows for each.
        round: the partition to store under.
        run_id: kept on every row (an MLflow run id).
        batch_questions: questions per block.
        budget_usd: what all of them together may spend now; it is never passed, since the worst case of a
            question is set aside before it is asked. Questions beyond it stay open.

    Returns:
        A receipt per expert, in the order of ``specs``.

    Raises:
        InputError: the budget is not a finite number of 0 or more, or an expert has no questions.
    """
    from pipelines.answering.waves import engine_demand, plan_waves, probe_room, share_engines

    offered = (
        dict.fromkeys((s.name for s in specs), questions) if isinstance(questions, pa.Table) else questions
    )
    for spec in specs:
        if spec.name not in offered:
            raise InputError(f"no questions are given for expert {spec.name!r}", fix="give it an empty table")
    receipts: dict[str, AnswerReceipt] = {}
    groups = share_engines(specs)
    total = {spec.name: offered[spec.name].num_rows for spec in specs}
    # A round in which nothing is open needs no cluster.
    busy = [group for group in groups if _open_by_expert(warehouse, group, offered)]
    with hold_cap(budget_usd, warehouse, round, needed=bool(busy)) as cap, _progress(total) as advance:
        work = Work(warehouse, round, run_id, batch_questions, cap)
        room = probe_room() if len(busy) > 1 else None
        waves = plan_waves(busy, lambda group: engine_demand(group, room), room) if room else [busy]
        for wave in [[group for group in groups if group not in busy], *waves]:
            jobs = [(work, group, offered, advance) for group in wave]
            for receipt in _run_together(jobs):
                receipts[receipt.expert] = receipt
    warehouse.compact("answers")
    return [receipts[spec.name] for spec in specs]


@dataclass
class _Course:
    """What is heard of a group while it runs."""

    ready_at: float | None = None
    problems: dict[str, list[str]] = field(default_factory=dict)
    broken: str | None = None


def answer_as_group(
    work: Work, specs: Sequence[ExpertSpec], offered: Mapping[str, pa.Table], on_progress: Progress
) -> list[AnswerReceipt]:
    """Have experts that share an engine answer, in one Ray Data run."""
    started, started_at = time.monotonic(), time.time()
    todo = _open_by_expert(work.warehouse, specs, offered)
    for spec in specs:
        open_rows = todo[spec.name].num_rows if spec.name in todo else 0
        on_progress(spec.name, offered[spec.name].num_rows - open_rows)
    course = _Course()
    try:
        for receipt in stream_receipts(work, [s for s in specs if s.name in todo], todo) if todo else ():
            course.ready_at = min(receipt["ready_at"], course.ready_at or math.inf)
            on_progress(receipt["expert"], receipt["rows"])
            if receipt["problem"]:
                course.problems.setdefault(receipt["expert"], []).append(receipt["problem"])
    except InputError:
        raise
    except Exception as error:  # an engine that cannot start or keeps dying must not end the others' round
        course.broken = _reason(error)
    finally:
        if work.cap is not None and todo:
            # Money that actors had out when they died would keep the others waiting for ever.
            work.cap.forfeit.remote(holder_prefix(next(s.name for s in specs if s.name in todo)))
    wall_s = time.monotonic() - started
    start_s = max(0.0, course.ready_at - started_at) if course.ready_at else 0.0
    return [
        _receipt(work.warehouse, spec, offered[spec.name], todo.get(spec.name), course, wall_s, start_s)
        for spec in specs
    ]


def _receipt(
    warehouse: Warehouse,
    spec: ExpertSpec,
    offered: pa.Table,
    todo: pa.Table | None,
    course: _Course,
    wall_s: float,
    start_s: float,
) -> AnswerReceipt:
    """Count what is in the warehouse now and was not before: right whatever was killed or sent twice."""
    asked = todo if todo is not None else offered.slice(0, 0)
    stored = warehouse.answers_of(spec.name, spec.version, columns=_COUNTED)
    stored = stored.filter(pc.is_in(stored["question_id"], value_set=asked["question_id"].combine_chunks()))
    unasked = asked.num_rows - stored.num_rows
    problem = None
    if unasked:
        reasons = course.problems.get(spec.name, [])
        problem = course.broken or (reasons[0] if reasons else "it was taken out of the round")
        if not course.broken and sum("every answer failed" in r for r in reasons) >= FAILED_BLOCKS:
            problem = f"taken out of the round: {problem}"
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
        problem=problem,
    )


_COUNTED = ("question_id", "error", "prompt_tokens", "completion_tokens", "cost_usd")


def _open_by_expert(
    warehouse: Warehouse, specs: Sequence[ExpertSpec], offered: Mapping[str, pa.Table]
) -> dict[str, pa.Table]:
    found = {spec.name: open_questions(warehouse, spec, offered[spec.name]) for spec in specs}
    return {name: rows for name, rows in found.items() if rows.num_rows}


def _run_together(
    jobs: Sequence[tuple[Work, Sequence[ExpertSpec], Mapping[str, pa.Table], Progress]],
) -> Iterator[AnswerReceipt]:
    if len(jobs) < 2:
        for job in jobs:
            yield from answer_as_group(*job)
        return
    pool = ThreadPoolExecutor(len(jobs))
    try:
        for future in [pool.submit(answer_as_group, *job) for job in jobs]:
            yield from future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C must not wait for the engines


@contextlib.contextmanager
def _progress(total: Mapping[str, int]) -> Iterator[Progress]:
    """Show a bar per expert on a terminal; in a log file, a line for every tenth."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from pipelines.commands.screen import console, print_line

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {name: bars.add_task(name, total=count) for name, count in total.items()}

        def advance(name: str, answered: int) -> None:
            task = tasks[name]
            before = bars.tasks[task].completed
            bars.advance(task, answered)
            done, count = bars.tasks[task].completed, total[name]
            if bars.disable and count and int(10 * done / count) > int(10 * before / count):
                print_line(f"  {name}: {done:,.0f} of {count:,}")

        yield advance


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
