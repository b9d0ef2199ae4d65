"""The last steps of a round: universe, router, what it is worth, its test against the champion, gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.evaluation.improvement import FROZEN, fix_cost, measure_improvement
from pipelines.answering.domains import find_domain_gaps, measure_domains
from pipelines.commands.screen import (
    console,
    gap_lines,
    print_line,
    print_step,
)
from pipelines.questions.brief import Brief, GapBrief, read_cells
from pipelines.selfplay.context import Laboratory
from pipelines.selfplay.round_record import RoundRecord, Step
from warehouse import InputError, Outcomes

if TYPE_CHECKING:
    from universe import Universe
    from universe.model.expectation import Expected

MIN_MAPPED = 80  # questions that a map of gaps needs, resampled too


def learn_from_round(lab: Laboratory, record: RoundRecord, frozen_ids: Sequence[str]) -> Step:
    """Run the learning steps, each kept in the record; return ``version``, ``promoted``, ``verdict`` and
    ``purchase`` (None where too few frozen questions were answered to tell).

    Raises:
        InputError: no answer came back, or too few to train on.
    """
    from orchestrator.versions.mlflow_registry import champion_version
    from pipelines.learning.cross_fitted import expected_success
    from pipelines.learning.training import put_to_the_test, train_version

    config, home = lab.config, lab.home
    learned, frozen = lab.outcomes(frozen_ids)
    if learned is None or frozen is None:
        raise InputError("no answer came back", where=str(record.path), fix="see the experts' errors above")

    @cache
    def expect() -> Expected:
        """Cross-fitted once, for the universe and for the gaps; not at all where both are done."""
        return expected_success(learned, embedder=config.embedder, cache_dir=home.embeddings)

    # Who was champion before this round stays known after its own version was promoted.
    before = record.step("champion", lambda: {"version": champion_version(home.mlflow_uri)})["version"]
    settings = config.by_step()
    universe = record.step(
        "universe", lambda: _choose_universe(lab, learned, expect), settings=settings["universe"]
    )["experts"]
    # A universe of one needs no router; what is learned over all of them tells when to widen it.
    pool = universe if len(universe) > 1 else list(learned.experts)
    every = _join(learned, frozen)

    def train() -> Step:
        print_step("Router")
        trained = train_version(
            every.only(pool), home, predictor=config.predictor, embedder=config.embedder, seeds=config.seeds
        )
        return {"version": trained.version}

    version = record.step("training", train, settings=settings["training"])["version"]
    purchase = record.step("evaluation", lambda: _measure(lab, before, version, frozen))["purchase"]
    standing = record.step("promotion", lambda: asdict(put_to_the_test(version, before, every, home)))
    print_line(f"Router version {version} {standing['verdict']}")
    for line in record.step("gaps", lambda: _find_gaps(lab, learned, universe, expect))["lines"]:
        print_line(line)
    return {"version": version, "promoted": standing["promoted"], "verdict": standing["verdict"],
            "purchase": purchase}  # fmt: skip


def _measure(lab: Laboratory, before: str | None, version: str, frozen: Outcomes) -> Step:
    from orchestrator.versions.mlflow_registry import load_version

    uri, cache_dir = lab.home.mlflow_uri, lab.home.embeddings
    at_cost = lab.record(FROZEN).step("cost", lambda: {"at_cost_usd": fix_cost(frozen)})["at_cost_usd"]
    try:
        former = load_version(uri, before) if before else None
        bought = measure_improvement(former, load_version(uri, version), frozen, at_cost, cache_dir=cache_dir)
    except InputError as error:
        print_line(f"What the round bought cannot be told: {error}")
        return {"purchase": None}
    return {"purchase": asdict(bought)}


def read_brief(lab: Laboratory, record: RoundRecord, frozen_ids: Sequence[str]) -> Brief:
    """The brief that a finished round leaves for the next one."""
    learned, _ = lab.outcomes(frozen_ids)
    if learned is None or "gaps" not in record:
        return Brief()
    gaps = [GapBrief(**gap | {key: tuple(gap[key]) for key in ("domains", "example_ids")})
            for gap in record["gaps"]["gaps"]]  # fmt: skip
    with lab.warehouse.connect() as connection:
        cells = read_cells(connection, learned.question_ids.tolist(), lab.catalogue.names)
    return Brief(cells, tuple(gaps))


def _choose_universe(lab: Laboratory, learned: Outcomes, expect: Callable[[], Expected]) -> Step:
    """Choose the experts to keep on cross-fitted expected success, and make them the pool."""
    from universe import apply_plan, select_universe
    from universe.pool_file import write_plan
    from universe.report.tables import render_universe

    print_step("Universe")
    config, home = lab.config, lab.home
    universe: Universe = select_universe(
        learned, expected=expect(), max_experts=config.max_experts, max_cost_usd=config.max_cost_usd
    )
    console.print(render_universe(universe))
    reasons = {name: f"carries {share:.1%} of the queries" for name, share in universe.share.items()}
    write_plan(home.path, universe, reasons)
    apply_plan(home.path)
    return {
        "experts": list(universe.experts),
        **{key: float(getattr(universe, key)) for key in ("expected_score", "expected_cost_usd", "gap")},
    }


def _find_gaps(
    lab: Laboratory, learned: Outcomes, experts: Sequence[str], expect: Callable[[], Expected]
) -> Step:
    """Name what no expert can do: domains, and regions where there are questions enough to find some."""
    from orchestrator import load_embedder
    from universe import brief_for_questions, find_gaps

    config, home = lab.config, lab.home
    with lab.warehouse.connect() as connection:
        ids = learned.question_ids.tolist()  # of all rounds: one may ask little where nothing is open
        domains = find_domain_gaps(measure_domains(connection, ids, lab.catalogue.names))
    lines = gap_lines(domains)
    gaps = [
        GapBrief(
            gap.domain, (gap.domain,),
            f"The subject is {gap.domain}. No model at hand answers such questions better than by guessing;"
            " begin with easy ones.",
            tuple(learned.question_ids[learned.domains == gap.domain][:3].tolist()),
        )
        for gap in domains
    ]  # fmt: skip
    if len(learned) >= MIN_MAPPED:
        embeddings = load_embedder(config.embedder, cache_dir=home.embeddings).embed(learned.texts)
        report = find_gaps(learned, expect(), experts, embeddings)
        for gap in report.gaps:
            lines.append(
                f"Gap ({gap.kind}): {gap.name}; {gap.reached:.2f} reached on {gap.questions} questions"
            )
            gaps.append(GapBrief(gap.name, gap.domains, brief_for_questions(gap), gap.example_ids))
    return {"lines": lines, "gaps": [asdict(gap) for gap in gaps]}


def _join(learned: Outcomes, frozen: Outcomes) -> Outcomes:
    changes: dict[str, Any] = {
        name: (*getattr(learned, name), *getattr(frozen, name)) for name in ("texts", "prompts")
    }
    for name in learned.__dataclass_fields__:
        if name not in (*changes, "experts"):
            changes[name] = np.concatenate([getattr(learned, name), getattr(frozen, name)])
    return replace(learned, **changes)
