"""A router trained on benchmark, self-play and traffic together, and its test against the champion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.versions.promotion import Standing, challenge_champion
from pipelines.learning.training import TrainingResult, train_version
from pipelines.traffic.as_questions import SOURCE
from pipelines.traffic.settings import LearnSettings
from warehouse import Outcomes, TooFewError, Warehouse, load_outcomes
from warehouse.home import Home


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


def train_challenger(home: Home, outcomes: Outcomes, settings: LearnSettings) -> TrainingResult:
    """Train on the outcomes and register the router."""
    return train_version(
        outcomes, home, predictor=settings.predictor, embedder=settings.embedder, seeds=settings.seeds,
        seed=settings.seed,
    )  # fmt: skip


def count_traffic(outcomes: Outcomes) -> int:
    """Rows that come from traffic."""
    return int((outcomes.sources == SOURCE).sum())


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
