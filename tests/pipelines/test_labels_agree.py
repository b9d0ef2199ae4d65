"""Whoever reads what was said of the traffic reads the same: one rule, here in plain Python beside it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.off_policy.read import read_traffic
from orchestrator.text.embedder import WeightsIdentity
from orchestrator.traffic.read import read_labels
from pipelines.learning.recorded_requests import read_requests
from warehouse import Warehouse
from warehouse.schemas import table_schema

START = datetime(2030, 1, 1, tzinfo=UTC)
EXPERTS = ("a", "b")
GRADERS = ("judge:x/1", "judge:y/1", "user@1", "agreement@1", "pairs-served@1", "choice@1")
GIVEN = st.sampled_from([*(eighths / 8 for eighths in range(9)), math.nan])
SCORES = st.sampled_from([*(eighths / 8 for eighths in range(9)), math.nan, None])
MINUTES = st.integers(0, 5).map(lambda minute: START + timedelta(minutes=minute))

Rows = list[dict[str, Any]]
Cell = tuple[str, str]  # a request and an expert
Label = tuple[str, float]  # who says so, and what


@dataclass(frozen=True)
class Reader:
    """An embedder of which only the name counts."""

    name: str = "reader"
    dim: int = 2
    widths: tuple[int, ...] = (2,)
    weights: tuple[WeightsIdentity, ...] = (WeightsIdentity("reader", 1, "0" * 64, ""),)

    def embed(self, texts: Sequence[str]) -> Any:
        raise AssertionError("vectors are recorded")


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Rows]:
    names = [f"r{i}" for i in range(draw(st.integers(1, 6)))]
    roles = ["champion", *(draw(st.sampled_from(["champion", "named", "shadow"])) for _ in names[1:])]
    traffic = [
        {
            "request_id": name, "created_at": draw(MINUTES), "role": role, "router_version": "1",
            "conversation_hash": draw(st.sampled_from([None, "c", "d"])), "experts": list(EXPERTS),
            "predicted_success": [0.5, 0.5], "predicted_cost_usd": [0.1, 0.1], "propensities": [0.5, 0.5],
            "expert": (expert := draw(st.sampled_from(EXPERTS))), "chosen": expert, "cost_usd": 0.1,
            "embedder": Reader().weights[0].key, "embedding": [0.0, 1.0], "surface": [1.0],
            "recording": "features",
        }
        for name, role in zip(names, roles, strict=True)
    ]  # fmt: skip
    feedback = [
        {
            "feedback_id": f"f{i}", "request_id": draw(st.sampled_from([*names, "unknown"])),
            "level": draw(st.sampled_from(["request", "conversation"])), "kind": "score",
            "key_id": draw(st.sampled_from([None, "k"])), "source": draw(st.sampled_from(["api", "import"])),
            "score": draw(SCORES), "demonstration": draw(st.sampled_from([None, "x", "y"])),
            "created_at": draw(MINUTES),
        }
        for i in range(draw(st.integers(12, 24)))
    ]  # fmt: skip
    for row in feedback:
        row["conversation_hash"] = {r["request_id"]: r["conversation_hash"] for r in traffic}.get(
            row["request_id"]
        )
    keys = st.tuples(*map(st.sampled_from, (names, EXPERTS, ("1", "2"), GRADERS)))
    judgements = [
        {
            "question_id": f"q-{name}", "expert": expert, "expert_version": version, "grader": grader,
            "score": draw(GIVEN), "created_at": draw(MINUTES),
        }
        for name, expert, version, grader in sorted({draw(keys) for _ in range(12)})
    ]  # fmt: skip
    answers = [
        {
            "question_id": f"q-{name}", "expert": "a", "expert_version": "1", "score": draw(SCORES),
            "grader": draw(st.sampled_from([None, "exact@1"])), "created_at": draw(MINUTES),
        }
        for name in names
    ]  # fmt: skip
    questions = [
        {"question_id": f"q-{name}", "source": "traffic", "domain": "traffic", "prompt": "?", "answer": "",
         "kind": "judged", "parent_id": name}
        for name in names
    ]  # fmt: skip
    return {
        "traffic": traffic, "feedback": feedback, "questions": questions, "judgements": judgements,
        "answers": answers,
    }  # fmt: skip


def said_of(world: dict[str, Rows]) -> list[tuple[str, dict[str, Any]]]:
    """Each request with what is said of it, in the order in which that came."""
    served = {row["request_id"]: row for row in world["traffic"]}
    found = []
    for row in sorted(world["feedback"], key=lambda row: (row["created_at"], row["feedback_id"])):
        named = served.get(row["request_id"])
        for name, other in served.items() if named is not None else ():
            goes_before = (
                row["level"] == "conversation"
                and named["conversation_hash"] is not None
                and other["conversation_hash"] == named["conversation_hash"]
                and other["created_at"] <= named["created_at"]
            )
            if (other is named or goes_before) and other["role"] != "shadow":
                found.append((name, row))
    return found


def is_score(score: float | None) -> bool:
    return score is not None and not math.isnan(score)


def expected_feedback(world: dict[str, Rows]) -> dict[str, dict[tuple[str | None, str], float]]:
    last: dict[str, dict[tuple[str | None, str], float]] = defaultdict(dict)
    for name, row in said_of(world):
        if is_score(row["score"]):
            last[name][row["key_id"], row["source"]] = row["score"]
    return last


def expected_grades(world: dict[str, Rows]) -> dict[Cell, dict[str, tuple[datetime, float]]]:
    rated = expected_feedback(world)
    served = {row["request_id"]: row["expert"] for row in world["traffic"]}
    last: dict[Cell, dict[str, tuple[datetime, float]]] = defaultdict(dict)
    rows = [*world["judgements"], *world["answers"]]
    for row in sorted(rows, key=lambda row: (row["created_at"], row["expert_version"])):
        cell = (row["question_id"].removeprefix("q-"), row["expert"])
        hands_on = row["grader"] == "user@1" and served[cell[0]] == cell[1] and rated[cell[0]]
        if row["grader"] is not None and is_score(row["score"]) and not hands_on:
            last[cell][row["grader"]] = (row["created_at"], row["score"])
    return last


def last_of(graded: dict[str, tuple[datetime, float]], prefix: str = "") -> float:
    of = [(at, name, score) for name, (at, score) in graded.items() if name.startswith(prefix)]
    return max(of)[2] if of else math.nan


def write(folder: Any, world: dict[str, Rows]) -> Warehouse:
    store = Warehouse(folder)
    for table, rows in world.items():
        if rows:
            schema = pa.schema([table_schema(table).field(name) for name in rows[0]])
            expert = "a" if table == "answers" else None
            store.append(table, pa.Table.from_pylist(rows, schema), round="serve-2030-01-01", expert=expert)
    return store


@settings(max_examples=12, deadline=None)
@given(world=worlds())
def test_all_readers_see_the_same_labels(
    tmp_path_factory: pytest.TempPathFactory, world: dict[str, Rows]
) -> None:
    store = write(tmp_path_factory.mktemp("warehouse"), world)
    people, graded = expected_feedback(world), expected_grades(world)
    order = sorted(
        (row for row in world["traffic"] if row["role"] != "shadow"),
        key=lambda row: (row["created_at"], row["request_id"]),
    )
    means = {
        row["request_id"]: float(np.mean(list(people[row["request_id"]].values())))
        if people[row["request_id"]]
        else math.nan
        for row in order
    }

    requests = read_requests(store)
    assert requests.column("request_id") == [row["request_id"] for row in order]
    np.testing.assert_allclose(requests.feedback, list(means.values()))
    judged = [last_of(graded[row["request_id"], row["expert"]], "judge:") for row in order]
    np.testing.assert_allclose(requests.judged, judged)
    words = {name: row["demonstration"] for name, row in said_of(world) if row["demonstration"] is not None}
    assert requests.demonstrations == tuple(words.get(row["request_id"]) for row in order)

    routed = [row for row in order if row["role"] == "champion"]
    by_people = read_traffic(store, ratings="feedback").reward
    np.testing.assert_allclose(by_people, [means[row["request_id"]] for row in routed])
    by_graders = read_traffic(store, ratings="judge").reward
    np.testing.assert_allclose(
        by_graders, [last_of(graded[row["request_id"], row["expert"]]) for row in routed]
    )

    labels = read_labels(store, EXPERTS, Reader())
    found: dict[Cell, list[Label]] = defaultdict(list)
    for row, expert, who, score in zip(labels.row, labels.expert, labels.labeller, labels.label, strict=True):
        name = order[int(labels.served_at[row])]["request_id"]
        found[name, EXPERTS[expert]].append((labels.labellers[who], float(score)))
    wanted: dict[Cell, list[Label]] = defaultdict(list)
    for row in order:
        name = row["request_id"]
        for (_, source), score in people[name].items():
            wanted[name, row["expert"]].append((f"feedback:{source}", score))
        for expert in EXPERTS:
            for grader, (_, score) in graded[name, expert].items():
                if grader != "pairs-served@1":
                    is_exact = grader in ("choice@1", "exact@1")
                    wanted[name, expert].append(("gold" if is_exact else grader, score))
    assert {cell: sorted(own) for cell, own in found.items()} == {
        cell: sorted(own) for cell, own in wanted.items()
    }

    decided = store.connect().sql("select request_id, feedback_score from decisions").fetchall()
    for name, told in decided:
        rated = math.nan if told is None else told
        assert rated == pytest.approx(means.get(name, math.nan), nan_ok=True)
