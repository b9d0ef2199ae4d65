"""Experts answer questions: Ray Data fans the open ones out to expert actors, graded answers are stored.

Answers are stored batch by batch as they come, keyed by (question, expert, expert version). A round that was
killed at any moment goes on where it stopped: at most the batches in flight are answered again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from warehouse import Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec

#: Questions per block: what one call of an expert answers, what is stored at a time, what a crash may lose.
BATCH_QUESTIONS = 32


@dataclass(frozen=True)
class AnswerReceipt:
    """What one expert did in a round: counts of questions, tokens and money of this run alone."""

    expert: str
    asked: int  # answered now
    reused: int  # had been answered before
    failed: int  # of those asked now
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    wall_s: float


class ExpertActor:
    """A Ray Data actor that holds one expert's engine and turns questions into graded answers."""

    def __init__(self, spec: ExpertSpec, round: str, run_id: str) -> None:
        from experts import build_backend

        self._spec, self._round, self._run_id = spec, round, run_id
        self._backend = build_backend(spec)

    def __call__(self, questions: pa.Table) -> pa.Table:
        """Answer and grade a block of questions."""
        from experts import answer_and_grade

        return answer_and_grade(self._backend, self._spec, questions, round=self._round, run_id=self._run_id)


def store_answers(answers: pa.Table, warehouse_url: str, round: str, expert: str) -> pa.Table:
    """Append a block of answers to the warehouse and return a receipt of one row."""
    written = Warehouse(warehouse_url).append("answers", answers, round=round, expert=expert)
    return pa.table(
        {
            "written": [written],
            "failed": [answers.num_rows - answers["error"].null_count],
            "prompt_tokens": [pc.sum(answers["prompt_tokens"]).as_py() or 0],
            "completion_tokens": [pc.sum(answers["completion_tokens"]).as_py() or 0],
            "cost_usd": [pc.sum(answers["cost_usd"]).as_py() or 0.0],
        }
    )


def open_questions(warehouse: Warehouse, spec: ExpertSpec, questions: pa.Table) -> pa.Table:
    """Return the questions that this version of the expert has no row for yet."""
    done = pa.array(sorted(warehouse.answered(spec.name, spec.version)), pa.string())
    return questions.filter(pc.invert(pc.is_in(questions["question_id"], value_set=done)))


def answer_questions(
    warehouse: Warehouse,
    spec: ExpertSpec,
    questions: pa.Table,
    *,
    round: str,
    run_id: str,
    batch_questions: int = BATCH_QUESTIONS,
    on_progress: Callable[[int], None] = lambda answered: None,
) -> AnswerReceipt:
    """Have one expert answer what it has not answered yet, through Ray Data; needs a Ray connection.

    Args:
        warehouse: where answers are looked up and stored.
        spec: the expert; ``resources`` sets the size of its actor pool and what each actor holds.
        questions: rows of the questions table.
        round: the partition to store under.
        run_id: kept on every row (an MLflow run id).
        batch_questions: questions per block.
        on_progress: called with the number of questions answered since the last call.
    """
    started = time.monotonic()
    todo = open_questions(warehouse, spec, questions)
    totals = {"failed": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0}
    on_progress(questions.num_rows - todo.num_rows)
    for receipt in _run(warehouse, spec, todo, round, run_id, batch_questions) if todo.num_rows else ():
        on_progress(receipt["written"])
        for name in totals:
            totals[name] += receipt[name]
    return AnswerReceipt(
        expert=spec.name,
        asked=todo.num_rows,
        reused=questions.num_rows - todo.num_rows,
        failed=int(totals["failed"]),
        prompt_tokens=int(totals["prompt_tokens"]),
        completion_tokens=int(totals["completion_tokens"]),
        cost_usd=float(totals["cost_usd"]),
        wall_s=time.monotonic() - started,
    )


def _run(
    warehouse: Warehouse, spec: ExpertSpec, todo: pa.Table, round: str, run_id: str, batch_questions: int
) -> Iterator[dict[str, Any]]:
    import ray

    from experts import backend_env

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []  # they warn of every engine's memory, every 30 s
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # One block per batch, so that an answered batch is stored at once and not when its file is full.
    blocks = [todo.slice(start, batch_questions) for start in range(0, todo.num_rows, batch_questions)]
    resources = spec.resources
    actor_options: dict[str, Any] = {"runtime_env": {"env_vars": backend_env(spec)}}
    if resources.accelerator_type:
        actor_options["accelerator_type"] = resources.accelerator_type
    receipts = (
        ray.data.from_arrow(blocks)
        .map_batches(
            ExpertActor,
            fn_constructor_kwargs={"spec": spec, "round": round, "run_id": run_id},
            compute=ray.data.ActorPoolStrategy(
                min_size=max(resources.replicas_min, 1),
                max_size=min(resources.replicas_max, len(blocks)) if resources.replicas_max > 1 else 1,
            ),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=resources.num_cpus,
            num_gpus=resources.num_gpus or None,
            **actor_options,
        )
        .map_batches(
            store_answers,
            fn_kwargs={"warehouse_url": warehouse.url, "round": round, "expert": spec.name},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=0.1,
        )
    )
    yield from receipts.iter_rows()


def answer_with_all(
    warehouse: Warehouse,
    specs: Sequence[ExpertSpec],
    questions: pa.Table,
    *,
    round: str,
    run_id: str,
    batch_questions: int = BATCH_QUESTIONS,
) -> list[AnswerReceipt]:
    """Have each expert answer in turn, with a progress bar per expert; compacts the table afterwards."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from pipelines.report import console, print_line

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    receipts = []
    # A log file (of a Ray job, of CI) gets a line now and then where a terminal gets a moving bar.
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for spec in specs:
            task = progress.add_task(spec.name, total=questions.num_rows)

            def advance(answered: int, task: TaskID = task, name: str = spec.name) -> None:
                before = progress.tasks[task].completed
                progress.advance(task, answered)
                done, total = progress.tasks[task].completed, questions.num_rows
                if progress.disable and total and int(10 * done / total) > int(10 * before / total):
                    print_line(f"  {name}: {done:,.0f} of {total:,}")

            receipts.append(
                answer_questions(
                    warehouse,
                    spec,
                    questions,
                    round=round,
                    run_id=run_id,
                    batch_questions=batch_questions,
                    on_progress=advance,
                )
            )
    warehouse.compact("answers")
    return receipts
