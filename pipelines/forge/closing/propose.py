"""A plan for a gap of this home, from the curve of a short training and the recorded outcomes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np

from experts.catalogue_file import Catalogue
from pipelines.forge.closing.plan import (
    CurvePoint,
    GapPlan,
    Prices,
    expect_accuracy,
    plan_gap,
    value_hypothetical,
)
from pipelines.forge.gap import TargetGap
from pipelines.forge.leaks import EvaluationSet
from pipelines.forge.readiness import check_base
from pipelines.forge.run import (
    ForgeSettings,
    PausedError,
    Tell,
    evaluation_questions,
    forge_folder,
    forge_specialist,
    learn_questions,
)
from pipelines.forge.train import Measured
from pipelines.forge.training_questions import make_training_questions
from pipelines.learning.cross_fitted import expected_success
from pipelines.learning.evidence import Evidence, read_evidence
from pipelines.selfplay.round_record import FROZEN, RoundFolder, RoundRecord
from universe.pool_file import read_pool
from warehouse import InputError, NotReadyError, Outcomes
from warehouse.home import Home

EVALUATIONS = 4  # of a probe, after the one of the base


def propose_plan(
    home: Home,
    gap: TargetGap,
    known: Catalogue,
    settings: ForgeSettings,
    prices: Prices,
    *,
    probe_steps: int,
    price_weight: float = 0.0,
    by_domain: Mapping[str, float] | None = None,
    begins: bool = False,
    connect: Callable[[], None] = lambda: None,
    tell: Tell = lambda line: None,
    on_measured: Callable[[Measured], None] = lambda measured: None,
) -> GapPlan:
    """Plan the closing of a gap; a specialist that was begun already is not probed again.

    Args:
        home: with a pool and outcomes, some of them of the gap.
        gap: to close.
        known: the catalogue with the base.
        settings: of the whole training.
        prices: of the work, and of what it brings.
        probe_steps: steps of the short training.
        price_weight: the score that one USD per query has to buy.
        by_domain: parts of the domains in the traffic; None or empty: those of the answered questions count.
        begins: whether the probe is the beginning of the training itself, which goes on from there.
        connect: called where workers train; must establish a Ray connection.
        tell: told in a sentence what happens.
        on_measured: told what the probe measures.

    Raises:
        InputError, CannotRunError: it cannot be made; see :mod:`pipelines.forge.readiness`.
        NotReadyError: there are no outcomes to value it by.
    """
    base = known.get(settings.base)
    if not begins:  # the training itself sees to that before any work, and knows what workers have
        check_base(base, settings.recipe, forge_folder(home, gap), licence=settings.licence)
    outcomes, in_gap = _outcomes_of(home, gap, base.name)
    probe = partial(_begin, connect=connect) if begins else _probe
    curve, seconds = probe(home, gap, known, settings, probe_steps, tell, on_measured)
    expected = expected_success(outcomes, cache_dir=home.embeddings)
    wanted = settings.recipe.steps * settings.recipe.batch_size
    reach = expect_accuracy(curve, settings.validation, wanted)
    best = float(np.nanmax(np.nanmean(outcomes.score[in_gap], axis=0)))
    value = value_hypothetical(outcomes, expected, base.name, in_gap, reach.low, price_weight=price_weight)
    return plan_gap(
        gap.name, base.name, questions=wanted, share=_share(gap, outcomes, in_gap, by_domain or {}), now=best,
        expected=reach,
        seconds_per_question=seconds, value=value, prices=prices,
    )  # fmt: skip


def keep_plan(home: Home, gap: TargetGap, plan: GapPlan) -> None:
    """Keep a plan that was asked for alone, for the report; the last one counts."""
    file = forge_folder(home, gap) / "plan.json"
    file.unlink(missing_ok=True)
    RoundRecord(file).step("plan", lambda: asdict(plan) | {"pays": plan.pays, "reason": plan.reason})


def _outcomes_of(home: Home, gap: TargetGap, base: str) -> tuple[Outcomes, np.ndarray]:
    """What the pool and the base have answered, and which of it lies in the gap."""
    records = RoundFolder(home.rounds).record(FROZEN)
    frozen_ids = records["questions"]["ids"] if "questions" in records else []
    names = list(dict.fromkeys([*read_pool(home.path), base]))
    evidence: Evidence | None = read_evidence(home.warehouse(), names, frozen_ids)
    outcomes = evidence.to_learn() if evidence else None
    if outcomes is None:
        raise NotReadyError("no outcomes to value a specialist by", fix="play a round: `leeroo selfplay`")
    kinds = {name for name, _ in gap.cells}
    pairs = zip(outcomes.domains.tolist(), outcomes.subjects.tolist(), strict=True)
    in_gap = np.array([f"{domain}/{subject}" in kinds for domain, subject in pairs])
    if not in_gap.any():
        raise InputError(
            f"no answered question lies in {gap.name!r}",
            where=gap.name,
            fix=f"play a round with it: `leeroo selfplay --domain {gap.name}`",
        )
    return outcomes, in_gap


def _share(gap: TargetGap, outcomes: Outcomes, in_gap: np.ndarray, by_domain: Mapping[str, float]) -> float:
    """The gap's part of the traffic; of the answered questions where there is no traffic."""
    if not by_domain:
        return float(in_gap.mean())
    share = 0.0
    for domain in {name.split("/")[0] for name, _ in gap.cells}:
        of_domain = np.asarray(outcomes.domains == domain)
        inside = float(in_gap[of_domain].mean()) if of_domain.any() else 1.0
        share += by_domain.get(domain, 0.0) * inside
    return share


