"""The last steps of a round: universe, router, what it is worth, its test against the champion, gaps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.evaluation.improvement import measure_improvement
from orchestrator.versions.promotion import Standing, challenge_champion
from pipelines.answering.domains import DomainGap, find_domain_gaps, measure_domains
from pipelines.learning.training import train_version
from pipelines.questions.brief import GapBrief
from pipelines.selfplay.events import GapsFound, Measured, Trained, UniverseChosen
from pipelines.selfplay.settings import RouterSettings, UniverseSettings
from warehouse import Outcomes, TooFewError, Warehouse
from warehouse.home import Home

if TYPE_CHECKING:
    from universe.model.expectation import Expected

MIN_MAPPED = 80  # questions that a map of gaps needs, resampled too


def choose_universe(
    learned: Outcomes, expected: Expected, settings: UniverseSettings, home: Home, *, round: str
) -> UniverseChosen:
    """Choose the experts to keep on cross-fitted expected success, and write them down as the home's plan.

    The pool in use stays as it is until the router of this round is promoted; see :func:`challenge`. The
    round keeps a copy: somebody may choose another universe before that.
    """
    from universe import select_universe
    from universe.pool_file import write_plan
    from universe.report.mlflow_runs import log_universe

    universe = select_universe(
        learned, expected=expected, max_experts=settings.max_experts, max_cost_usd=settings.max_cost_usd
    )
    reasons = {name: f"carries {share:.1%} of the queries" for name, share in universe.share.items()}
    plan = write_plan(home.path, universe, reasons)
    home.rounds.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(plan, _own_plan(home, round))
    log_universe(universe, tracking_uri=home.mlflow_uri, fingerprint=learned.fingerprint())
    return UniverseChosen(round, universe)


def train(every: Outcomes, settings: RouterSettings, home: Home, *, round: str) -> Trained:
    """Train, evaluate and register a router over the experts of the outcomes."""
    return Trained(
        round,
        train_version(
            every, home, predictor=settings.predictor, embedder=settings.embedder, seeds=settings.seeds
        ),
    )


def measure(
    before: str | None, version: str, frozen: Outcomes, at_cost_usd: float, home: Home, *, round: str
) -> Measured:
    """Measure what the round bought on the frozen set, or say why it cannot be told.

    Args:
        before: who was champion when the round began; None: nobody.
        version: the round's own.
        frozen: outcomes of the frozen set.
        at_cost_usd: mean cost of a query at which both are compared.
        home: whose registry.
        round: its name.
    """
    from orchestrator.versions.mlflow_registry import load_version

    uri = home.mlflow_uri
    try:
        former = load_version(uri, before) if before else None
        bought = measure_improvement(
            former, load_version(uri, version), frozen, at_cost_usd, cache_dir=home.embeddings
        )
    except TooFewError as error:
        return Measured(round, None, str(error))
    return Measured(round, bought)


def _own_plan(home: Home, round: str) -> Path:
    return home.rounds / f"{round}.universe.yaml"


def challenge(version: str, before: str | None, every: Outcomes, home: Home, *, round: str) -> Standing:
    """Put the router to the test; if it is in charge after it, its universe becomes the pool in use.

    A refused router leaves the pool as it was: the champion that goes on serving was judged on that one.

    Args:
        version: the round's own.
        before: who was champion when the round began; None: nobody.
        every: outcomes of the experts of both.
        home: whose registry and pool.
        round: whose universe.
    """
    from orchestrator.versions.mlflow_registry import champion_version
    from universe import apply_plan

    standing = challenge_champion(
        home.mlflow_uri,
        version,
        every,
        traffic=home.warehouse(),
        began_with=before,
        cache_dir=home.embeddings,
    )
    if champion_version(home.mlflow_uri) == version:
        own = _own_plan(home, round)  # rounds that earlier versions began have none
        # Once more, where a run was stopped between the two: that is harmless.
        apply_plan(home.path, own if own.exists() else None)
    return standing


def find_gaps(
    warehouse: Warehouse,
    learned: Outcomes,
    panel: Sequence[str],
    experts: Sequence[str],
    expect: Callable[[], Expected],
    *,
    embedder: str,
    home: Home,
    round: str,
) -> GapsFound:
    """Name what no expert can do: domains, and regions where there are questions enough to find some.

    Args:
        warehouse: where the answers are.
        learned: outcomes of all rounds; one may ask little where nothing is open.
        panel: the experts that answer.
        experts: those of them that are kept.
        expect: cross-fitted success and cost of ``learned``; called only where there are regions to find.
        embedder: of the router.
        home: whose cache of embeddings.
        round: its name.
    """
    from orchestrator import load_embedder
    from universe import brief_for_questions
    from universe import find_gaps as find_regions
    from universe.report.figures import draw_gaps
    from universe.report.mlflow_runs import log_gaps

    with warehouse.connect() as connection:
        domains = find_domain_gaps(measure_domains(connection, learned.question_ids.tolist(), panel))
    lines = gap_lines(domains)
    briefs = [
        GapBrief(
            gap.domain, (gap.domain,),
            f"The subject is {gap.domain}. No model at hand answers such questions better than by guessing;"
            " begin with easy ones.",
            tuple(learned.question_ids[learned.domains == gap.domain][:3].tolist()),
        )
        for gap in domains
    ]  # fmt: skip
    if len(learned) >= MIN_MAPPED:
        embeddings = load_embedder(embedder, cache_dir=home.embeddings).embed(learned.texts)
        found = find_regions(learned, expect(), experts, embeddings)
        log_gaps(
            found, tracking_uri=home.mlflow_uri, fingerprint=learned.fingerprint(), figure=draw_gaps(found),
            briefs="\n\n".join(f"{region.name}\n  {brief_for_questions(region)}" for region in found.gaps),
        )  # fmt: skip
        for region in found.gaps:
            lines.append(
                f"Gap ({region.kind}): {region.name}; {region.reached:.2f} reached on"
                f" {region.questions} questions"
            )
            briefs.append(
                GapBrief(region.name, region.domains, brief_for_questions(region), region.example_ids)
            )
    return GapsFound(round, tuple(lines), tuple(briefs))


def gap_lines(gaps: Sequence[DomainGap]) -> list[str]:
    """Say in a sentence each what no expert can do."""
    if not gaps:
        return ["Gaps: none; in every domain some expert is better than guessing."]
    return [
        f"Gap: {gap.domain}. The best of the experts, {gap.best_expert}, scores {gap.accuracy:.2f} on"
        f" {gap.questions} questions; guessing scores {gap.chance:.2f}."
        for gap in gaps
    ]
