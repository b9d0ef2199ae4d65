"""What a round bought, on outcomes of which the truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.evaluation.improvement import Estimate, fix_cost, measure_improvement
from orchestrator.train import train_router
from orchestrator.versions.mlflow_registry import champion_version, log_version
from orchestrator.versions.promotion import challenge_champion
from pipelines.learning.training import complete_outcomes
from warehouse import Outcomes, TooFewError
from warehouse.home import Home


def outcomes(n, seed=0, experts=("cheap", "dear")):
    """Sums are for the cheap expert, capitals for the dear one; each is right 90% of the time on its own."""
    rng = np.random.default_rng(seed)
    sums = rng.random(n) < 0.5
    texts = tuple(
        f"What is {rng.integers(1e6)} plus {rng.integers(1e6)}?"
        if s
        else f"Name the capital of land {i} {seed}"
        for i, s in enumerate(sums)
    )
    likely = np.where(sums[:, None], [0.9, 0.1], [0.1, 0.9])
    score = (rng.random((n, 2)) < likely).astype(np.float32)
    nothing = np.full((n, 2), np.nan, np.float32)
    return Outcomes(
        question_ids=np.array([f"{seed}-{i}" for i in range(n)]),
        texts=texts,
        prompts=texts,
        sources=np.full(n, "s"),
        domains=np.where(sums, "sums", "capitals"),
        subjects=np.full(n, ""),
        chance=np.zeros(n, np.float32),
        experts=experts,
        score=score,
        cost_usd=np.broadcast_to([1.0, 4.0], (n, 2)).copy(),
        prompt_tokens=nothing,
        completion_tokens=nothing,
        latency_s=nothing,
    )


@pytest.fixture(scope="module")
def router():
    return train_router(outcomes(300), embedder="wordllama", predictor="knn").orchestrator


def test_a_first_router_is_compared_with_the_best_mix_of_single_experts(router):
    frozen = outcomes(200, seed=1)
    at_cost = fix_cost(frozen)
    assert at_cost == pytest.approx(2.0)
    bought = measure_improvement(None, router, frozen, at_cost)
    assert bought.questions == 200
    # Half of the questions are for each expert: single experts reach .5, a router at 2.5 a query .9.
    assert 0.4 < bought.before.value < 0.6
    assert bought.after.value > bought.before.value + 0.1
    assert bought.difference.low > 0
    assert bought.before.low < bought.before.value < bought.before.high


def test_a_router_against_itself_gains_nothing(router):
    bought = measure_improvement(router, router, outcomes(100, seed=2), 2.0)
    assert bought.difference == Estimate(0.0, 0.0, 0.0)
    with pytest.raises(TooFewError, match="10 frozen questions"):
        measure_improvement(router, router, outcomes(10, seed=2), 2.0)


def test_training_sees_expectations_where_nothing_was_asked():
    full = outcomes(120)
    holes = np.random.default_rng(0).random(full.score.shape) < 0.3
    score = np.where(holes, np.nan, full.score).astype(np.float32)

    seen = replace(full, score=score, cost_usd=np.where(holes, np.nan, full.cost_usd))
    filled = complete_outcomes(seen, "wordllama", None)
    assert np.array_equal(filled.score[~holes], full.score[~holes])
    assert np.isfinite(filled.score).all()
    assert complete_outcomes(full, "wordllama", None) is full
    # Domains are told apart: the right expert is expected to be right.
    sums = full.domains == "sums"
    assert filled.score[holes[:, 0] & sums, 0].mean() > filled.score[holes[:, 0] & ~sums, 0].mean() + 0.3


def test_a_better_router_takes_the_champions_place_and_a_worse_one_is_refused(tmp_path, router):
    home = Home.open(tmp_path / "home")
    every = outcomes(600, seed=3)
    # One that learned the wrong way round which expert is for what.
    swapped = replace(outcomes(300), score=outcomes(300).score[:, ::-1].copy())
    poor = train_router(swapped, embedder="wordllama", predictor="knn").orchestrator
    versions = [log_version(one, tracking_uri=home.mlflow_uri) for one in (poor, router)]
    first = challenge_champion(home.mlflow_uri, versions[0], every, began_with=None)
    assert (first.promoted, first.verdict) == (True, "is the first champion")
    second = challenge_champion(home.mlflow_uri, versions[1], every, began_with=versions[0])
    assert second.promoted
    assert champion_version(home.mlflow_uri) == versions[1]
    assert "beats champion 1: +" in second.verdict
    # A test that was cut short after the promotion comes to the same.
    assert challenge_champion(home.mlflow_uri, versions[1], every, began_with=versions[0]).promoted
    third = challenge_champion(home.mlflow_uri, versions[0], every, began_with=versions[1])
    assert not third.promoted
    assert champion_version(home.mlflow_uri) == versions[1]
    assert "does not beat champion 2: -" in third.verdict
    assert "[" in third.verdict  # the interval
    few = challenge_champion(home.mlflow_uri, versions[0], outcomes(30, seed=4), began_with=versions[1])
    assert not few.promoted
    assert "could not be tested" in few.verdict
