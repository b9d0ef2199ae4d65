"""`leeroo traffic import`: what is wrong is named with its line, the rest is kept, and once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.traffic.labels_file import MOST_NAMED, import_labels, name_refused
from warehouse import InputError, Warehouse


def served(folder: Path, count: int = 6) -> Warehouse:
    store = Warehouse(folder / "warehouse")
    rows = [
        {
            "request_id": f"r{i}", "role": "champion", "expert": "a", "key_id": "k",
            "created_at": datetime.now(UTC),
            "recording": "texts" if i % 2 == 0 else "features",
        }
        for i in range(count)
    ]  # fmt: skip
    store.append("traffic", pa.Table.from_pylist(rows), round="serve-2026-01-01")
    return store


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_bad_lines_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    store = served(tmp_path)
    file = write(tmp_path / "labels.jsonl", [
        {"request_id": "r0", "score": 0.25, "comment": "so so"},
        {"request_id": "r0", "score": 0.5},
        {"request_id": "nobody", "score": 0.5},
        "",
        {"request_id": "r1", "score": 1.5},
        {"request_id": "r1", "score": True},
        "{",
        "[1]",
        {"request_id": "r1", "thumb": "sideways"},
        {"request_id": "r1", "thumb": "up", "score": 1},
        {"request_id": "r1"},
        {"request_id": "r1", "stars": 5},
        {"score": 1},
        {"request_id": "r2", "thumb": "down"},
        {"request_id": "r1", "demonstration": "it is 4"},
        {"request_id": "r4", "demonstration": "it is 4"},
    ])  # fmt: skip
    found = import_labels(file, store)
    assert (found.lines, found.written, found.known, found.texts_dropped) == (15, 3, 0, 1)
    lines = [one.line for one in found.refused]
    assert lines == [2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    told = name_refused(file, found.refused)
    assert told[0] == f"{file}, line 2: request 'r0' stands in line 1 already"
    assert told[1].endswith("line 3: no request 'nobody' is recorded")
    assert told[2].endswith("line 5: score 1.5 is not in 0..1")
    rows = {row["request_id"]: row for row in store.scan("feedback").to_pylist()}
    assert rows["r0"]["score"] == 0.25
    assert rows["r0"]["comment"] == "so so"
    assert rows["r2"]["kind"] == "thumb"
    assert rows["r2"]["score"] == 0.0
    assert rows["r4"]["demonstration"] == "it is 4"
    assert {row["source"] for row in rows.values()} == {"import"}
    again = import_labels(file, store)
    assert (again.written, again.known) == (0, 3)
    assert store.scan("feedback").num_rows == 3


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    store = served(tmp_path)
    bad = [{"request_id": f"x{i}", "score": 1} for i in range(MOST_NAMED + 5)]
    file = write(tmp_path / "labels.jsonl", [{"request_id": "r0", "score": 1}, *bad])
    told = name_refused(file, import_labels(file, store).refused)
    assert len(told) == MOST_NAMED + 1
    assert told[-1].startswith("5 more: no request")


def test_a_file_of_nothing_but_faults_is_refused_whole(tmp_path: Path) -> None:
    store = served(tmp_path)
    with pytest.raises(InputError, match="line 2"):
        import_labels(write(tmp_path / "labels.jsonl", ["", {"request_id": "nobody", "score": 1}]), store)
    with pytest.raises(InputError, match="cannot be read"):
        import_labels(tmp_path / "none.jsonl", store)
    assert store.scan("feedback").num_rows == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.one_of(st.floats(), st.integers(), st.text(max_size=3), st.none()))
    )
)
@settings(max_examples=25, deadline=None)
def test_whatever_stands_in_a_score_every_row_kept_is_a_score(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    store = served(folder)
    file = write(folder / "labels.jsonl", [{"request_id": f"r{i}", "score": score} for i, score in lines])
    try:
        found = import_labels(file, store)
    except InputError:
        assert store.scan("feedback").num_rows == 0
        return
    rows = store.scan("feedback").to_pylist()
    assert len(rows) == found.written == len({row["request_id"] for row in rows})
    assert found.written + len(found.refused) == found.lines == len(lines)
    assert all(0 <= row["score"] <= 1 for row in rows)
