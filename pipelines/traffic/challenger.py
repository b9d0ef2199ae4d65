"""A router trained on benchmark, self-play and traffic together, and its test against the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.predictors.registry import DEFAULT_PREDICTOR
from orchestrator.text.registry import DEFAULT_EMBEDDER, load_embedder
from orchestrator.traffic.read import read_bills, read_labels
from orchestrator.versions.mlflow_registry import load_version
from orchestrator.versions.promotion import Standing, challenge_champion
from pipelines.learning.training import train_version
from pipelines.traffic.as_questions import SOURCE
from pipelines.traffic.settings import LearnSettings
from warehouse import Outcomes, TooFewError, Warehouse, load_outcomes
from warehouse.home import Home


@dataclass(frozen=True)
class Challenger:
    """A registered version and what it was trained on.

    Attributes:
        version: its number.
        is_new: False where the same training had been registered before.
        questions: of benchmarks and self-play.
        traffic: requests that were asked again.
        labels: what users and graders said of answers to requests.
    """

    version: str
    is_new: bool
    questions: int
    traffic: int
    labels: int


def read_outcomes(warehouse: Warehouse, experts: Sequence[str]) -> Outcomes:
    """All that these experts have answered, whatever it came from.

    Raises:
        NotReadyError: nothing has been graded.
        TooFewError: fewer than two of the experts have an answer with a score and a cost.
    """
    outcomes = load_outcomes(warehouse)
    has_both = np.atleast_1d(np.isfinite(outcomes.score + outcomes.cost_usd).any(axis=0))
    telling = {name for name, tells in zip(outcomes.experts, has_both, strict=True) if tells}
    names = [name for name in experts if name in telling]
    if len(names) < 2:
        raise TooFewError(
            "fewer than two of these experts have a graded answer with a cost",
            where=warehouse.url,
            fix="run `leeroo selfplay`, or let `leeroo learn` ask more of the traffic again",
        )
    return outcomes.only(names).answered()


def resolve_router(home: Home, settings: LearnSettings, champion: str | None) -> tuple[str, str]:
    """Predictor and embedder of the router that is trained: as set, else the champion's, else the defaults.

    Requests are recorded in the champion's embedding: with another one their labels say nothing.
    """
    info = load_version(home.mlflow_uri, champion).info if champion is not None else {}
    return (
        settings.predictor or info.get("predictor") or DEFAULT_PREDICTOR,
        settings.embedder or info.get("embedder") or DEFAULT_EMBEDDER,
    )


def train_challenger(
    home: Home, outcomes: Outcomes, settings: LearnSettings, champion: str | None
) -> Challenger:
    """Train on the outcomes and on what was said of served answers, and register the router.

    Users' words and judges' scores are labels with noise: how far each labeller can be trusted is estimated
    from where they meet, and what was learned from them decides only if it foretold the later ones.
    """
    predictor, embedder = resolve_router(home, settings, champion)
    reader = load_embedder(embedder)
    labels = read_labels(home.warehouse(), outcomes.experts, reader)
    bills = read_bills(home.warehouse(), outcomes.experts, reader)
    trained = train_version(
        outcomes, home, predictor=predictor, embedder=embedder, seeds=settings.seeds, seed=settings.seed,
        traffic=labels if len(labels) else None, bills=bills if len(bills) else None,
    )  # fmt: skip
    return Challenger(
        trained.version, trained.is_new, int((outcomes.sources != SOURCE).sum()),
        int((outcomes.sources == SOURCE).sum()), len(labels),
    )  # fmt: skip


def challenge(home: Home, version: str, before: str | None, outcomes: Outcomes) -> Standing:
    """Put the version to the gate; see :func:`orchestrator.versions.promotion.challenge_champion`."""
    return challenge_champion(
        home.mlflow_uri,
        version,
        outcomes,
        traffic=home.warehouse(),
        began_with=before,
        cache_dir=home.embeddings,
    )
