"""Labels out of the warehouse: whose answer, who says so, by which chance; and training on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from synthetic import make_outcomes

from orchestrator import train_router
from orchestrator.predictors.recalibrated import RecalibratedPredictor
from orchestrator.text.embedder import weights_key
from orchestrator.text.queries import read_queries
from orchestrator.traffic.read import read_labels
from warehouse import InputError, Warehouse

START = datetime(2026, 11, 1, tzinfo=UTC)


def request(number: int, reader, queries, **changes):
    at = number % len(queries)
    return {
        "request_id": f"r{number}", "created_at": START + timedelta(seconds=number), "role": "champion",
        "round": "serve-2026-11-01", "experts": ["algebraist", "generalist"], "propensities": [0.25, 0.75],
        "chosen": "algebraist", "expert": "algebraist", "conversation_hash": f"c{number // 2}",
        "embedder": weights_key(reader.weights),
        "embedding": queries.embeddings[at].tolist(), "surface": queries.surface[at].tolist(),
        "recording": "features",
    } | changes  # fmt: skip


def said(number: int, request_id: str, score: float | None, **changes):
    return {
        "feedback_id": f"f{number}", "request_id": request_id, "level": "request", "kind": "score",
        "score": score, "source": "api", "key_id": "k1", "round": "serve-2026-11-01",
        "created_at": START + timedelta(hours=1, seconds=number),
    } | changes  # fmt: skip


def keep(warehouse: Warehouse, table: str, rows: list[dict]) -> None:
    from warehouse.schemas import table_schema

    schema = table_schema(table)
    names = {name for row in rows for name in row}
    wanted = pa.schema([field for field in schema if field.name in names])
    warehouse.append(table, pa.Table.from_pylist(rows, wanted), round="serve-2026-11-01")


@pytest.fixture
def warehouse(tmp_path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse")


@pytest.fixture(scope="module")
def queries(orchestrator):
    return read_queries(make_outcomes(40, seed=5).texts, orchestrator.embedder)


def test_labels_are_read_with_who_said_so_and_how_the_expert_was_drawn(
    warehouse, orchestrator, queries
) -> None:
    embedder = orchestrator.embedder
    rows = [request(i, embedder, queries) for i in range(6)]
    rows[4] = request(4, embedder, queries, embedder="another")
    rows[5] = request(5, embedder, queries, expert="stranger")
    keep(warehouse, "traffic", rows)
    keep(
        warehouse,
        "feedback",
        [
            said(0, "r0", 0.0),
            said(1, "r0", 1.0),  # the same author thinks again
            said(2, "r0", 0.25, key_id="k2"),
            said(3, "r1", None, kind="comment"),
            said(4, "r3", 0.5, level="conversation", conversation_hash="c1"),  # of r2 as well
            said(5, "r4", 1.0),  # of another embedder
            said(6, "r5", 1.0),  # of an expert outside the pool
        ],
    )
    question = {
        "question_id": "q0", "source": "traffic", "domain": "traffic", "prompt": "?", "answer": "",
        "kind": "judged", "parent_id": "r0",
    }  # fmt: skip
    keep(warehouse, "questions", [question])
    verdict = {"question_id": "q0", "expert_version": "1", "score": 0.75, "created_at": START}
    keep(
        warehouse,
        "judgements",
        [
            verdict | {"expert": "generalist", "grader": "judge:x/1/single/r@1"},
            verdict | {"expert": "algebraist", "grader": "user@1"},  # hands on what users said
        ],
    )
    labels = read_labels(warehouse, orchestrator.experts, embedder)
    found = sorted(
        (
            int(labels.served_at[row]), labels.experts[expert], labels.labellers[who], float(label), float(p),
        )
        for row, expert, who, label, p in zip(
            labels.row, labels.expert, labels.labeller, labels.label, labels.propensity, strict=True
        )
    )  # fmt: skip
    assert found == [
        (0, "algebraist", "feedback:api", 0.25, 0.25),
        (0, "algebraist", "feedback:api", 1.0, 0.25),
        (0, "generalist", "judge:x/1/single/r@1", 0.75, 1.0),
        (2, "algebraist", "feedback:api", 0.5, 0.25),
        (3, "algebraist", "feedback:api", 0.5, 0.25),
    ]
    assert np.array_equal(labels.queries.embeddings[0], queries.embeddings[0])


def test_a_warehouse_without_traffic_has_no_labels(warehouse, orchestrator) -> None:
    labels = read_labels(warehouse, orchestrator.experts, orchestrator.embedder)
    assert len(labels) == 0
    assert labels.queries.embeddings.shape == (0, orchestrator.embedder.dim)


def test_a_router_is_trained_on_benchmark_and_traffic_together(warehouse, orchestrator, queries) -> None:
    """The generalist has become useless on the traffic: the router learns it, and no other expert suffers."""
    rng = np.random.default_rng(0)
    count = 700
    rows, feedback = [], []
    for i in range(count):
        expert = str(rng.choice(orchestrator.experts))
        experts = list(orchestrator.experts)
        rows.append(
            request(i, orchestrator.embedder, queries, experts=experts, propensities=[0.25] * 4,
                    expert=expert, chosen=expert)
        )  # fmt: skip
        good = 0.05 if expert == "generalist" else 0.6
        feedback.append(said(i, f"r{i}", float(rng.random() < 0.1 + 0.8 * (rng.random() < good))))
    keep(warehouse, "traffic", rows)
    keep(warehouse, "feedback", feedback)
    outcomes = make_outcomes(seed=1)
    labels = read_labels(warehouse, outcomes.experts, orchestrator.embedder)
    before = train_router(outcomes, embedder="wordllama", predictor="knn").orchestrator
    after = train_router(outcomes, embedder="wordllama", predictor="knn", traffic=labels).orchestrator
    assert isinstance(after.predictor, RecalibratedPredictor)
    assert after.info["traffic"]["labels"] == {"feedback:api": count}
    place = outcomes.experts.index("generalist")
    moved = (after.predictor.predict(queries) - before.predictor.predict(queries)).mean(axis=0)
    assert moved[place] < -0.3
    assert moved[place] < np.delete(moved, place).min() - 0.2


def test_labels_of_other_experts_are_refused(warehouse, orchestrator) -> None:
    labels = read_labels(warehouse, orchestrator.experts[1:], orchestrator.embedder)
    with pytest.raises(InputError, match="other experts"):
        train_router(make_outcomes(), embedder="wordllama", predictor="knn", traffic=labels)
