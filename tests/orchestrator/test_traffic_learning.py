"""What labels on traffic teach: corrections where forecasts fail, none where they hold, after a gate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.predictors.recalibrated import RecalibratedPredictor
from orchestrator.predictors.registry import predictor_from_state
from orchestrator.text.queries import Queries
from orchestrator.traffic.gate import Foretold, may_take_over
from orchestrator.traffic.labels import Audit, TrafficLabels, inverse_propensity
from orchestrator.traffic.learn import learn_from_traffic, learn_if_proven
from orchestrator.traffic.reliability import Reliability, estimate_reliability, unbiased_success

LABELLERS = ("feedback:api", "judge")
PRAISE = np.array([[0.3, 0.85], [0.1, 0.9]])  # of bad and of good answers, by labeller


def draw_queries(rng: np.random.Generator, n: int, like: Queries) -> Queries:
    rows = rng.integers(0, len(like), n)
    noise = rng.normal(0, 0.02, (n, like.embeddings.shape[1])).astype(np.float32)
    embeddings = like.embeddings[rows] + noise
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Queries(embeddings, like.surface[rows], like.widths)


def draw_labels(rng: np.random.Generator, success: np.ndarray, queries: Queries, count: int) -> TrafficLabels:
    """Noisy labels of answers whose experts are good with these chances [n, m]."""
    n, m = success.shape
    row, expert = rng.integers(0, n, count), rng.integers(0, m, count)
    good = rng.random((n, m)) < success
    labeller = rng.integers(0, 2, count)
    label = rng.random(count) < PRAISE[labeller, good[row, expert].astype(int)]
    return TrafficLabels(
        queries=queries,
        served_at=np.arange(n, dtype=np.float64),
        experts=tuple(f"e{j}" for j in range(m)),
        row=row,
        expert=expert,
        label=label.astype(np.float64),
        labeller=labeller,
        labellers=LABELLERS,
        propensity=np.ones(count),
    )


@pytest.fixture(scope="module")
def base(orchestrator):
    """The shared router's predictor; each query is forecast once."""
    return orchestrator.predictor


@pytest.fixture(scope="module")
def known(orchestrator, outcomes) -> Queries:
    from orchestrator.text.queries import read_queries

    return read_queries(outcomes.texts, orchestrator.embedder)


def test_an_expert_that_became_worse_is_found_out_and_the_others_keep_their_forecasts(base, known) -> None:
    rng = np.random.default_rng(0)
    queries = draw_queries(rng, 1_500, known)
    truth = base.predict(queries).astype(np.float64)
    truth[:, 3] -= 0.35
    labels = draw_labels(rng, truth, queries, 2_500)
    learned = learn_if_proven(base, known, labels)
    assert learned is not None
    fresh = draw_queries(rng, 300, known)
    moved = (learned.predictor.predict(fresh) - base.predict(fresh)).mean(axis=0)
    assert moved[3] == pytest.approx(-0.35, abs=0.12)
    assert np.abs(moved[:3]).max() < 0.12


