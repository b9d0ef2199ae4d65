"""One self-play round, step by step: questions, whom to ask, answers, universe, router, test, gaps.

Every step leaves what it found in the round's record; a round that was killed at any moment goes on with the
step it was in, and answers are kept one by one in the warehouse.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.evaluation.improvement import Estimate, Improvement
from pipelines.answering.domains import DomainResult, measure_domains
from pipelines.commands.screen import (
    console,
    domain_table,
    expert_table,
    print_line,
    print_step,
)
from pipelines.questions.brief import Brief
from pipelines.selfplay.assign import assign_questions, expect_costs
from pipelines.selfplay.context import Laboratory
from pipelines.selfplay.learn import learn_from_round, read_brief
from pipelines.selfplay.make_questions import make_round_questions, print_refusals
from pipelines.selfplay.round_record import Step
from pipelines.tracked_run import tracked_run
from warehouse.mlflow_runs import active_run

if TYPE_CHECKING:
    from pipelines.answering.receipt import AnswerReceipt


@dataclass(frozen=True)
class RoundResult:
    """What a round cost and what it bought."""

    round: str
    run_id: str
    questions: int
    answers: int  # asked now or before, in this round
    cost_usd: float  # of the round's answers and of making its questions
    version: str
    promoted: bool
    verdict: str
    purchase: Improvement | None  # None where the frozen set is too small to tell

    @property
    def points_per_usd(self) -> float:
        """Points of accuracy at fixed cost for a dollar; NaN where it cannot be told."""
        if self.purchase is None or self.cost_usd <= 0:
            return math.nan
        return 100 * self.purchase.difference.value / self.cost_usd

    @classmethod
    def of(cls, found: dict[str, Any]) -> RoundResult:
        """From the form in which it is recorded."""
        purchase = found["purchase"]
        if purchase is not None:
            estimates = {name: Estimate(**purchase[name]) for name in ("before", "after", "difference")}
            purchase = Improvement(**purchase | estimates)
        return cls(**found | {"purchase": purchase})


def run_round(
    lab: Laboratory, name: str, frozen_ids: Sequence[str], budget_usd: float | None, brief: Brief
) -> tuple[RoundResult, Brief]:
    """Run one round, or go on with it; print what each step found; return its result and the next brief.

    Args:
        lab: experts, sources and home.
        name: of the round.
        frozen_ids: the frozen set.
        budget_usd: what the round may spend; None: no limit.
        brief: what the round before found.
    """
    config, record = lab.config, lab.record(name)
    record.check(config.decisive(lab.catalogue), config.by_step())
    resume = record["run"]["id"] if "run" in record else None
    params = asdict(config) | {"experts": ", ".join(lab.catalogue.names), "kind": "round", "round": name}
    with tracked_run(lab.home, f"round {name}", params, resume=resume) as run_id:
        if resume != run_id:
            record.step("run", lambda: {"id": run_id})
        step = record.step(
            "questions", lambda: make_round_questions(lab, name, frozen_ids, budget_usd, brief, run_id)
        )
        print_step(f"Round {name}: {len(step['ids'])} questions for {len(lab.catalogue.names)} experts")
        print_refusals(step)
        questions = lab.questions(step["ids"])
        left = lab.left_usd(name, budget_usd)
        assigned = record.step("assignment", lambda: _assign(lab, questions, frozen_ids, left))
        receipts = _answer(lab, questions, assigned, name, run_id, left)
        domains = _print_answers(lab, step["ids"], receipts)
        learned = learn_from_round(lab, record, frozen_ids)
        result = RoundResult.of(
            record.step(
                "result",
                lambda: {
                    "round": name,
                    "run_id": run_id,
                    "questions": len(step["ids"]),
                    "answers": _count_answers(lab, step["ids"]),
                    "cost_usd": lab.spent_usd(name),
                    **learned,
                },
            )
        )
        _log_round(receipts, domains, result, {"questions": step, "gaps": record["gaps"]["gaps"]})
    print_line(result_line(result))
    return result, read_brief(lab, record, frozen_ids)


def result_line(result: RoundResult) -> str:
    """What a round spent and what it bought, in one line."""
    spent = f"Round {result.round}: {result.cost_usd:.6g} USD for {result.answers} answers"
    if result.purchase is None:
        return f"{spent}; too few frozen questions to tell what it bought. {result.verdict}"
    bought, kept = result.purchase, "promoted" if result.promoted else "not promoted"
    return (
        f"{spent} -> {bought.after} from {bought.before} at {1000 * bought.at_cost_usd:.4g} USD per 1,000"
        f" queries ({100 * bought.difference.value:+.1f} points [{100 * bought.difference.low:+.1f},"
        f" {100 * bought.difference.high:+.1f}], {bought.questions} frozen questions); version"
        f" {result.version} {kept}"
    )


def _assign(lab: Laboratory, questions: pa.Table, frozen_ids: Sequence[str], left: float | None) -> Step:
    config, specs = lab.config, lab.catalogue.experts
    learned, _ = lab.outcomes(frozen_ids)
    expected = expect_costs(questions, specs, learned)
    everything = float(expected.sum())
    allowance = min(everything * config.explore, math.inf if left is None else left)
    assigned = assign_questions(
        questions, specs, learned, allowance, embedder=config.embedder, cache_dir=lab.home.embeddings,
        seed=config.seed,
    )  # fmt: skip
    pairs = sum(table.num_rows for table in assigned.values())
    if pairs < expected.size:
        print_line(
            f"Explorer: {pairs} of {expected.size} answers, about {allowance:.3g} of {everything:.3g} USD: "
            + ", ".join(f"{name} {table.num_rows}" for name, table in assigned.items())
        )
    return {
        "expected_usd": min(allowance, everything),
        "all_on_all_usd": everything,
        "ids": {name: table["question_id"].to_pylist() for name, table in assigned.items()}
        if pairs < expected.size
        else None,  # everyone is asked everything
    }


def _answer(
    lab: Laboratory, questions: pa.Table, assigned: Step, name: str, run_id: str, left: float | None
) -> list[AnswerReceipt]:
    offered = dict.fromkeys(lab.catalogue.names, questions)
    if assigned["ids"] is not None:
        for expert, ids in assigned["ids"].items():
            offered[expert] = questions.filter(
                pc.is_in(questions["question_id"], value_set=pa.array(ids, pa.string()))
            )
    print_line("The experts answer (Ray Data, one actor pool per expert):")
    receipts = lab.answer(offered, name, run_id, left)
    for receipt in receipts:
        if receipt.problem:
            print_line(f"{receipt.expert}: {receipt.problem}")
    return receipts


def _print_answers(
    lab: Laboratory, ids: Sequence[str], receipts: Sequence[AnswerReceipt]
) -> list[DomainResult]:
    with lab.warehouse.connect() as connection:
        domains = measure_domains(connection, ids, lab.catalogue.names)
    console.print(expert_table(domains, receipts))
    console.print(domain_table(domains))
    return domains


def _count_answers(lab: Laboratory, question_ids: Sequence[str]) -> int:
    answers = lab.warehouse.scan("answers", ["question_id", "expert"])
    mask = pc.and_(
        pc.is_in(answers["question_id"], value_set=pa.array(list(question_ids), pa.string())),
        pc.is_in(answers["expert"], value_set=pa.array(lab.catalogue.names)),
    )
    return int(pc.sum(mask).as_py() or 0)


def _log_round(
    receipts: Sequence[AnswerReceipt], domains: Sequence[DomainResult], result: RoundResult, found: Step
) -> None:
    metrics = {f"answers/{r.expert}/{key}": float(getattr(r, key)) for r in receipts
               for key in ("asked", "reused", "failed", "cost_usd", "wall_s")}  # fmt: skip
    metrics |= {f"accuracy/{r.expert}/{r.domain}": r.accuracy for r in domains}
    metrics |= {"cost_usd": result.cost_usd, "promoted": float(result.promoted)}
    refused = Counter(refusal["reason"] for refusal in found["questions"]["refusals"])
    metrics |= {f"refused/{reason}": float(count) for reason, count in refused.items()}
    metrics["refused/contamination"] = float(refused["contamination"])  # 0 says that it was looked for
    if result.purchase is not None:
        for name in ("before", "after", "difference"):
            estimate = getattr(result.purchase, name)
            metrics |= {f"{name}": estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        metrics["at_cost_usd"] = result.purchase.at_cost_usd
    run = active_run()
    run.log(metrics)
    run.log_dict(
        {
            "receipts": [asdict(receipt) for receipt in receipts],
            "domains": [asdict(domain) for domain in domains],
            "result": asdict(result),
            **found,
        },
        "round.json",
    )
