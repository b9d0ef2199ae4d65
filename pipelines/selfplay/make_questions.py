"""The first steps of a round: the frozen set, and the questions that are made, screened and stored."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.evaluation.improvement import FROZEN
from pipelines.commands.screen import print_line
from pipelines.questions.brief import Brief
from pipelines.questions.duplicates import QuestionIndex, Refusal, find_contamination, screen_questions
from pipelines.questions.sources.base import DatasetSource, Request, concat_unique
from pipelines.questions.sources.expert import ExpertSource
from pipelines.selfplay.assign import expect_costs
from pipelines.selfplay.context import Laboratory
from pipelines.selfplay.round_record import Step
from warehouse import QUESTIONS, InputError

#: Refusals that are printed; all of them are in the round's MLflow run.
REFUSALS_SHOWN = 8


def freeze_questions(lab: Laboratory, run_id: str, budget_usd: float | None) -> list[str]:
    """Make the home's frozen set once, and see that every expert has answered it; return its ids.

    Args:
        lab: experts, sources and home.
        run_id: kept on the answers.
        budget_usd: what may still be spent; None: no limit.

    Raises:
        InputError: the budget does not cover its answers, or no question falls to it.
    """
    from pipelines.answering.open_work import open_questions

    config, record, source = lab.config, lab.record(FROZEN), lab.freezing

    def make() -> Step:
        made = source.make(Request(config.frozen_questions, FROZEN, config.seed + 1_000_003, frozen=True))
        if not made.questions.num_rows:
            raise InputError(
                "no question falls to the frozen set", where=source.name,
                fix="give more questions; a fifth of them, chosen by a hash of the prompt, is frozen",
            )  # fmt: skip
        if isinstance(source, DatasetSource):
            fallen, total = source.set_aside().num_rows, source.questions.num_rows
            print_line(
                f"{source.name}: {fallen} of {total} questions fall to the part that is never learned from,"
                f" by a hash of the prompt; {made.questions.num_rows} of these are the frozen set"
            )
        lab.warehouse.append("questions", made.questions, round=FROZEN)
        return {"source": source.name, "ids": made.questions["question_id"].to_pylist()}

    kept = record.step("questions", make)
    if config.frozen is not None and kept["source"] != config.frozen:
        raise InputError(
            f"this home's frozen set came from {kept['source']!r}",
            where="--frozen",
            fix="leave the option out, or begin in another home",
        )
    questions = lab.questions(kept["ids"])
    print_line(f"Frozen evaluation set: {questions.num_rows} questions, never trained on")
    expected = sum(
        float(expect_costs(open_questions(lab.warehouse, spec, questions), [spec], None).sum())
        for spec in lab.catalogue.experts
    )
    if budget_usd is not None and expected > budget_usd:
        raise InputError(
            f"{budget_usd:.6g} USD do not cover what lacks of the frozen answers, about {expected:.6g} USD",
            where="--budget-usd",
            fix="raise it, or freeze fewer questions (--frozen-questions)",
        )
    receipts = lab.answer(dict.fromkeys(lab.catalogue.names, questions), FROZEN, run_id, budget_usd)
    for receipt in receipts:
        if receipt.problem:
            print_line(f"{receipt.expert}: {receipt.problem}")
    return list(kept["ids"])


def make_round_questions(
    lab: Laboratory, name: str, frozen_ids: Sequence[str], budget_usd: float | None, brief: Brief, run_id: str
) -> Step:
    """Make a round's questions, screen and store them; return their ids and what was refused."""
    config = lab.config
    used = lab.used_ids()
    there = lab.warehouse.scan("questions")
    # What a killed attempt at this step stored is made again, the same.
    is_used = pc.is_in(there["question_id"], value_set=pa.array([*used, *frozen_ids], pa.string()))
    there = there.filter(pc.or_(pc.not_equal(there["round"], name), is_used))
    frozen, known = QuestionIndex(), QuestionIndex()
    is_frozen = pc.is_in(there["question_id"], value_set=pa.array(list(frozen_ids), pa.string()))
    frozen.add(there.filter(is_frozen))
    known.add(there.filter(pc.invert(is_frozen)))
    stored = frozenset(there["question_id"].to_pylist())
    tables: list[pa.Table] = [QUESTIONS.empty_table()]
    refusals: list[Refusal] = []
    short = config.round_questions
    for source in lab.learning:
        written = isinstance(source, ExpertSource)
        if written and brief.gaps:
            lab.connect()
        if isinstance(source, DatasetSource) and source.name != lab.record(FROZEN)["questions"]["source"]:
            refusals += find_contamination(source.set_aside(), frozen)
        made = source.make(
            Request(
                count=min(math.ceil(config.round_questions * config.written_share), short)
                if written
                else short,
                round=name,
                seed=_round_seed(config.seed, name),
                # Questions of a file may have been imported before; asked before is what must not come again.
                exclude=frozenset(used) if isinstance(source, DatasetSource) else stored,
                brief=brief,
                budget_usd=lab.left_usd(name, budget_usd),
            )
        )
        screened = screen_questions(made.questions, frozen=frozen, known=known, repeats=stored - set(used))
        lab.warehouse.append("questions", screened.questions, round=name)
        refusals += [*made.refusals, *screened.refusals]
        tables.append(screened.questions)
        short -= screened.questions.num_rows
    questions = concat_unique(tables)
    return {
        "ids": questions["question_id"].to_pylist(),
        "refusals": [asdict(refusal) for refusal in refusals],
        "brief": [gap.text for gap in brief.gaps],
        "by_domain": dict(Counter(questions["domain"].to_pylist())),
    }


def _round_seed(seed: int, name: str) -> int:
    return seed * 1_000_003 + zlib.crc32(name.encode())


def print_refusals(step: Step) -> None:
    """Say how many questions were refused and why; name those that touch the frozen set."""
    refusals = [Refusal(**refusal) for refusal in step["refusals"]]
    by_reason: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        by_reason.setdefault(refusal.reason, []).append(refusal)
    for reason, group in sorted(by_reason.items()):
        print_line(f"{len(group)} questions refused: {reason}")
        # Whatever touches the frozen set is named in full.
        for refusal in group if reason == "contamination" else group[:REFUSALS_SHOWN]:
            print_line(f"  {refusal}")
    if "contamination" not in by_reason:
        print_line("Contamination check: no question matches the frozen set.")
