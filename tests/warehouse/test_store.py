from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import warehouse.files
from warehouse import InputError, NotReadyError, Warehouse, load_outcomes, question_id


def make_questions(n: int, source: str = "made") -> pa.Table:
    prompts = [f"What is {i} + {i}?" for i in range(n)]
    choices = [[str(2 * i), str(2 * i + 1)] for i in range(n)]
    return pa.table(
        {
            "question_id": [question_id(p, c, "0") for p, c in zip(prompts, choices, strict=True)],
            "source": [source] * n,
            "domain": ["sums" if i % 2 else "doubles" for i in range(n)],
            "prompt": prompts,
            "choices": choices,
            "answer": ["0"] * n,
            "kind": ["choice"] * n,
        }
    )


def make_answers(ids: list[str], expert: str, score: float = 1.0, version: str = "v1") -> pa.Table:
    n = len(ids)
    return pa.table(
        {
            "question_id": ids,
            "expert": [expert] * n,
            "expert_version": [version] * n,
            "score": pa.array([score] * n, pa.float32()),
            "cost_usd": [0.001] * n,
        }
    )


def test_append_skips_known_keys_and_repeats(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions(10)
    assert store.append("questions", pa.concat_tables([questions, questions]), round="r0") == 10
    assert store.append("questions", questions, round="r1") == 0
    assert Warehouse(tmp_path).append("questions", make_questions(12), round="r1") == 2
    assert store.scan("questions").num_rows == 12


def test_another_writers_rows_are_known(tmp_path: Path) -> None:
    first, second = Warehouse(tmp_path), Warehouse(tmp_path)
    ids = make_questions(6)["question_id"].to_pylist()
    assert first.append("answers", make_answers(ids[:3], "a/b"), round="r0", expert="a/b") == 3
    assert second.scan("answers").num_rows == 3
    assert second.append("answers", make_answers(ids, "a/b"), round="r0", expert="a/b") == 3
    assert first.append("answers", make_answers(ids, "a/b"), round="r1", expert="a/b") == 0
    assert first.answered("a/b", "v1") == set(ids)
    assert first.answered("a/b", "v2") == set()


def test_data_without_manifest_entry_is_invisible(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    store.append("questions", make_questions(4), round="r0")
    for entry in (tmp_path / "questions" / "_manifest").glob("*.json"):
        entry.unlink()
    assert Warehouse(tmp_path).scan("questions").num_rows == 0
    assert (
        store.append("questions", make_questions(4), round="r0") == 0 or store.scan("questions").num_rows == 4
    )


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Warehouse(tmp_path)
    real_write = warehouse.files.FileStore.write

    def fail_on_manifest(self: warehouse.files.FileStore, name: str, data: bytes) -> None:
        if name.endswith(".json"):
            raise OSError("disk full")
        real_write(self, name, data)

    monkeypatch.setattr(warehouse.files.FileStore, "write", fail_on_manifest)
    with pytest.raises(OSError, match="disk full"):
        store.append("questions", make_questions(4), round="r0")
    monkeypatch.undo()
    assert store.scan("questions").num_rows == 0
    assert store.append("questions", make_questions(4), round="r0") == 4


def test_compaction_keeps_every_row_once_even_when_cut_short(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    ids = make_questions(20)["question_id"].to_pylist()
    for start in range(0, 20, 5):
        store.append("answers", make_answers(ids[start : start + 5], "x"), round="r0", expert="x")
    manifest = tmp_path / "answers" / "_manifest"
    before = {path.name: path.read_bytes() for path in manifest.glob("*.json")}
    assert store.compact("answers") == 4
    assert len(store.files("answers")) == 1
    for name, body in before.items():  # as if the process had died before the old entries were removed
        (manifest / name).write_bytes(body)
    for reader in (store, Warehouse(tmp_path)):
        assert sorted(reader.scan("answers")["question_id"].to_pylist()) == sorted(ids)
        assert reader.append("answers", make_answers(ids, "x"), round="r0", expert="x") == 0


def test_replaced_files_are_removed_when_old_and_lost_ones_never(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    every = make_questions(4)
    store.append("questions", every.slice(0, 2), round="r0")
    store.append("questions", every.slice(2), round="r0")
    replaced = [tmp_path / entry.path for entry in store.files("questions")]
    orphan = tmp_path / "questions" / "round=r0" / "orphan.parquet"
    orphan.write_bytes(b"PAR1")
    store.compact("questions")
    assert all(path.exists() for path in replaced)
    for path in (*replaced, orphan):
        os.utime(path, (0, 0))
    store.compact("questions")
    assert all(path.exists() for path in replaced)  # old files, but replaced a moment ago
    for commit in (tmp_path / "questions" / "_manifest").glob("*.json"):
        os.utime(commit, (0, 0))
    store = Warehouse(tmp_path)
    store.compact("questions")
    assert not any(path.exists() for path in replaced)
    assert orphan.exists()
    assert store.uncounted("questions") == ["questions/round=r0/orphan.parquet"]
    assert store.scan("questions").num_rows == 4


def _append_all(arguments: tuple[str, list[str]]) -> int:
    url, ids = arguments
    store = Warehouse(url)
    return sum(
        store.append("answers", make_answers(ids[i : i + 7], "x"), round="r0", expert="x")
        for i in range(0, len(ids), 7)
    )


def test_writers_in_several_processes_write_each_key_once(tmp_path: Path) -> None:
    ids = make_questions(60)["question_id"].to_pylist()
    jobs = [(str(tmp_path), ids), (str(tmp_path), ids[::-1]), (str(tmp_path), ids[30:] + ids[:30])]
    # fork: a spawned child could not import this module by pytest's importlib mode
    with multiprocessing.get_context("fork").Pool(3) as pool:
        written = pool.map_async(_append_all, jobs).get(timeout=60)
    assert sum(written) == 60
    assert sorted(Warehouse(tmp_path).scan("answers")["question_id"].to_pylist()) == sorted(ids)


def test_object_store_urls_take_the_same_path() -> None:
    url = "memory://warehouse-test"
    store = Warehouse(url)
    assert store.append("questions", make_questions(5), round="r0") == 5
    assert Warehouse(url).append("questions", make_questions(6), round="r0") == 1
    store.append("questions", make_questions(9), round="r0")
    assert store.compact("questions") == 3
    assert Warehouse(url).scan("questions").num_rows == 9
    assert store.connect().execute("select count(*) from questions").fetchone() == (9,)
    assert fsspec.filesystem("memory").exists("/warehouse-test/questions/_manifest")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["prompt"]), "column prompt"),
        (lambda t: t.append_column("colour", pa.array(["red"] * 3)), "unknown column 'colour'"),
        (lambda t: t.set_column(5, "answer", pa.array(["0", None, "0"])), "column answer, row 2"),
        (lambda t: t.set_column(2, "domain", pa.array([[1], [2], [3]])), "column domain"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_written(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    store = Warehouse(tmp_path)
    with pytest.raises(InputError, match=message):
        store.append("questions", change(make_questions(3)), round="r0")
    assert store.scan("questions").num_rows == 0


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    store.append("questions", make_questions(3), round="r0")
    entry = store.files("questions")[0]
    (tmp_path / entry.path).write_text("not parquet")
    with pytest.raises(InputError, match=r"questions table cannot be read.*" + entry.name):
        Warehouse(tmp_path).scan("questions")
    with pytest.raises(InputError, match="no table is called"):
        store.scan("question")
    with pytest.raises(InputError, match="cannot open the warehouse"):
        Warehouse("nosuchscheme://bucket/x")


def test_outcomes_keep_missing_missing_and_versions_apart(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions(6)
    ids = questions["question_id"].to_pylist()
    store.append("questions", questions, round="r0")
    store.append("answers", make_answers(ids, "b", 0.0, "old"), round="r0", expert="b")
    store.append("answers", make_answers(ids[:4], "a", 1.0), round="r0", expert="a")
    store.append("answers", make_answers(ids[:2], "b", 1.0, "new"), round="r1", expert="b")
    failed = make_answers(ids[4:5], "a").set_column(3, "score", pa.array([None], pa.float32()))
    store.append(
        "answers", failed.append_column("error", pa.array(["Timeout: 30 s"])), round="r0", expert="a"
    )
    outcomes = load_outcomes(store)
    assert outcomes.experts == ("a", "b")
    position = {name: i for i, name in enumerate(outcomes.question_ids)}
    score = {(e, q): outcomes.score[position[q], j] for j, e in enumerate(outcomes.experts) for q in position}
    assert all(score["a", q] == 1.0 for q in ids[:4])
    assert np.isnan(score["a", ids[4]])
    assert [score["b", q] for q in ids[:2]] == [1.0, 1.0]
    assert all(np.isnan(score["b", q]) for q in ids[2:4])
    assert outcomes.chance.tolist() == [0.5] * len(outcomes)
    assert outcomes.texts[0].count("\n") == 2
    assert len(outcomes.answered(at_least=2)) == 2
    assert outcomes.only(["b"]).experts == ("b",)
    assert outcomes.fingerprint() != outcomes.only(["b"]).fingerprint()
    assert outcomes.fingerprint() == load_outcomes(Warehouse(tmp_path)).fingerprint()
    with pytest.raises(InputError, match="no expert matches 'c\\*'"):
        outcomes.only(["c*"])


def test_the_filter_that_leaves_nothing_is_named(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    with pytest.raises(NotReadyError, match="no answer has been graded yet"):
        load_outcomes(store, sources=["elsewhere"])
    for i, source in enumerate(("here", "there")):
        questions = make_questions(6, source).slice(3 * i, 3)
        store.append("questions", questions, round=f"r{i}")
        answers = make_answers(questions["question_id"].to_pylist(), f"expert-{source}", 1.0)
        answers = answers.append_column("round", pa.array([f"r{i}"] * 3))
        store.append("answers", answers, round=f"r{i}", expert=f"expert-{source}")
    for filters, message in (
        (
            {"sources": ["elsewhere"]},
            r"has the source 'elsewhere'.*that have some are 'here', 'there'",
        ),
        ({"rounds": ["r9"]}, r"has the round 'r9'.*'r0', 'r1'"),
        ({"sources": ["here"], "rounds": ["r1"]}, r"both the source 'here' and the round 'r1'"),
        (
            {"sources": ["here"], "experts": ["expert-there"]},
            r"'expert-there' has no graded answer with the source 'here'.*'expert-here'",
        ),
        ({"sources": ["here"], "experts": ["nobody"]}, r"no expert matches 'nobody'"),
        ({"experts": ["nobody*"]}, r"no expert matches 'nobody\*'"),
    ):
        with pytest.raises((InputError, NotReadyError), match=message):
            load_outcomes(store, **filters)
    assert load_outcomes(store, sources=["here", "elsewhere"]).experts == ("expert-here",)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 15), max_size=8), max_size=6), st.booleans())
def test_any_order_of_appends_gives_the_union(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], compact: bool
) -> None:
    folder = tmp_path_factory.mktemp("warehouse")
    store = Warehouse(folder)
    written = 0
    for batch in batches:
        written += store.append("answers", make_answers([str(i) for i in batch], "x"), round="r0", expert="x")
        if compact:
            store.compact("answers")
    expected = sorted({str(i) for batch in batches for i in batch})
    assert written == len(expected)
    assert sorted(Warehouse(folder).scan("answers")["question_id"].to_pylist()) == expected


def test_question_id_folds_what_does_not_matter_and_keeps_what_does() -> None:
    base = question_id("What is  2 + 2?", ["4", "5"], "0")
    assert base == question_id("what is 2 + 2? ", ["4", "5"], "0")
    assert base != question_id("What is 2 + 2?", ["5", "4"], "1")
    assert base != question_id("What is 2 + 2?", None, "4")
    assert len(base) == 16


def test_manifest_entries_say_what_they_hold(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    store.append("answers", make_answers(["q1"], "helm/gpt 4"), round="r0", expert="helm/gpt 4")
    (entry,) = (tmp_path / "answers" / "_manifest").glob("*.json")
    (body,) = json.loads(entry.read_text())["files"]
    assert body["rows"] == 1
    assert body["expert"] == "helm/gpt 4"
    assert (tmp_path / body["path"]).exists()


def test_missing_tells_which_keys_have_no_row(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    ids = make_questions(6)["question_id"].to_pylist()
    keys = pa.table({"question_id": ids, "expert": ["a"] * 6, "expert_version": ["v1"] * 6})
    assert store.missing("answers", keys, expert="a").to_pylist() == [True] * 6
    store.append("answers", make_answers(ids[:2], "a"), round="r0", expert="a")
    Warehouse(tmp_path).append("answers", make_answers(ids[2:3], "a"), round="r1", expert="a")
    store.append("answers", make_answers(ids, "b"), round="r0", expert="b")
    store.append("answers", make_answers(ids, "a", version="v2"), round="r0", expert="a")
    assert store.missing("answers", keys, expert="a").to_pylist() == [False] * 3 + [True] * 3
    store.compact("answers")
    assert store.missing("answers", keys, expert="a").to_pylist() == [False] * 3 + [True] * 3
    assert store.answers_of("a", "v1", columns=["question_id"]).num_rows == 3


def test_a_write_reaches_the_device_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is flushed before its name appears, the name before the next step, new folders as well."""
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        steps.append(f"sync {os.readlink(f'/proc/self/fd/{descriptor}')}")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        steps.append(f"name {target}")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    store = Warehouse(tmp_path / "new")
    store.append("questions", make_questions(3), round="r0")
    names = [i for i, step in enumerate(steps) if step.startswith("name ")]
    assert len(names) == 2  # the rows, then the entry that makes them count
    assert steps[names[0]].endswith(".parquet")
    assert steps[names[1]].endswith(".json")
    for i in names:
        folder = str(Path(steps[i].removeprefix("name ")).parent)
        assert steps[i - 1].startswith(f"sync {folder}/.")
        assert steps[i - 1].endswith(".tmp")
        assert steps[i + 1] == f"sync {folder}"
    synced = {step.removeprefix("sync ") for step in steps}
    assert {str(tmp_path / "new"), str(tmp_path / "new" / "questions")} <= synced


def test_threads_of_one_process_share_a_warehouse(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    store = Warehouse(tmp_path)
    ids = make_questions(64)["question_id"].to_pylist()

    def append(start: int) -> int:
        return store.append("answers", make_answers(ids[start : start + 16], "a"), round="r0", expert="a")

    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(append, [0, 8, 16, 24, 32, 40, 48, 0, 8, 48]))
    assert sum(written) == 64
    assert sorted(store.scan("answers")["question_id"].to_pylist()) == sorted(ids)
