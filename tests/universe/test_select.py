"""From a table of outcomes to a universe, and the refusals on the way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from universe.model.expectation import Expected, cross_fit, raw_outcomes
from universe.model.limits import Hosting, Limits, NodeType
from universe.solver.select import select_universe
from warehouse import InfeasibleError, InputError, Outcomes, TooFewError

EXPERTS = ("cheap", "middle", "dear", "maths")


def table(n: int = 60, seed: int = 0) -> Outcomes:
    rng = np.random.default_rng(seed)
    domains = np.array(["maths", "law"])[np.arange(n) % 2]
    success = np.array([[0.2, 0.5, 0.8, 0.9], [0.5, 0.6, 0.9, 0.1]])[np.arange(n) % 2]
    blank = np.full((n, 4), np.nan, dtype=np.float32)
    return Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]),
        texts=tuple(f"question {i}" for i in range(n)),
        prompts=tuple(f"question {i}" for i in range(n)),
        sources=np.full(n, "made"),
        domains=domains,
        subjects=domains,
        chance=np.zeros(n, dtype=np.float32),
        experts=EXPERTS,
        score=(rng.random((n, 4)) < success).astype(np.float32),
        cost_usd=np.tile([0.1, 0.3, 1.0, 0.2], (n, 1)),
        prompt_tokens=blank,
        completion_tokens=blank,
        latency_s=blank,
    )


def truth(outcomes: Outcomes) -> Expected:
    success = np.array([[0.2, 0.5, 0.8, 0.9], [0.5, 0.6, 0.9, 0.1]])[np.arange(len(outcomes)) % 2]
    return Expected(success, outcomes.cost_usd)


def test_the_pair_that_splits_the_domains_is_chosen() -> None:
    outcomes = table()
    universe = select_universe(outcomes, expected=truth(outcomes), max_experts=2)
    assert set(universe.experts) == {"dear", "maths"}
    assert universe.status == "optimal"
    assert universe.expected_score == pytest.approx(0.9)
    assert universe.expected_cost_usd == pytest.approx(0.6)
    assert universe.gap <= 1e-5
    assert universe.share == pytest.approx({"dear": 0.5, "maths": 0.5})


def test_the_query_budget_moves_the_set_and_has_a_shadow_price() -> None:
    outcomes = table()
    universe = select_universe(outcomes, expected=truth(outcomes), max_cost_usd=0.25, max_experts=2)
    assert set(universe.experts) == {"middle", "maths"}
    assert universe.expected_cost_usd <= 0.25 + 1e-9
    looser = select_universe(outcomes, expected=truth(outcomes), max_cost_usd=0.4)
    bit_looser = select_universe(outcomes, expected=truth(outcomes), max_cost_usd=0.41)
    assert looser.cost_multiplier == pytest.approx(
        (bit_looser.expected_score - looser.expected_score) / 0.01, rel=1e-3
    )


def test_an_expert_that_gets_no_traffic_is_left_out() -> None:
    outcomes = table()
    universe = select_universe(outcomes, expected=truth(outcomes))
    assert set(universe.experts) == {"dear", "maths"}
    kept = select_universe(outcomes, expected=truth(outcomes), must_have=["cheap"])
    assert "cheap" in kept.experts


def test_hosting_and_load_buy_replicas() -> None:
    outcomes = table()
    hosting = {name: Hosting(usd_per_hour=2.0, queries_per_s=3.0) for name in outcomes.experts}
    universe = select_universe(
        outcomes,
        expected=truth(outcomes),
        hosting=hosting,
        limits=Limits(queries_per_s=10.0, max_usd_per_hour=8.0),
    )
    assert universe.usd_per_hour <= 8.0
    assert sum(universe.replicas.values()) == 4
    for name, count in universe.replicas.items():
        assert universe.share[name] * 10.0 <= count * 3.0 + 1e-6


def test_raw_outcomes_use_the_questions_that_all_answered() -> None:
    outcomes = table()
    outcomes.score[3, 1] = np.nan
    expected, complete = raw_outcomes(outcomes)
    assert len(complete) == len(outcomes) - 1
    assert expected.score.shape == (59, 4)
    outcomes.score[:, 2] = np.nan
    with pytest.raises(TooFewError, match="dear"):
        raw_outcomes(outcomes)


def test_cross_fitting_never_shows_a_question_to_its_own_model() -> None:
    outcomes = dataclasses.replace(table(), prompts=tuple(f"question {i // 2}" for i in range(60)))

    def fit_predict(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert not {i // 2 for i in train} & {i // 2 for i in test}
        return np.full((len(test), 4), 0.5), np.ones((len(test), 4))

    cross_fit(outcomes, fit_predict)
    with pytest.raises(TooFewError, match="folds"):
        cross_fit(outcomes, fit_predict, folds=61)


def test_expected_success_has_the_means_that_the_experts_have() -> None:
    outcomes = table(4000)
    outcomes.score[:50, 0] = np.nan

    def predict_half(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(test), 4), 0.5), np.ones((len(test), 4))

    expected = cross_fit(outcomes, predict_half)
    for domain in ("law", "maths"):
        here = outcomes.domains == domain
        real = np.nanmean(outcomes.score[here], axis=0)
        np.testing.assert_allclose(expected.score[here].mean(axis=0), real, atol=0.01)
    few = cross_fit(table(10), predict_half)
    assert (abs(few.score - 0.5) <= 0.5 * 5 / 25).all()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_experts": 0}, "max_experts"),
        ({"max_cost_usd": -1.0}, "max_cost_usd"),
        ({"max_cost_usd": 0.05}, "max_cost_usd"),
        ({"max_cost_usd": float("nan")}, "max_cost_usd"),
        ({"price_weight": -1.0}, "price_weight"),
        ({"must_have": ["nobody"]}, "nobody"),
        ({"must_have": ["dear"], "must_not": ["dear"]}, "dear"),
        ({"must_not": ["cheap", "middle", "dear", "maths"]}, "must_not"),
        ({"limits": Limits(min_score={"law": 0.95})}, "limits"),
        ({"weight": np.zeros(60)}, "weight"),
        (
            {
                "limits": Limits(max_usd_per_hour=1.0),
                "hosting": {n: Hosting(usd_per_hour=2.0) for n in EXPERTS},
            },
            "max_usd_per_hour",
        ),
    ],
)
def test_impossible_requests_are_refused_with_the_field_named(change: dict[str, object], field: str) -> None:
    outcomes = table()
    with pytest.raises((InputError, InfeasibleError), match=field):
        select_universe(outcomes, expected=truth(outcomes), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("score", np.nan, "score, expert 'middle', row 5"),
        ("score", 1.5, "score"),
        ("cost_usd", -1.0, "cost_usd"),
    ],
)
def test_bad_cells_are_refused_with_expert_and_row(field: str, value: float, message: str) -> None:
    outcomes = table()
    expected = truth(outcomes)
    getattr(expected, field)[5, 1] = value
    with pytest.raises(InputError, match=message):
        select_universe(outcomes, expected=expected)


def test_bad_hosting_is_refused() -> None:
    for field in ("usd_per_hour", "gpus", "gpu_memory_gib"):
        with pytest.raises(InputError, match=field):
            Hosting(**{field: -1.0})
    with pytest.raises(InputError, match="queries_per_s"):
        Hosting(queries_per_s=0.0)
    with pytest.raises(InputError, match="field count"):
        NodeType(count=0)
