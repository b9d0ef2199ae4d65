"""An expert as a maker of questions: shown a gap and examples, it writes more; what others doubt is refused.

A written question is let in when a program confirms its answer (arithmetic), or when enough experts, asked it
as any other question, choose the option that the writer calls right. A writer that is wrong, or that writes
what cannot be decided, is seen in the counts of refusals.

What it writes and what the others answer are answers like any other: stored as they come under the round, so
that a making that was killed goes on where it stopped and nothing is paid for twice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.questions.brief import GapBrief
from pipelines.questions.draft import Row, question_row, questions_table
from pipelines.questions.duplicates import Refusal
from pipelines.questions.sources.base import Desk, Made, QuestionSettings, Request, SetAside, is_frozen
from pipelines.questions.sources.written_text import parse_written, show_question, verify_arithmetic
from warehouse import QUESTIONS, InputError, Warehouse

if TYPE_CHECKING:
    from experts import ExpertSpec

EXAMPLES = 3  # of a gap, in a prompt
CANDIDATES = 2.0  # written for every question wanted; many are refused
MAX_TOKENS = 200
TEMPERATURE = 0.8
AGREEMENT = 2 / 3  # share of the validators that must choose the stated answer; two at least


@dataclass(frozen=True)
class Validation:
    """Whether a written question may stay, and why."""

    accepted: bool
    why: str


def open_writer(settings: QuestionSettings, desk: Desk) -> ExpertSource | None:
    """The run's writer, where it has one.

    Raises:
        InputError: fewer than two experts to validate what it writes.
    """
    if desk.writer is None:
        return None
    return ExpertSource(desk.writer, desk.validators, desk.warehouse, share=settings.written_share)


class ExpertSource:
    """An expert of the catalogue that writes multiple-choice questions for gaps; needs a Ray connection.

    Args:
        spec: the writer.
        validators: who must agree; two at least.
        warehouse: where the examples of a gap are read, and all answers kept: what is written under
            ``NAME.writer``, the validators' under their names, where they count as answers of the round.
        share: of a round's questions, what it may make at most.

    Raises:
        InputError: fewer than two validators.
    """

    domain_count = 0  # the gaps say which
    asks_experts = True
    may_repeat = False

    def __init__(
        self, spec: ExpertSpec, validators: Sequence[ExpertSpec], warehouse: Warehouse, *, share: float = 1.0
    ) -> None:
        if len(validators) < 2:
            raise InputError(
                f"{len(validators)} expert to validate what {spec.name!r} writes",
                fix="name two or more experts that can answer",
            )
        self.name = f"expert:{spec.name}"
        self.share = share
        self._validators, self._warehouse = tuple(validators), warehouse
        self._writer = spec.model_copy(
            update={
                "name": f"{spec.name}.writer",
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
        examples = self._read_examples(gaps, request.round)
        prompts = [_write_prompt(gap, examples[gap.name], rng) for gap in briefs]
        written, cost_usd = self._ask(self._writer, _prompt_rows(prompts), request, request.budget_usd)
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
        verdicts = self._validate(candidates, request, left)
        kept = [i for i, verdict in enumerate(verdicts) if verdict.accepted][: request.count]
        for row, verdict in zip(candidates.to_pylist(), verdicts, strict=True):
            if not verdict.accepted:
                refusals.append(Refusal(row["question_id"], row["prompt"], "unvalidated", verdict.why))
        return Made(candidates.take(pa.array(kept, pa.int64())), tuple(refusals))

    def set_aside(self) -> SetAside | None:
        """Nothing: it makes nothing for the frozen set."""
        return None

    def _ask(
        self, spec: ExpertSpec, questions: pa.Table, request: Request, budget_usd: float | None
    ) -> tuple[pa.Table, float]:
        """Ask what has not been answered yet; return ``text``, ``error`` and ``score`` in the order of the
        questions, and what it cost now. An error also says why a question was not asked.
        """
        from pipelines.answering.bulk import answer_questions

        receipt = answer_questions(
            self._warehouse, spec, questions,
            round=request.round, run_id=request.run_id, budget_usd=budget_usd,
        )  # fmt: skip
        names = ["text", "error", "score"]
        stored = self._warehouse.answers_of(spec.name, spec.version, columns=["question_id", *names])
        place = pc.index_in(questions["question_id"], value_set=stored["question_id"].combine_chunks())
        found = stored.select(names).take(place)
        problem = pa.scalar(receipt.problem or "not asked", pa.string())
        error = pc.if_else(pc.is_null(place), problem, found["error"])
        return found.set_column(1, "error", error), receipt.cost_usd

    def _validate(self, candidates: pa.Table, request: Request, budget_usd: float | None) -> list[Validation]:
        rows = candidates.to_pylist()
        checked = [verify_arithmetic(row["prompt"], row["choices"][int(row["answer"])]) for row in rows]
        votes = [0] * len(rows)
        doubtful = [i for i, right in enumerate(checked) if right is None]
        needed = max(2, math.ceil(AGREEMENT * len(self._validators)))
        for position, spec in enumerate(self._validators):
            # A question that can no longer find enough votes is not worth another answer.
            still = len(self._validators) - position
            open_rows = [i for i in doubtful if votes[i] + still >= needed]
            if not open_rows:
                break
            answers, cost_usd = self._ask(spec, candidates.take(pa.array(open_rows)), request, budget_usd)
            if budget_usd is not None:
                budget_usd = max(budget_usd - cost_usd, 0.0)
            for i, score in zip(open_rows, answers["score"].to_pylist(), strict=True):
                votes[i] += score is not None and score >= 1.0
        verdicts = []
        for right, agreeing in zip(checked, votes, strict=True):
            if right is not None:
                verdicts.append(
                    Validation(right, "a program confirms it" if right else "a program finds it wrong")
                )
            else:
                why = f"{agreeing} of {len(self._validators)} experts agree, {needed} must"
                verdicts.append(Validation(agreeing >= needed, why))
        return verdicts

    def _read_examples(self, gaps: Sequence[GapBrief], round: str) -> dict[str, list[Row]]:
        """Choice questions of each gap: its examples, and others of its domains where these are few.

        None of the round that is being made: made again after a kill, it would be shown other examples.
        """
        table = self._warehouse.scan("questions")
        is_older = pc.and_(pc.equal(table["kind"], "choice"), pc.not_equal(table["round"], round))
        table = table.filter(is_older)
        rows = [row for row in table.to_pylist() if not is_frozen(row)]
        found = {}
        for gap in gaps:
            examples = [row for row in rows if row["question_id"] in gap.example_ids]
            others = [row for row in rows if row["domain"] in gap.domains and row not in examples]
            found[gap.name] = [*examples, *random.Random(gap.name).sample(others, min(8, len(others)))]
        return found


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
