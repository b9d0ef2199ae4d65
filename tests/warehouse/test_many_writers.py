"""Appends, merges, removals, kills and other writers in between, in any order: each key once, as in a set."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import warehouse.keys
import warehouse.manifest
import warehouse.table
from tests.warehouse.killed_steps import killed_at
from warehouse import Warehouse
from warehouse.files import FileStore
from warehouse.keeping.integrity import inspect_tables

N_KEYS = 12
_names = itertools.count()

Keys = frozenset[int]
Act = tuple[str, Keys]
keys = st.frozensets(st.integers(0, N_KEYS - 1), min_size=1, max_size=6)
acts = st.one_of(
    st.tuples(st.just("append"), keys),
    st.tuples(st.just("append"), keys),
    st.tuples(st.just("take_out"), keys),
    st.tuples(st.just("compact"), st.just(frozenset())),
)


@pytest.fixture(autouse=True, scope="module")
def everything_happens_soon() -> Iterator[None]:
    """Merges, whole commits and digests on the disk come at once, not after thousands of rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warehouse.table, "PILE_FILES", 3)
        patch.setattr(warehouse.manifest, "WHOLE_AFTER", 4)
        patch.setattr(warehouse.keys, "SMALL_ROWS", 3)
        patch.setattr(warehouse.manifest, "KEEP_COMMITS_S", 0.0)
        yield


def rows_of(numbers: Keys) -> pa.Table:
    ids = [f"q{number:02}" for number in sorted(numbers)]
    return pa.table({"question_id": ids, "expert": ["x"] * len(ids), "expert_version": ["v1"] * len(ids)})


def do(store: Warehouse, act: Act, model: set[int]) -> None:
    """Do it, to the table and to the model."""
    kind, numbers = act
    if kind == "append":
        assert store.append("answers", rows_of(numbers), round="r0", expert="x") == len(numbers - model)
        model |= numbers
    elif kind == "take_out":
        assert take_out(store, numbers) == len(numbers & model)
        model -= numbers
    else:
        store.compact("answers")


def take_out(store: Warehouse, numbers: Keys) -> int:
    ids = pa.array([f"q{number:02}" for number in numbers])
    return store.take_out("answers", lambda rows: pc.is_in(rows["question_id"], ids), by=["question_id"])


def read(store: Warehouse) -> list[int]:
    return sorted(int(name[1:]) for name in store.scan("answers")["question_id"].to_pylist())


