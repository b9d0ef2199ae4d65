"""Outcomes are what the view of that name holds, whatever lies in one file and whatever is asked for."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse import ANSWERS, JUDGEMENTS, QUESTIONS, NotReadyError, Warehouse, load_outcomes
from warehouse.views import find_newest

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SOURCES, ROUNDS, EXPERTS = ["s0", "s1"], ["r0", "it's"], ["a", "b", "c"]

questions = st.lists(st.tuples(st.sampled_from(SOURCES), st.booleans()), min_size=1, max_size=6)
answers = st.lists(
    st.tuples(
        st.integers(0, 7),  # question, which may be missing
        st.sampled_from(EXPERTS),
        st.sampled_from(["v1", "v2"]),
        st.sampled_from(ROUNDS),
        st.sampled_from([None, 0.0, 0.5, 1.0]),
    ),
    unique_by=lambda row: row[:3],
    max_size=25,
)
chosen = st.one_of(st.none(), st.lists(st.sampled_from(SOURCES), min_size=1, unique=True))
chosen_rounds = st.one_of(st.none(), st.lists(st.sampled_from(ROUNDS), min_size=1, unique=True))


def fill(store: Warehouse, asked: list, rows: list, *, by_expert: bool, judged: list[int]) -> None:
    table = [
        {"question_id": f"q{number}", "source": source, "domain": "d", "prompt": f"p{number}", "answer": "x"}
        | {"kind": "exact", "sources": SOURCES if both else None}
        for number, (source, both) in enumerate(asked)
    ]
    for half in (table[::2], table[1::2]):
        store.append("questions", pa.Table.from_pylist(half, QUESTIONS), round="r0")
    made = [
        {"question_id": f"q{question}", "expert": expert, "expert_version": version, "round": round}
        | {"score": score, "cost_usd": number / 8, "created_at": BEGIN + timedelta(seconds=number)}
        for number, (question, expert, version, round, score) in enumerate(rows)
    ]
    for expert in EXPERTS if by_expert else [None]:
        own = [row for row in made if expert in (None, row["expert"])]
        store.append("answers", pa.Table.from_pylist(own, ANSWERS), round="r0", expert=expert)
    opinions = [
        {key: made[number][key] for key in ("question_id", "expert", "expert_version")}
        | {"grader": "g", "score": 0.25}
        for number in judged
        if number < len(made)
    ]
    store.append("judgements", pa.Table.from_pylist(opinions, JUDGEMENTS), round="r0")


@settings(max_examples=15, deadline=None)
@given(questions, answers, chosen, chosen_rounds, st.booleans(), st.lists(st.integers(0, 9), unique=True))
def test_outcomes_are_those_of_the_view(
    asked: list, rows: list, sources: list | None, rounds: list | None, by_expert: bool, judged: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Warehouse(folder)
        fill(store, asked, rows, by_expert=by_expert, judged=judged)
        connection = store.connect()
        newest = connection.sql("from newest_versions order by 1").to_arrow_table()
        assert find_newest(store.dataset("answers")).sort_by("expert").to_pylist() == newest.to_pylist()
        view = connection.sql("from outcomes").to_arrow_table().to_pylist()
        kept = [
            row
            for row in view
            if (not sources or set(sources) & set(row["sources"])) and (not rounds or row["round"] in rounds)
        ]
        if not kept:
            with pytest.raises(NotReadyError):
                load_outcomes(store, sources=sources, rounds=rounds)
            return
        found = load_outcomes(store, sources=sources, rounds=rounds)
        assert found.question_ids.tolist() == sorted({row["question_id"] for row in kept})
        assert found.experts == tuple(sorted({row["expert"] for row in kept}))
        score = np.full(found.score.shape, np.nan, np.float32)
        cost = np.full(found.score.shape, np.nan)
        for row in kept:
            cell = found.question_ids.tolist().index(row["question_id"]), found.experts.index(row["expert"])
            score[cell] = np.nan if row["score"] is None else row["score"]
            cost[cell] = row["cost_usd"]
        np.testing.assert_array_equal(found.score, score)
        np.testing.assert_array_equal(found.cost_usd, cost)
        last = found.experts[-1]
        only = load_outcomes(store, sources=sources, rounds=rounds, experts=[last, last[0] + "*"])
        assert only.experts == (last,)
        assert only.question_ids.tolist() == sorted({r["question_id"] for r in kept if r["expert"] == last})


def test_files_of_other_questions_are_not_read(tmp_path: Path) -> None:
    """Of ten files of questions two hold those of the round."""
    store = Warehouse(tmp_path)
    for number in range(10):
        row = {"question_id": f"q{number}", "source": "s", "domain": "d", "prompt": "p", "answer": "x"}
        store.append(
            "questions", pa.Table.from_pylist([row | {"kind": "exact"}], QUESTIONS), round=f"r{number}"
        )
        answer = {"question_id": f"q{number}", "expert": "a", "expert_version": "v1", "created_at": BEGIN}
        store.append("answers", pa.Table.from_pylist([answer], ANSWERS), round=f"r{number}", expert="a")
    keys = pa.table({"question_id": ["q3", "q7", "q99"]})
    assert [entry.round for entry in store.files_with("questions", keys)] == ["r3", "r7"]
    assert load_outcomes(store, rounds=["r3", "r7"]).question_ids.tolist() == ["q3", "q7"]
