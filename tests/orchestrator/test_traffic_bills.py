"""What bills teach: forecasts of cost that follow the traffic where that foretells later bills, else stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_outcomes

from orchestrator.predictors.cost import CostPredictor
from orchestrator.text.embedder import weights_key
from orchestrator.text.queries import Examples, Queries, read_queries
from orchestrator.traffic.bills import Bills, learn_costs
from orchestrator.traffic.read import read_bills
from orchestrator.train import train_router
from warehouse import Warehouse
from warehouse.schemas import table_schema

START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def examples(orchestrator, outcomes) -> Examples:
    return Examples(read_queries(outcomes.texts, orchestrator.embedder), outcomes)


@pytest.fixture(scope="module")
def cost(examples) -> CostPredictor:
    cut = len(examples) // 4
    everyone = np.arange(len(examples))
    return CostPredictor().fit(examples.take(everyone[cut:]), examples.take(everyone[:cut]))


def draw_bills(cost: CostPredictor, queries: Queries, ratio: np.ndarray, n: int, seed: int) -> Bills:
    """Answers that cost so many times what was forecast, give or take, by experts in turn."""
    rng = np.random.default_rng(seed)
    taken = queries.take(rng.integers(0, len(queries), n))
    expert = rng.integers(0, len(ratio), n)
    spread = rng.lognormal(-0.125, 0.5, n)  # of mean 1
    billed = cost.predict(taken)[np.arange(n), expert] * ratio[expert] * spread
    return Bills(taken, cost.experts, expert, billed, rng.uniform(0.1, 1, n))


@given(seed=st.integers(0, 10_000), dearer=st.floats(2.0, 10.0))
@settings(max_examples=15, deadline=None)
def test_an_expert_whose_answers_cost_more_is_found_out(cost, examples, seed: int, dearer: float) -> None:
    ratio = np.ones(len(cost.experts))
    ratio[-1] = dearer
    lesson = learn_costs(cost, draw_bills(cost, examples.queries, ratio, 200 * len(ratio), seed))
    assert lesson.proven[-1]
    assert lesson.ratio[-1] == pytest.approx(dearer, rel=0.3)
    assert lesson.ratio[:-1] == pytest.approx(1.0, abs=0.25)


def test_where_forecasts_hold_few_are_changed(cost, examples) -> None:
    ratio = np.ones(len(cost.experts))
    found = [learn_costs(cost, draw_bills(cost, examples.queries, ratio, 600, seed)) for seed in range(40)]
    proven = np.concatenate([lesson.proven for lesson in found])
    assert proven.mean() < 0.12  # each with a chance of 5%
    assert all((lesson.ratio[~lesson.proven] == 1).all() for lesson in found)


@pytest.mark.parametrize("billed", [0.0, np.nan])
def test_bills_that_say_nothing_change_nothing(cost, examples, billed: float) -> None:
    bills = draw_bills(cost, examples.queries, np.ones(len(cost.experts)), 25, 0)
    few = Bills(bills.queries, bills.experts, bills.expert, np.full(25, billed), bills.propensity)
    lesson = learn_costs(cost, few)
    assert not lesson.proven.any()
    assert (lesson.ratio == 1).all()


def test_answers_that_became_free_are_forecast_near_nothing_and_never_below(cost, examples) -> None:
    bills = draw_bills(cost, examples.queries, np.zeros(len(cost.experts)), 900, 0)
    lesson = learn_costs(cost, bills)
    assert lesson.proven.all()
    assert (lesson.ratio > 0).all()
    assert (lesson.ratio < 0.2).all()


def test_a_ceiling_never_falls_by_what_was_billed(cost, examples) -> None:
    own = CostPredictor.from_state(cost.state())
    before, m = own.overrun.copy(), len(own.experts)
    queries = examples.queries.take(np.arange(10))
    billed = own.predict(queries) * 100
    forecast = own.predict(queries)
    own.rescale(np.full(m, 2.0), queries, billed)
    assert np.allclose(own.predict(queries), 2 * forecast)
    assert (own.overrun >= before).all()
    assert (own.overrun >= 50 * (1 - 1e-9)).all()


def test_a_router_learns_what_served_answers_cost(orchestrator, outcomes, tmp_path) -> None:
    reader = orchestrator.embedder
    warehouse = Warehouse(tmp_path / "warehouse")
    asked = read_queries(make_outcomes(200, seed=5).texts, reader)
    forecast = orchestrator.cost.predict(asked)
    dear, other = outcomes.experts[0], outcomes.experts[1]
    rows = []
    for i in range(200):
        # every tenth answer is a stand-in's: it was not chosen, and is not heard
        expert = dear if i % 10 else other
        rows.append(
            {
                "request_id": f"r{i:03d}", "created_at": START + timedelta(seconds=i), "role": "champion",
                "round": "serve-2026-11-01", "experts": list(outcomes.experts), "chosen": dear,
                "propensities": [0.5] + [0.5 / (len(outcomes.experts) - 1)] * (len(outcomes.experts) - 1),
                "expert": expert, "answer_cost_usd": float(forecast[i, 0] * 3), "recording": "features",
                "embedder": weights_key(reader.weights), "embedding": asked.embeddings[i].tolist(),
                "surface": asked.surface[i].tolist(),
            }
        )  # fmt: skip
    schema = pa.schema([field for field in table_schema("traffic") if field.name in rows[0]])
    warehouse.append("traffic", pa.Table.from_pylist(rows, schema), round="serve-2026-11-01")
    bills = read_bills(warehouse, outcomes.experts, reader)
    assert len(bills) == 180
    assert set(bills.expert) == {0}
    assert (bills.propensity == 0.5).all()
    trained = train_router(outcomes, embedder="wordllama", predictor="knn", bills=bills).orchestrator
    plain = train_router(outcomes, embedder="wordllama", predictor="knn").orchestrator
    moved = trained.cost.predict(asked) / plain.cost.predict(asked)
    assert moved[:, 0] == pytest.approx(3.0, rel=0.1)
    assert moved[:, 1:] == pytest.approx(1.0)
    assert trained.info["bills"][dear]["learned"]
    assert trained.info["training_data"] != plain.info["training_data"]