def see_that_it_is(url: str, model: set[int], *readers: Warehouse) -> None:
    for reader in (*readers, Warehouse(url)):
        assert read(reader) == sorted(model)
        known = ~reader.missing("answers", rows_of(frozenset(range(N_KEYS)))).to_numpy().astype(bool)
        assert set(known.nonzero()[0].tolist()) == model


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), acts), max_size=14))
def test_two_writers_in_turn_are_as_one_set(steps: list[tuple[int, Act]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writers, model = [Warehouse(folder), Warehouse(folder)], set[int]()
        for who, act in steps:
            do(writers[who], act, model)
            assert read(writers[1 - who]) == sorted(model)
        see_that_it_is(folder, model, *writers)
        assert not any(seen.findings for seen in inspect_tables(Warehouse(folder)))


@settings(max_examples=25, deadline=None)
@given(st.lists(acts, max_size=8), acts, st.integers(0, 12), st.booleans(), st.lists(acts, max_size=3))
def test_killed_anywhere_the_rows_of_a_batch_are_all_there_or_none(
    before: list[Act], killed: Act, step: int, is_before: bool, after: list[Act]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = set[int]()
        for act in before:
            do(Warehouse(folder), act, model)
        with killed_at(step, is_before=is_before):
            do(Warehouse(folder), killed, set(model))
        there = set(read(Warehouse(folder)))
        kind, numbers = killed
        if kind == "take_out":  # each file is a commit of its own
            assert model - numbers <= there <= model
        else:
            assert there in (model, model | numbers)
        if kind != "take_out":
            model = there
        else:
            take_out(Warehouse(folder), numbers)  # done again it does the rest
            model -= numbers
        for act in after:
            do(Warehouse(folder), act, model)
        see_that_it_is(folder, model)


@contextlib.contextmanager
def between_look_and_commit(act: Callable[[], None]) -> Iterator[None]:
    """Let something happen once, just before the next commit; after it all where there is none."""
    real, due = FileStore.create, [act]

    def create(self: FileStore, name: str, data: bytes) -> bool:
        if due:
            due.pop()()
        return real(self, name, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileStore, "create", create)
        yield
    if due:
        act()


@settings(max_examples=25, deadline=None)
@given(st.lists(acts, max_size=6), st.lists(st.tuples(acts, acts), min_size=1, max_size=3))
def test_without_a_lock_the_second_of_two_writers_looks_again(
    before: list[Act], races: list[tuple[Act, Act]]
) -> None:
    """A store without a lock, where the other writer commits between one's look and its commit."""
    url = f"memory://writers-{next(_names)}"
    try:
        first, second, model = Warehouse(url), Warehouse(url), set[int]()
        for act in before:
            do(first, act, model)
        for one, other in races:
            with between_look_and_commit(lambda act=other: do_beside(second, act)):
                do_beside(first, one)
            model = model_after(model, one, other)
            # What was taken out by one while the other brought it may stand or not; nothing is there twice.
            there = read(Warehouse(url))
            unsure = {key for kind, some in (one, other) if kind == "take_out" for key in some}
            assert len(there) == len(set(there))
            assert set(there) - unsure == model - unsure
            model = set(there)
        see_that_it_is(url, model, first, second)
    finally:
        memory = fsspec.filesystem("memory")
        folder = "/" + url.removeprefix("memory://")
        if memory.exists(folder):
            memory.rm(folder, recursive=True)


def do_beside(store: Warehouse, act: Act) -> None:
    kind, numbers = act
    if kind == "append":
        store.append("answers", rows_of(numbers), round="r0", expert="x")
    elif kind == "take_out":
        take_out(store, numbers)
    else:
        store.compact("answers")


def model_after(model: set[int], *acts: Act) -> set[int]:
    after = set(model)
    for kind, numbers in acts:
        after = after | numbers if kind == "append" else after - numbers if kind == "take_out" else after
    return after


def counting(real: Callable[..., Any], name: str, steps: list[str]) -> Callable[..., Any]:
    def act(*args: object) -> object:
        steps.append(name)
        return real(*args)

    return act


def test_an_append_reads_no_file_of_a_large_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in steps, which no busy machine changes: the same at 3 rows, at 300 and at 3,000."""
    steps: list[str] = []
    for name in ("read", "read_end", "write", "create", "list"):
        monkeypatch.setattr(FileStore, name, counting(getattr(FileStore, name), name, steps))

    def rows(first: int, count: int) -> pa.Table:
        ids = [f"k{number:06}" for number in range(first, first + count)]
        return pa.table({"question_id": ids, "expert": ["x"] * count, "expert_version": ["v"] * count})

    seen = []
    for part, count in enumerate((3, 300, 3000)):
        Warehouse(tmp_path).append("answers", rows(part * 10_000, count), round=f"r{part}", expert="x")
        store = Warehouse(tmp_path)
        store.missing("answers", rows(0, 1))  # the first look reads the manifest
        steps.clear()
        assert store.append("answers", rows(900_000 + part, 1), round=f"new{part}", expert="x") == 1
        seen.append(sorted(steps))
    assert seen[0] == seen[1] == seen[2]


def test_the_manifest_stays_short_and_small_files_become_one(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    for number in range(60):
        store.append("answers", rows_of(frozenset([number])), round="r0", expert="x")
    assert len(store.files("answers")) <= 9
    assert len(list((tmp_path / "answers" / "_manifest").glob("*.json"))) <= 6
    assert read(Warehouse(tmp_path)) == list(range(60))
