"""The sections of a report in their order: a file and a line each. Each is given the values that it reads."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answering.round_money import RoundMoney
from pipelines.report.asked import tell_asked
from pipelines.report.bill import tell_bill
from pipelines.report.calibration import tell_calibration
from pipelines.report.cost_accuracy import tell_cost_accuracy
from pipelines.report.domains import tell_domains
from pipelines.report.gaps import tell_gaps
from pipelines.report.kept import Choice, tell_universe
from pipelines.report.method import tell_method
from pipelines.report.parts import Section
from pipelines.report.savings import tell_savings
from pipelines.report.sources import Sources
from pipelines.report.specialists import read_stories, tell_specialists
from pipelines.report.traffic import read_kept, read_said, tell_traffic
from pipelines.selfplay.round_record import FROZEN
from universe.pool_file import read_frontier
from warehouse import Outcomes

Teller = Callable[[Sources, float], Section | None]

SECTIONS: tuple[Teller, ...] = (
    lambda s, n: tell_cost_accuracy(s.evaluation, s.version.predictor),
    lambda s, n: tell_savings(s.evaluation, s.version.predictor, n),
    lambda s, n: tell_domains(s.evaluation, s.version.predictor, s.router, _learned(s)),
    lambda s, n: tell_calibration(s.evaluation, s.version.predictor),
    lambda s, n: tell_universe(_learned(s), _choice(s), s.version.embedder, s.home.embeddings),
    lambda s, n: tell_gaps(s.round.steps["gaps"] if s.round else None, _examples(s), s.domain_results),
    lambda s, n: tell_specialists(read_stories(s.home.path)),
    lambda s, n: tell_traffic(read_kept(s.home.path), read_said(s.warehouse)),
    lambda s, n: tell_bill(s.rounds, _spent(s)),
    lambda s, n: tell_asked(s.version, s.rounds, len(s.frozen_ids), _spent(s), len(_learned(s) or ())),
    lambda s, n: tell_method(s.evaluation),
)


def tell_all(sources: Sources, queries_per_month: float) -> tuple[Section, ...]:
    """Every section for which there is something to tell."""
    told = (tell(sources, queries_per_month) for tell in SECTIONS)
    return tuple(section for section in told if section is not None)


def _learned(sources: Sources) -> Outcomes | None:
    return sources.evidence.to_learn() if sources.evidence else None


def _spent(sources: Sources) -> dict[str, float]:
    names = [*([FROZEN] if sources.frozen_ids else []), *(known.name for known in sources.rounds)]
    return {name: RoundMoney(sources.warehouse, name).spent_usd() for name in names}


def _choice(sources: Sources) -> Choice:
    if sources.round is not None:
        step = sources.round.steps["universe"]
        return Choice(tuple(step["experts"]), step["expected_score"], step["expected_cost_usd"])
    plan = sources.plan
    if plan is None:
        return Choice(sources.version.pool, None, None)
    score, cost = plan.document.get("expected_score"), plan.document.get("expected_cost_usd")
    return Choice(plan.experts, score, cost, read_frontier(plan.document))


def _examples(sources: Sources) -> dict[str, str]:
    """Prompts of the questions that the round's gaps name, by id."""
    gaps = sources.round.steps["gaps"]["gaps"] if sources.round else []
    wanted = [own for gap in gaps for own in gap["example_ids"]]
    if not wanted:
        return {}
    table = sources.warehouse.scan("questions", ["question_id", "prompt"])
    table = table.filter(pc.is_in(table["question_id"], value_set=pa.array(wanted, pa.string())))
    return dict(zip(table["question_id"].to_pylist(), table["prompt"].to_pylist(), strict=True))