def _begin(
    home: Home, gap: TargetGap, known: Catalogue, settings: ForgeSettings, steps: int, tell: Tell,
    on_measured: Callable[[Measured], None], *, connect: Callable[[], None],
) -> tuple[list[CurvePoint], float]:  # fmt: skip
    """Learning curve and seconds per training question of the first steps of the training itself."""
    from mlflow import MlflowClient

    recipe, moments = settings.recipe, [time.monotonic()]

    def watch(found: Measured) -> None:
        on_measured(found)
        moments.append(time.monotonic())

    file = forge_folder(home, gap) / "record.json"
    if "train" not in RoundRecord(file):
        with contextlib.suppress(PausedError):
            forge_specialist(
                home, gap, known, settings, pause_at=steps, connect=connect, tell=tell, on_measured=watch
            )
    record = RoundRecord(file)
    client = MlflowClient(home.mlflow_uri, registry_uri=home.mlflow_uri)
    kept = client.get_metric_history(record["mlflow"]["run_id"], "validation_accuracy")
    at = {point.step: point.value for point in kept}
    curve = [CurvePoint(step * recipe.batch_size, value) for step, value in sorted(at.items())]
    pace = (
        record["train"]["spent_s"] / max(1, record["train"]["steps"])
        if "train" in record
        else (moments[-1] - moments[0]) / max(1, len(moments) - 1)
    )
    return curve, pace / recipe.batch_size


def _probe(
    home: Home, gap: TargetGap, known: Catalogue, settings: ForgeSettings, steps: int, tell: Tell,
    on_measured: Callable[[Measured], None],
) -> tuple[list[CurvePoint], float]:  # fmt: skip
    """Learning curve and seconds per training question: of a short training, or of the one that there is."""
    folder, recipe = forge_folder(home, gap), settings.recipe
    record = RoundRecord(folder / "record.json")
    if "train" in record:
        done = record["train"]
        batch = record["settings"]["recipe"]["batch_size"]
        tell(f"the curve of {done['steps']} steps that were trained before")
        return _curve(done["validation"], batch), done["spent_s"] / max(1, done["steps"] * batch)
    short = replace(recipe, steps=steps, evaluate_every=max(1, steps // EVALUATIONS), warmup_steps=steps // 5)
    made = make_training_questions(
        gap, EvaluationSet(evaluation_questions(home)), count=steps * recipe.batch_size,
        validation_count=settings.validation, seed=settings.seed, weights=settings.weights, least=1,
    )  # fmt: skip
    tell(f"probing with {steps} steps of {recipe.batch_size} questions")
    trained = learn_questions(
        known.get(settings.base), made, made.fingerprint, short, folder / "probe", tell=on_measured
    )
    seconds = trained.spent_s / max(1, trained.steps * recipe.batch_size)
    return _curve(trained.history, recipe.batch_size), seconds


def _curve(measured: Sequence[dict[str, float]], batch: int) -> list[CurvePoint]:
    return [
        CurvePoint(int(point["step"]) * batch, point["validation_accuracy"])
        for point in measured
        if "validation_accuracy" in point
    ]
