"""The traffic and what people say of it: rows come back as they went in; ``decisions`` is over both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse import DECISIONS, FEEDBACK, TRAFFIC, InputError, Warehouse

NAMES = st.text("abc/-", min_size=1, max_size=8)
MAYBE_S = st.none() | st.floats(0, 1e6, width=32)


@st.composite
def traffic_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 8))
    rows = []
    for number in range(count):
        experts = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
        weights = [draw(st.floats(0.01, 1)) for _ in experts]
        role = draw(st.sampled_from(["champion", "challenger", "named", "shadow"]))
        rows.append(
            {
                "request_id": f"req-{number}",
                "round": "serve-2030-01-01",
                "role": role,
                "router_version": None if role == "named" else draw(NAMES),
                "experts": experts,
                "propensities": [weight / sum(weights) for weight in weights],
                "chosen": experts[0],
                "expert": draw(st.sampled_from(experts)),
                "first_token_s": draw(MAYBE_S),
                "embedding": draw(st.lists(st.floats(-1, 1, width=32), max_size=4)),
                "recording": draw(st.sampled_from(["features", "texts"])),
            }
        )
    return rows


@settings(max_examples=10, deadline=None)
@given(rows=traffic_rows())
def test_what_is_recorded_is_read_again_and_never_twice(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    store = Warehouse(tmp_path_factory.mktemp("warehouse"))
    schema = pa.schema([TRAFFIC.field(name) for name in rows[0]])
    table = pa.Table.from_pylist(rows, schema)
    assert store.append("traffic", table, round="serve-2030-01-01") == len(rows)
    assert Warehouse(store.url).append("traffic", table, round="serve-2030-01-01") == 0
    assert store.scan("traffic", list(rows[0])).sort_by("request_id").to_pylist() == rows
    decided = store.connect().sql("select request_id from decisions order by 1").fetchall()
    assert [name for (name,) in decided] == [row["request_id"] for row in rows if row["role"] != "named"]


def test_decisions_are_those_of_older_homes_and_those_of_the_traffic(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    old = {"request_id": "old", "router_version": "1", "expert": "a", "feedback_score": 0.25}
    store.append("decisions", pa.Table.from_pylist([old]).cast(_part(DECISIONS, old)), round="serve-1")
    new = {
        "request_id": "new",
        "router_version": "2",
        "role": "champion",
        "experts": ["a", "b"],
        "chosen": "b",
        "expert": "b",
        "recording": "features",
    }
    named = {**new, "request_id": "named", "router_version": None, "role": "named"}
    store.append("traffic", pa.Table.from_pylist([new, named], _part(TRAFFIC, new)), round="serve-2")
    said = {"feedback_id": "f1", "request_id": "new", "level": "request", "kind": "thumb", "source": "api"}
    store.append("feedback", pa.Table.from_pylist([said | {"score": 1.0}]), round="serve-2")
    words = said | {"feedback_id": "f2", "kind": "comment"}
    store.append("feedback", pa.Table.from_pylist([words]), round="serve-2")
    query = (
        "select request_id, expert, fallbacks, feedback_score, round from decisions order by request_id desc"
    )
    assert store.connect().sql(query).fetchall() == [
        ("old", "a", None, 0.25, "serve-1"),
        ("new", "b", ["a"], 1.0, "serve-2"),
    ]


def _part(schema: pa.Schema, row: dict[str, Any]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in row])


@pytest.mark.parametrize("missing", [field.name for field in FEEDBACK if not field.nullable])
def test_feedback_without_what_it_needs_is_refused(tmp_path: Path, missing: str) -> None:
    row = {"feedback_id": "f", "request_id": "r", "level": "request", "kind": "score", "source": "api"}
    with pytest.raises(InputError, match=missing):
        Warehouse(tmp_path).append("feedback", pa.Table.from_pylist([row | {missing: None}]), round="r")
