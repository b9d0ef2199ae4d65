"""An expert as a maker of questions: shown a gap and examples, it writes more; what others doubt is refused.

A written question is let in when a program confirms its answer (arithmetic), or when enough experts, asked it
as any other question, choose the option that the writer calls right. A writer that is wrong, or that writes
what cannot be decided, is seen in the counts of refusals.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.questions.brief import GapBrief
from pipelines.questions.draft import Row, question_row, questions_table
from pipelines.questions.duplicates import Refusal
from pipelines.questions.source import Made, Request, is_frozen
from pipelines.questions.written import parse_written, show_question, verify_arithmetic
from warehouse import ANSWERS, QUESTIONS, InputError, Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec

#: ``ask(spec, questions, round, run_id, budget_usd)`` returns ANSWERS rows: graded, priced, in order.
Ask = Callable[["ExpertSpec", pa.Table, str, str, float | None], pa.Table]

EXAMPLES = 3  # of a gap, in a prompt
CANDIDATES = 2.0  # written for every question wanted; many are refused
MAX_TOKENS = 200
TEMPERATURE = 0.8
AGREEMENT = 2 / 3  # share of the validators that must choose the stated answer; two at least


@dataclass(frozen=True)
class Verdict:
    """Whether a written question may stay, and why."""

    accepted: bool
    why: str


class ExpertSource:
    """An expert of the catalogue that writes multiple-choice questions for gaps, through its batch backend.

    Args:
        spec: the writer.
        validators: who must agree; two at least.
        warehouse: where the examples of a gap are read.
        run_id: kept on the validators' answers, which count as answers of the round.
        ask: how an expert is asked; by default in a Ray actor of its own.

    Raises:
        InputError: fewer than two validators.
    """

    def __init__(
        self, spec: ExpertSpec, validators: Sequence[ExpertSpec], warehouse: Warehouse, *, run_id: str,
        ask: Ask | None = None,
    ) -> None:  # fmt: skip
        if len(validators) < 2:
            raise InputError(
                f"{len(validators)} expert to validate what {spec.name!r} writes",
                fix="name two or more experts that can answer",
            )
        self.name = f"expert:{spec.name}"
        self._validators, self._warehouse, self._run_id = tuple(validators), warehouse, run_id
        self._ask = ask or ask_in_actor
        self._writer = spec.model_copy(
            update={
                "prompt": "{question}",
                "max_tokens": MAX_TOKENS,
                "temperature": TEMPERATURE,
                "stop": ("\nQuestion:",),
            }
        )

    def make(self, request: Request) -> Made:
        """Write, parse, validate; nothing without a gap to write for, nothing for the frozen set."""
        gaps = request.brief.gaps
        if request.frozen or not gaps or request.count < 1:
            return Made(QUESTIONS.empty_table())
        wanted = math.ceil(request.count * CANDIDATES)
        rng = random.Random(f"{request.seed} {self.name}")
        briefs = [gaps[i % len(gaps)] for i in range(wanted)]
        examples = self._read_examples(gaps)
        prompts = [_write_prompt(gap, examples[gap.name], rng) for gap in briefs]
        written = self._ask(
            self._writer, _prompt_rows(prompts), request.round, self._run_id, request.budget_usd
        )
        cost_usd = _cost(written)
        rows: list[Row] = []
        refusals: list[Refusal] = []
        for gap, text, error in zip(
            briefs, *(written[c].to_pylist() for c in ("text", "error")), strict=True
        ):
            found = error or parse_written(text or "")
            if isinstance(found, str):
                reason = "unwritten" if error else "malformed"
                refusals.append(Refusal("", text or "", reason, found))
                continue
            example = examples[gap.name][0] if examples[gap.name] else None
            row = question_row(
                prompt=found.prompt, choices=found.choices, answer=str(found.answer), kind="choice",
                source=self.name, domain=example["domain"] if example else gap.domains[0],
                subject=example["subject"] if example else None, round=request.round,
                parent_id=example["question_id"] if example else None,
            )  # fmt: skip
            if not is_frozen(row) and row["question_id"] not in request.exclude:
                rows.append(row)
        candidates = questions_table(rows)
        left = None if request.budget_usd is None else max(request.budget_usd - cost_usd, 0.0)
        verdicts, answers = self._validate(candidates, request, left)
        cost_usd += _cost(answers)
        kept = [i for i, verdict in enumerate(verdicts) if verdict.accepted][: request.count]
        for row, verdict in zip(candidates.to_pylist(), verdicts, strict=True):
            if not verdict.accepted:
                refusals.append(Refusal(row["question_id"], row["prompt"], "unvalidated", verdict.why))
        questions = candidates.take(pa.array(kept, pa.int64()))
        stays = pc.and_(
            pc.is_in(answers["question_id"], value_set=questions["question_id"].combine_chunks()),
            pc.is_null(answers["error"]),
        )
        return Made(questions, tuple(refusals), answers.filter(stays), cost_usd)

    def _validate(
        self, candidates: pa.Table, request: Request, budget_usd: float | None
    ) -> tuple[list[Verdict], pa.Table]:
        rows = candidates.to_pylist()
        checked = [verify_arithmetic(row["prompt"], row["choices"][int(row["answer"])]) for row in rows]
        votes = [0] * len(rows)
        asked: list[pa.Table] = [ANSWERS.empty_table()]
        doubtful = [i for i, right in enumerate(checked) if right is None]
        needed = max(2, math.ceil(AGREEMENT * len(self._validators)))
        for position, spec in enumerate(self._validators):
            # A question that can no longer find enough votes is not worth another answer.
            still = len(self._validators) - position
            open_rows = [i for i in doubtful if votes[i] + still >= needed]
            if not open_rows:
                break
            left = None if budget_usd is None else max(budget_usd - sum(map(_cost, asked)), 0.0)
            answers = self._ask(spec, candidates.take(pa.array(open_rows)), request.round, self._run_id, left)
            asked.append(answers)
            for i, score in zip(open_rows, answers["score"].to_pylist(), strict=True):
                votes[i] += score is not None and score >= 1.0
        verdicts = []
        for right, agreeing in zip(checked, votes, strict=True):
            if right is not None:
                verdicts.append(
                    Verdict(right, "a program confirms it" if right else "a program finds it wrong")
                )
            else:
                why = f"{agreeing} of {len(self._validators)} experts agree, {needed} must"
                verdicts.append(Verdict(agreeing >= needed, why))
        return verdicts, pa.concat_tables(asked)

    def _read_examples(self, gaps: Sequence[GapBrief]) -> dict[str, list[Row]]:
        """Choice questions of each gap: its examples, and others of its domains where these are few."""
        table = self._warehouse.scan("questions")
        table = table.filter(pc.equal(table["kind"], "choice"))
        rows = [row for row in table.to_pylist() if not is_frozen(row)]
        found = {}
        for gap in gaps:
            examples = [row for row in rows if row["question_id"] in gap.example_ids]
            others = [row for row in rows if row["domain"] in gap.domains and row not in examples]
            found[gap.name] = [*examples, *random.Random(gap.name).sample(others, min(8, len(others)))]
        return found


def ask_in_actor(
    spec: ExpertSpec, questions: pa.Table, round: str, run_id: str, budget_usd: float | None
) -> pa.Table:
    """Ask an expert once, in a Ray actor that ends afterwards; needs a Ray connection."""
    import ray

    from experts import backend_env

    options = {
        "num_cpus": spec.resources.num_cpus,
        "num_gpus": spec.resources.num_gpus or None,
        "accelerator_type": spec.resources.accelerator_type,
        "runtime_env": {"env_vars": backend_env(spec)},
    }
    actor = ray.remote(_Asker).options(**options).remote(spec)
    try:
        return ray.get(actor.ask.remote(questions, round, run_id, budget_usd))
    finally:
        ray.kill(actor)


def ask_here(
    spec: ExpertSpec, questions: pa.Table, round: str, run_id: str, budget_usd: float | None
) -> pa.Table:
    """Ask an expert once in this process: for APIs, and where there is no Ray."""
    return _Asker(spec).ask(questions, round, run_id, budget_usd)


class _Asker:
    def __init__(self, spec: ExpertSpec) -> None:
        from experts import build_backend

        self._spec, self._backend = spec, build_backend(spec)

    def ask(self, questions: pa.Table, round: str, run_id: str, budget_usd: float | None) -> pa.Table:
        from experts import answer_and_grade
        from experts.spending import SpendCap

        purse = None if budget_usd is None else SpendCap(budget_usd)
        return answer_and_grade(self._backend, self._spec, questions, round=round, run_id=run_id, purse=purse)


def _write_prompt(gap: GapBrief, examples: Sequence[Row], rng: random.Random) -> str:
    shown = rng.sample(list(examples), min(EXAMPLES, len(examples)))
    parts = [
        "Write one new multiple-choice question with four options and one right answer, in the form of the"
        f" examples. {gap.text}",
        *map(show_question, shown),
    ]
    return "\n\n".join([*parts, "Question:"])


def _prompt_rows(prompts: Sequence[str]) -> pa.Table:
    """Prompts as free-form questions: what a backend takes. Equal prompts stay apart by their place."""
    rows = [
        question_row(prompt=prompt, choices=None, answer=str(i), kind="exact", source="brief", domain="brief",
                     subject=None, round="")
        for i, prompt in enumerate(prompts)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def _cost(answers: pa.Table) -> float:
    return float(pc.sum(answers["cost_usd"]).as_py() or 0.0)
