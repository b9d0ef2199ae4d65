"""Rows are taken out for good: nothing of them on the disk, nothing else lost, whenever it is cut short."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.warehouse.killed_steps import killed_at
from warehouse import Warehouse
from warehouse.keeping.integrity import inspect_tables

N_ROWS = 8


def rows_of(numbers: list[int]) -> pa.Table:
    return pa.table(
        {
            "question_id": [f"q{n}" for n in numbers],
            "expert": ["x"] * len(numbers),
            "expert_version": ["v1"] * len(numbers),
            "text": [f"unusualword{n:03} said here" for n in numbers],
        }
    )


def take_out(store: Warehouse, gone: set[int]) -> int:
    ids = pa.array([f"q{n}" for n in gone], pa.string())
    return store.take_out(
        "answers", lambda rows: pc.is_in(rows["question_id"], value_set=ids), by=["question_id"]
    )


def found_on_disk(folder: Path) -> set[int]:
    """Which rows' words stand in any file: Parquet is compressed, so files are read as what they are too."""
    found: set[int] = set()
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        text = path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            text += str(pa.parquet.read_table(path).to_pylist())
        found |= {n for n in range(N_ROWS) if f"unusualword{n:03}" in text}
    return found


@st.composite
def batches(draw: st.DrawFn) -> list[list[int]]:
    order = draw(st.permutations(range(N_ROWS)))
    cuts = sorted(draw(st.sets(st.integers(1, N_ROWS - 1), max_size=4)))
    return [order[a:b] for a, b in zip([0, *cuts], [*cuts, N_ROWS], strict=True)]


@settings(max_examples=30, deadline=None)
@given(batches(), st.sets(st.integers(0, N_ROWS - 1)), st.integers(0, 14), st.booleans(), st.booleans())
def test_killed_at_any_step_it_loses_nothing_else_and_does_the_rest_when_done_again(
    written: list[list[int]], gone: set[int], step: int, is_before: bool, is_compacted: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, place = Warehouse(folder), Path(folder)
        for batch in written:
            store.append("answers", rows_of(batch), round="r0", expert="x")
        if is_compacted:  # what it replaced lies there still, with all the rows
            store.compact("answers")
        with killed_at(step, is_before=is_before):
            take_out(store, gone)

        ids = Warehouse(folder).scan("answers")["question_id"].to_pylist()
        kept = {f"q{n}" for n in range(N_ROWS)} - {f"q{n}" for n in gone}
        assert len(ids) == len(set(ids)), "a row is there twice"
        assert kept <= set(ids), "a row that stays is lost"

        for reader in (store, Warehouse(folder)):
            take_out(reader, gone)
            assert set(reader.scan("answers")["question_id"].to_pylist()) == kept
        assert found_on_disk(place) == set(range(N_ROWS)) - gone
        assert not any(seen.findings for seen in inspect_tables(Warehouse(folder)))


@settings(max_examples=10, deadline=None)
@given(batches(), st.sets(st.integers(0, N_ROWS - 1), min_size=1))
def test_what_was_taken_out_may_come_again(written: list[list[int]], gone: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, beside = Warehouse(folder), Warehouse(folder)
        for batch in written:
            store.append("answers", rows_of(batch), round="r0", expert="x")
        assert beside.answered("x", "v1") == {f"q{n}" for n in range(N_ROWS)}
        assert not pc.any(beside.missing("answers", rows_of([0, 1]))).as_py()
        for _ in range(2):
            take_out(store, gone)
            for reader in (beside, store):
                missing = reader.missing("answers", rows_of(sorted(gone)))
                assert pc.all(missing).as_py()
            for batch in written:  # the same batches, so the same names as before
                beside.append("answers", rows_of(batch), round="r0", expert="x")
            assert sorted(store.scan("answers")["question_id"].to_pylist()) == [
                f"q{n}" for n in range(N_ROWS)
            ]
            assert beside.append("answers", rows_of(list(range(N_ROWS))), round="r0", expert="x") == 0


def test_texts_are_taken_out_of_rows_that_stay(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    store.append("answers", rows_of([0, 1]), round="r0", expert="x")
    store.append("answers", rows_of([2]), round="r1", expert="x")

    for found in (2, 0):
        found_now = store.take_out(
            "answers",
            lambda rows: pc.not_equal(rows["question_id"], "q1"),
            by=["question_id"],
            words=["text"],
        )
        assert found_now == found
    rows = {row["question_id"]: row["text"] for row in store.scan("answers").to_pylist()}
    assert rows == {"q0": None, "q1": "unusualword001 said here", "q2": None}
    assert found_on_disk(tmp_path) == {1}


def test_a_file_of_a_writer_that_was_killed_is_searched_too(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    store.append("answers", rows_of([0, 1, 2]), round="r0", expert="x")
    for entry in (tmp_path / "answers" / "_manifest").glob("*.json"):
        entry.unlink()
    torn = tmp_path / "answers" / "round=r0" / "expert=x" / "torn.parquet"
    torn.write_bytes(b"PAR1 unusualword003 and then the power went")
    take_out(store, {1})
    assert found_on_disk(tmp_path) == {0, 2}


def test_what_others_may_still_read_stays_where_nothing_of_it_is_meant(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    for n in range(4):
        store.append("answers", rows_of([n]), round=f"r{n // 2}", expert="x")
    store.compact("answers")
    folders = [tmp_path / "answers" / f"round=r{n}" / "expert=x" for n in (0, 1)]
    assert take_out(store, {7}) == 0
    assert [len(list(folder.glob("*.parquet"))) for folder in folders] == [3, 3]
    assert take_out(store, {3}) == 1
    assert [len(list(folder.glob("*.parquet"))) for folder in folders] == [3, 2]  # row 2, merged and alone
    assert found_on_disk(tmp_path) == {0, 1, 2}


def test_a_reader_that_had_begun_reads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, reader = Warehouse(tmp_path), Warehouse(tmp_path)
    store.append("answers", rows_of([0, 1]), round="r0", expert="x")
    real = Warehouse.files
    looks = iter([True])

    def files(self: Warehouse, table_name: str) -> object:
        entries = real(self, table_name)
        if self is reader and next(looks, False):  # between its look at the entries and its reading
            take_out(store, {0})
        return entries

    monkeypatch.setattr(Warehouse, "files", files)
    assert reader.scan("answers")["question_id"].to_pylist() == ["q1"]
