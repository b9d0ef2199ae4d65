"""Tables that a version before numbered commits wrote are read, and grow on, as they are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import warehouse.manifest
from warehouse import Warehouse


def rows_of(first: int, count: int) -> pa.Table:
    ids = [f"q{number:03}" for number in range(first, first + count)]
    return pa.table({"question_id": ids, "expert": ["x"] * count, "expert_version": ["v1"] * count})


def make_older(folder: Path, replaced: dict[str, list[str]]) -> None:
    """Put the manifest into the former layout: a flat entry for each file, named like the file."""
    store = Warehouse(folder)
    entries = store.files("answers")
    manifest = folder / "answers" / "_manifest"
    for path in manifest.glob("*.json"):
        path.unlink()
    for entry in entries:
        body = {name: value for name, value in asdict(entry).items() if name != "size_bytes"}
        body |= {"replaces": replaced[entry.name]} if entry.name in replaced else {}
        (manifest / f"{entry.name}.json").write_text(json.dumps(body))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.booleans(), st.integers(1, 8))
def test_an_older_table_grows_on(tmp_path_factory, sizes: list[int], is_merged: bool, whole: int) -> None:
    folder = tmp_path_factory.mktemp("home")
    store, count = Warehouse(folder), 0
    for size in sizes:
        store.append("answers", rows_of(count, size), round="r0", expert="x")
        count += size
    former = [entry.name for entry in store.files("answers")]
    if is_merged:
        store.compact("answers")
    (newest, *_) = store.files("answers")
    make_older(folder, {newest.name: former} if is_merged and len(former) > 1 else {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warehouse.manifest, "WHOLE_AFTER", whole)
        for reader in (Warehouse(folder), Warehouse(folder)):
            assert reader.append("answers", rows_of(0, count), round="r1", expert="x") == 0
        store = Warehouse(folder)
        assert store.append("answers", rows_of(count - 1, 3), round="r1", expert="x") == 2
        store.compact("answers")
        ids = Warehouse(folder).scan("answers")["question_id"].to_pylist()
    assert sorted(ids) == rows_of(0, count + 2)["question_id"].to_pylist()
    assert store.uncounted("answers", writing_s=0.0) == []