@pytest.mark.parametrize("seed", range(3))
def test_where_forecasts_hold_little_is_changed(base, known, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries = draw_queries(rng, 800, known)
    labels = draw_labels(rng, base.predict(queries).astype(np.float64), queries, 1_500)
    learned = learn_from_traffic(base, known, labels)
    assert learned is not None
    moved = learned.predictor.predict(queries) - base.predict(queries)
    assert np.abs(moved - moved.mean(axis=1, keepdims=True)).mean() < 0.04


def test_the_gate_is_rarely_passed_by_nothing(base, known) -> None:
    passed = 0
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        queries = draw_queries(rng, 300, known)
        labels = draw_labels(rng, base.predict(queries).astype(np.float64), queries, 600)
        passed += learn_if_proven(base, known, labels) is not None
    assert passed <= 2  # each with a chance of at most 5%


def test_too_few_labels_teach_nothing(base, known) -> None:
    rng = np.random.default_rng(0)
    queries = draw_queries(rng, 20, known)
    assert learn_from_traffic(base, known, draw_labels(rng, base.predict(queries), queries, 20)) is None


def test_a_corrected_predictor_is_saved_and_its_rows_stand_alone(base, known) -> None:
    rng = np.random.default_rng(1)
    queries = draw_queries(rng, 400, known)
    learned = learn_from_traffic(base, known, draw_labels(rng, base.predict(queries) * 0.6, queries, 400))
    assert learned is not None
    predictor, forecast = learned.predictor, base.predict(queries)
    again = predictor_from_state(predictor.state())
    assert isinstance(again, RecalibratedPredictor)
    assert np.array_equal(again.predict(queries), predictor.predict(queries))
    assert np.array_equal(again.uncertainty(queries, forecast), predictor.uncertainty(queries, forecast))
    one = np.concatenate([predictor.predict(queries.take(np.array([i]))) for i in range(5)])
    assert np.array_equal(one, predictor.predict(queries)[:5])


def test_what_is_less_known_is_less_certain(base, known) -> None:
    rng = np.random.default_rng(2)
    queries = draw_queries(rng, 600, known)
    labels = draw_labels(rng, base.predict(queries) * 0.7, queries, 900)
    learned = learn_from_traffic(base, known, labels.only(labels.expert != 2))
    assert learned is not None
    deviation = learned.predictor.uncertainty(queries, base.predict(queries)).mean(axis=0)
    assert deviation[2] > deviation[[0, 1, 3]].max()


def test_reliability_is_found_without_truth() -> None:
    rng = np.random.default_rng(3)
    n, m = 4_000, 3
    success = rng.beta(2, 1.5, (n, m))
    good = rng.random((n, m)) < success
    row = np.repeat(np.arange(n), 2)
    expert, labeller = np.repeat(rng.integers(0, m, n), 2), np.tile([0, 1], n)
    label = rng.random(2 * n) < PRAISE[labeller, good[row, expert].astype(int)]
    labels = TrafficLabels(
        queries=Queries(np.zeros((n, 1), np.float32), np.zeros((n, 1), np.float32), (1,)),
        served_at=np.arange(n, dtype=np.float64), experts=("a", "b", "c"), row=row, expert=expert,
        label=label.astype(np.float64), labeller=labeller, labellers=LABELLERS, propensity=np.ones(2 * n),
    )  # fmt: skip
    found = estimate_reliability(labels, success + 0.1)  # forecasts are a little too high
    for name, praise in zip(LABELLERS, PRAISE, strict=True):
        assert [found[name].of_bad, found[name].of_good] == pytest.approx(praise, abs=0.06)
    assert estimate_reliability(replace(labels, labellers=("gold", "judge")), success)["gold"] == Reliability(
        0, 1
    )


def test_an_audited_labeller_is_not_taken_for_stricter_when_answers_become_worse(base, known) -> None:
    rng = np.random.default_rng(5)
    queries = draw_queries(rng, 600, known)
    labels = draw_labels(rng, base.predict(queries) * 0.5, queries, 1_200)
    bad, good = PRAISE[1]
    audited = replace(labels, audits={"judge": Audit(400, 400 * bad, 400, 400 * good)})
    forecast = base.predict(queries).astype(np.float64)
    found = estimate_reliability(audited, forecast)["judge"]
    assert [found.of_bad, found.of_good] == pytest.approx([bad, good], abs=0.02)
    assert estimate_reliability(labels, forecast)["judge"].of_good < good - 0.02


@given(st.floats(0, 0.45), st.floats(0.55, 1), st.integers(0, 1_000))
@settings(max_examples=20, deadline=None)
def test_success_by_labels_is_unbiased(of_bad: float, of_good: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    good = rng.random(20_000) < 0.6
    label = (rng.random(20_000) < np.where(good, of_good, of_bad)).astype(np.float64)
    nothing = np.zeros(20_000, np.intp)
    labels = TrafficLabels(
        Queries(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), (1,)), np.zeros(1), ("a",),
        nothing, nothing, label, nothing, ("x",), np.ones(20_000),
    )  # fmt: skip
    success, variance = unbiased_success(labels, {"x": Reliability(of_bad, of_good)}, np.full((1, 1), 0.6))
    error = success.std() / len(success) ** 0.5
    assert abs(success.mean() - good.mean()) < 5 * error + 1e-9
    assert success.var() <= 1.1 * variance[0]


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=50), st.floats(1, 50))
def test_weights_count_for_no_more_labels_than_there_are(propensity: list[float], most: float) -> None:
    weights = inverse_propensity(np.array(propensity), most)
    assert weights.sum() <= len(weights) * (1 + 1e-9)
    assert weights.max() / weights.min() <= most * (1 + 1e-9)


def test_the_gate_opens_for_better_forecasts_alone() -> None:
    rng = np.random.default_rng(4)
    truth = rng.random(400)
    seen = truth + rng.normal(0, 0.3, 400)
    better, worse = truth, np.full(400, 0.9)
    assert may_take_over([Foretold(seen, np.full(400, 0.09), worse, better)])
    assert not may_take_over([Foretold(seen, np.full(400, 0.09), better, worse)])
    assert not may_take_over([Foretold(seen, np.full(400, 0.09), better, better)])
    assert not may_take_over([])
