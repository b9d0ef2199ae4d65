"""Questions stand once, under what the last import called them, and are found under what earlier ones did."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse import Warehouse, load_outcomes
from warehouse.files import FileStore
from warehouse.filing import Filing
from warehouse.keeping.integrity import inspect_tables, mend

MADE = "r000"  # a round that made questions of its own


def questions(numbers: Sequence[int], source: str, prompt: str = "What is {0} + {0}?") -> pa.Table:
    names = [f"q{number:02}" for number in numbers]
    return pa.table(
        {"question_id": names, "source": [source] * len(names), "domain": ["sums"] * len(names),
         "prompt": [prompt.format(number) for number in numbers], "kind": ["exact"] * len(names),
         "answer": [str(2 * number) for number in numbers]}
    )  # fmt: skip


def answers(numbers: Sequence[int]) -> pa.Table:
    n = len(numbers)
    return pa.table(
        {"question_id": [f"q{number:02}" for number in numbers], "expert": ["e"] * n,
         "expert_version": ["1"] * n, "score": pa.array([1.0] * n, pa.float32()), "cost_usd": [0.1] * n}
    )  # fmt: skip


def under(store: Warehouse, source: str) -> list[str]:
    rows = store.connect().execute("select question_id from questions where source = ? order by 1", [source])
    return [row[0] for row in rows.fetchall()]


BATCH = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.sampled_from(["file", "file", "file", "make", "compact"]),
    st.booleans(),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(BATCH, max_size=8))
def test_any_sequence_of_imports_files_each_question_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[str, list[int], str, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("w")
    store = Warehouse(folder)
    store.append("answers", answers(range(10)), round="x", expert="e")
    source_of: dict[str, str] = {}
    round_of: dict[str, str] = {}
    ever: dict[str, set[str]] = {}
    for step, (source, numbers, kind, reopened) in enumerate(batches):
        store = Warehouse(folder) if reopened else store
        rows = questions(
            numbers, source, "Asked in other words, {0} + {0}?" if step else "What is {0} + {0}?"
        )
        names = list(dict.fromkeys(rows["question_id"].to_pylist()))
        before = {row["question_id"]: row for row in store.scan("questions").to_pylist()}
        if kind == "compact":
            store.compact("questions")
            continue
        if kind == "make":
            fresh = [name for name in names if name not in source_of]
            assert store.append("questions", rows, round=MADE) == len(fresh)
            changes = dict.fromkeys(fresh, (source, MADE))
        else:
            filing = store.file_questions(rows, round=f"import-{source}", keep_rounds=[MADE])
            fresh = [name for name in names if name not in source_of]
            assert (filing.added, filing.known) == (len(fresh), len(names) - len(fresh))
            changes = {
                name: (source, MADE if round_of.get(name) == MADE else f"import-{source}") for name in names
            }
        moved = [name for name, new in changes.items() if (source_of.get(name), round_of.get(name)) != new]
        if kind == "file":
            assert sum(filing.moved.values()) == len(set(moved) - set(fresh))
        for name, (now, round_name) in changes.items():
            source_of[name], round_of[name] = now, round_name
            ever.setdefault(now, set()).add(name)
        for reader in (store, Warehouse(folder)):
            rows_now = {row["question_id"]: row for row in reader.scan("questions").to_pylist()}
            assert reader.scan("questions").num_rows == len(rows_now) == len(source_of)
            assert {name: (row["source"], row["round"]) for name, row in rows_now.items()} == {
                name: (source_of[name], round_of[name]) for name in source_of
            }
        for name, row in before.items():  # what a question is never changes
            kept = ("prompt", "answer", "kind", "domain", "created_at")
            assert [row[column] for column in kept] == [rows_now[name][column] for column in kept]
        if kind == "file":
            assert set(under(store, source)) == {name for name, now in source_of.items() if now == source}
            assert set(names) <= set(under(store, source))
    for source, names_of in ever.items():  # a filter finds all that was ever brought under its source, once
        outcomes = load_outcomes(store, sources=[source])
        assert sorted(outcomes.question_ids) == sorted(names_of)
        assert (outcomes.score == 1.0).all()
    if ever:
        assert len(load_outcomes(store, sources=sorted(ever))) == len(source_of)
        joined = store.connect().execute("select count(*) from outcomes").fetchone()
        assert joined == (len(source_of),)
    assert not [finding for seen in inspect_tables(Warehouse(folder)) for finding in seen.findings]


def test_the_same_import_twice_writes_nothing(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    assert store.file_questions(questions([1, 2], "a"), round="x") == Filing(2, 0, {})
    assert store.file_questions(questions([2, 3], "b"), round="x") == Filing(1, 1, {"a": 1})
    before = sorted(path for path in tmp_path.rglob("*.json"))
    assert store.file_questions(questions([2, 3], "b"), round="x") == Filing(0, 2, {})
    assert sorted(path for path in tmp_path.rglob("*.json")) == before


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 4), st.booleans())
def test_an_import_that_is_cut_short_is_there_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], at: int, after: bool
) -> None:
    """Any of its writes and removals may be its last; the same import again mends it."""
    folder = tmp_path_factory.mktemp("w")
    store = Warehouse(folder)
    for half in (range(0, 3), range(3, 6)):
        store.file_questions(questions(half, "a"), round="x")
    done = 0

    def cut(method):  # type: ignore[no-untyped-def]
        def step(self: FileStore, name: str, *data: bytes) -> None:
            nonlocal done
            done += 1
            if done == at and not after:
                raise OSError("cut short")
            method(self, name, *data)
            if done == at:
                raise OSError("cut short")

        return step

    wanted = questions(numbers, "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileStore, "write", cut(FileStore.write))
        patch.setattr(FileStore, "delete", cut(FileStore.delete))
        with contextlib.suppress(OSError):
            store.file_questions(wanted, round="y")
    for reader in (store, Warehouse(folder)):
        rows = reader.scan("questions").to_pylist()
        names = [row["question_id"] for row in rows]
        assert len(set(names)) == len(names)
        moved = {row["question_id"] for row in rows if row["source"] == "b"}
        assert moved in (set(), set(wanted["question_id"].to_pylist()))
        assert set(names) >= {f"q{number:02}" for number in range(6)}
    for finding in [finding for seen in inspect_tables(Warehouse(folder)) for finding in seen.findings]:
        mend(Warehouse(folder), finding)
    Warehouse(folder).file_questions(wanted, round="y")
    rows = Warehouse(folder).scan("questions").to_pylist()
    assert {row["question_id"] for row in rows if row["source"] == "b"} == set(
        wanted["question_id"].to_pylist()
    )
    assert len(rows) == len({*range(6), *numbers})


def _file_all(arguments: tuple[str, str]) -> int:
    url, source = arguments
    return sum(
        Warehouse(url).file_questions(questions(range(start, start + 20), source), round=source).added
        for start in range(0, 40, 10)
    )


def test_imports_of_several_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    Warehouse(tmp_path).append("questions", questions(range(5), "first"), round="first")
    seen: list[int] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            rows = Warehouse(tmp_path).scan("questions")["question_id"].to_pylist()
            assert len(set(rows)) == len(rows)
            seen.append(len(rows))

    failures: list[BaseException] = []

    def watch() -> None:
        try:
            read()
        except BaseException as error:
            failures.append(error)

    # fork: a spawned child could not import this module by pytest's importlib mode
    with multiprocessing.get_context("fork").Pool(3) as pool:
        reader = threading.Thread(target=watch)
        reader.start()
        added = pool.map_async(_file_all, [(str(tmp_path), name) for name in "abc"]).get(timeout=120)
        over.set()
        reader.join()
    assert not failures
    assert seen == sorted(seen)  # a question that was there once is always there
    assert sum(added) == 45
    rows = Warehouse(tmp_path).scan("questions").to_pylist()
    assert len(rows) == len({row["question_id"] for row in rows}) == 50
    assert {source for row in rows for source in row["sources"] or [row["source"]]} == {"first", *"abc"}


def test_rows_that_name_no_round_are_of_the_round_they_are_written_in(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    store.append("answers", answers([1, 2]), round="r7", expert="e")
    named = answers([3]).append_column("round", pa.array(["r6"]))
    store.append("answers", named, round="r7", expert="e")
    store.append("questions", questions([1, 2, 3], "a"), round="r7")
    assert sorted(load_outcomes(store, rounds=["r7"]).question_ids) == ["q01", "q02"]
    assert sorted(load_outcomes(store, rounds=["r6"]).question_ids) == ["q03"]


def test_a_reader_that_comes_while_files_are_replaced_sees_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing of the entries and the reading of one, another process replaces that one."""
    Warehouse(tmp_path).append("questions", questions([1, 2], "a"), round="x")
    real, done = FileStore.read, []

    def read(self: FileStore, name: str) -> bytes:
        if not done and "_manifest" in name:
            done.append(name)
            Warehouse(tmp_path).file_questions(questions([2, 3], "b"), round="y")
        return real(self, name)

    monkeypatch.setattr(FileStore, "read", read)
    reader = Warehouse(tmp_path)
    for expected in (["q01", "q02"], ["q01", "q02", "q03"]):  # as it was, whole, and as it is
        assert sorted(reader.scan("questions")["question_id"].to_pylist()) == expected
    assert done
