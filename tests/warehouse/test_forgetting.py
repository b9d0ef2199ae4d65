"""Whoever is forgotten stands in no file any more; everybody else stays; killed anywhere it is done again."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.warehouse.killed_steps import killed_at
from warehouse import Warehouse
from warehouse.schemas import TABLES
from warehouse.traffic.forgetting import ORDERS_FOLDER, carry_out_orders, find_meant, forget
from warehouse.traffic.retention import RecordingKept, expire, note_recording, read_recording
from warehouse.traffic.selection import Selection
from warehouse.traffic.texts import RecordedText, TextStore

N = 6  # requests; the even ones of key k0 and user u0, the odd ones of k1 and u1
NOW = datetime.now(UTC)


def word(number: int) -> str:
    return f"unusualword{number:03}"


def fill(home: Path, ages_d: list[float] | None = None) -> Warehouse:
    """A home in which each request was recorded, commented, asked again in the shadow, and judged."""
    store, texts = Warehouse(home / "warehouse"), TextStore(home)
    at = [NOW - timedelta(days=age, minutes=5) for age in (ages_d or [0.0] * N)]
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in TABLES}
    for n in range(N):
        who = {"request_id": f"req-{n}", "key_id": f"k{n % 2}", "created_at": at[n]}
        row = {**who, "role": "champion", "expert": "gpt", "recording": "texts", "user_hash": f"u{n % 2}"}
        rows["traffic"] += [row, {**row, "request_id": f"req-{n}:shadow", "role": "shadow"}]
        asked = [{"role": "user", "content": word(n)}]
        texts.append([RecordedText(f"req-{n}", asked, word(n), "gpt", f"k{n % 2}", f"u{n % 2}", at[n])])
        said = {**who, "feedback_id": f"fb-{n}", "level": "request", "kind": "score", "source": "api"}
        rows["feedback"].append({**said, "score": 0.5, "comment": word(n), "demonstration": word(n)})
        question = {"question_id": f"q-{n}", "source": "traffic", "domain": "d", "prompt": word(n)}
        question |= {"answer": word(n), "kind": "judged", "parent_id": f"req-{n}", "created_at": at[n]}
        made = {"question_id": f"made-{n}", "source": "written", "parent_id": f"q-{n}"}
        rows["questions"] += [question, {**question, **made}]
        answer = {"expert": "llama", "expert_version": "v1", "text": word(n), "cost_usd": 1.0}
        rows["answers"] += [{**answer, "question_id": f"{name}-{n}"} for name in ("q", "made", "judge-of")]
        served = {**answer, "question_id": "shared", "expert": f"gpt{n}", "run_id": f"request:req-{n}"}
        rows["answers"].append({**served, "created_at": at[n], "round": "serve-1"})
        judged = {"question_id": f"q-{n}", "expert": "llama", "expert_version": "v1", "score": 0.0}
        rows["judgements"].append({**judged, "grader": "judge:x/1/rubric/c@1", "explanation": word(n)})
    for name, every in rows.items():
        for part in (every[: len(every) // 2], every[len(every) // 2 :]):
            if part:
                names = [field for field in TABLES[name].names if field in {k for row in part for k in row}]
                table = pa.Table.from_pylist(part, pa.schema([TABLES[name].field(field) for field in names]))
                store.append(name, fill_time(table), round="learn-1")
    texts.close()
    bench = {
        "question_id": "bench",
        "source": "mmlu",
        "domain": "d",
        "prompt": "benchword",
        "answer": "x",
        "kind": "exact",
    }
    shared = {**bench, "question_id": "shared", "prompt": "sharedword"}
    store.append("questions", pa.Table.from_pylist([bench, shared]), round="imported")
    return store


def fill_time(rows: pa.Table) -> pa.Table:
    if "created_at" not in rows.column_names:
        return rows
    place = rows.schema.get_field_index("created_at")
    now = pa.scalar(NOW, pa.timestamp("us", tz="UTC"))
    return rows.set_column(place, rows.schema.field(place), pc.fill_null(rows["created_at"], now))


def found_in(home: Path) -> set[int]:
    """Whose words stand in any file of a home; those of judges' replies left out."""
    text = ""
    for path in home.rglob("*"):
        if path.is_file():
            text += path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                text += str(pq.read_table(path).to_pylist())
    return {n for n in range(N) if word(n) in text}


def rows_of(store: Warehouse) -> dict[str, int]:
    return {
        name: store.scan(name).num_rows
        for name in ("traffic", "feedback", "questions", "answers", "judgements")
    }


@pytest.mark.parametrize(
    ("selection", "gone"),
    [
        (Selection(frozenset({"req-1", "req-4"})), {1, 4}),
        (Selection(key_id="k1"), {1, 3, 5}),
        (Selection(user_hash="u0"), {0, 2, 4}),
        (Selection(frozenset({"req-1", "req-2"}), key_id="k0"), {2}),
        (Selection(before=NOW - timedelta(days=2)), {0, 1, 2}),
        (Selection(frozenset({"req-77"})), set()),
    ],
)
def test_those_who_are_meant_are_gone_from_every_file(
    tmp_path: Path, selection: Selection, gone: set[int]
) -> None:
    store = fill(tmp_path, [5, 4, 3, 1, 0.5, 0])
    before = rows_of(store)
    if gone == {2} or not gone:
        assert len(find_meant(tmp_path, store, selection)) == len(gone)
    done = forget(tmp_path, store, selection)
    assert (done.requests, done.texts) == (len(gone), len(gone))
    # Judges' replies of the round are not told apart: all of them lose their words, and keep what they cost.
    assert found_in(tmp_path) == set(range(N)) - gone
    k = len(gone)
    lost = {"traffic": 2 * k, "feedback": k, "questions": 2 * k, "answers": 3 * k, "judgements": k}
    assert done.removed.rows == {**lost, "decisions": 0}
    assert rows_of(store) == {name: before[name] - lost[name] for name in before}
    replies = [row for row in store.scan("answers").to_pylist() if row["question_id"].startswith("judge-of")]
    assert all(row["cost_usd"] == 1.0 for row in replies)
    assert all((row["text"] is None) == bool(gone) for row in replies)
    assert {"bench", "shared"} <= set(store.scan("questions")["question_id"].to_pylist())
    left = TextStore(tmp_path).read([f"req-{n}" for n in range(N)])
    assert set(left) == {f"req-{n}" for n in range(N) if n not in gone}


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 30), st.booleans(), st.sampled_from([Selection(key_id="k1"), Selection(user_hash="u1")])
)
def test_killed_at_any_step_the_next_walk_does_the_rest(
    step: int, is_before: bool, selection: Selection
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = fill(home)
        with killed_at(step, is_before=is_before):
            forget(home, store, selection)
        assert carry_out_orders(home, Warehouse(home / "warehouse")) == 1
        assert found_in(home) == {0, 2, 4}
        assert rows_of(store) == {"traffic": 6, "feedback": 3, "questions": 8, "answers": 15, "judgements": 3}


def test_what_comes_late_goes_too_and_later_requests_stay(tmp_path: Path) -> None:
    store = fill(tmp_path)
    forget(tmp_path, store, Selection(user_hash="u1"))
    # A comment that was on its way, a shadow answer that had been asked before, and a new request.
    said = {
        "request_id": "req-1",
        "feedback_id": "fb-late",
        "level": "request",
        "kind": "comment",
        "source": "api",
    }
    store.append("feedback", pa.Table.from_pylist([{**said, "comment": word(1)}]), round="serve-1")
    asked = {
        "question_id": "q-late",
        "source": "traffic",
        "domain": "d",
        "prompt": word(3),
        "answer": "",
        "kind": "judged",
    }
    store.append("questions", pa.Table.from_pylist([{**asked, "parent_id": "req-3"}]), round="learn-1")
    new = RecordedText("req-9", [], "newword", "gpt", "k1", "u1", datetime.now(UTC) + timedelta(minutes=1))
    texts = TextStore(tmp_path)
    texts.append([new])
    assert carry_out_orders(tmp_path, store) == 1
    assert found_in(tmp_path) == {0, 2, 4}
    assert texts.read(["req-9"])["req-9"].answer_text == "newword"


def test_an_order_ends_after_a_day_and_holds_no_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path)
    forget(tmp_path, store, Selection(key_id="k1"))
    (order,) = (tmp_path / ORDERS_FOLDER).glob("*.json")
    assert "unusualword" not in order.read_text()
    assert order.stat().st_mode & 0o77 == 0
    monkeypatch.setattr("warehouse.traffic.forgetting.IN_FORCE", timedelta(0))
    assert carry_out_orders(tmp_path, store) == 1
    assert carry_out_orders(tmp_path, store) == 0


def test_a_cache_of_embeddings_goes_with_the_questions(tmp_path: Path) -> None:
    store, cache = fill(tmp_path), tmp_path / "cache"
    cache.mkdir()
    forget(tmp_path, store, Selection(frozenset({"req-77"})), cache)
    assert cache.exists()
    forget(tmp_path, store, Selection(frozenset({"req-1"})), cache)
    assert not cache.exists()


def test_texts_end_with_their_time_and_scores_stay(tmp_path: Path) -> None:
    store = fill(tmp_path, [40, 31, 30.5, 29, 1, 0])
    before = rows_of(store)
    done = expire(tmp_path, store, 30, NOW)
    # Of each a comment, and an answer that was served and stands under somebody else's question.
    assert (done.texts, done.words, done.removed.rows["questions"]) == (3, 6, 6)
    after = rows_of(store)
    assert (after["traffic"], after["feedback"]) == (before["traffic"], before["feedback"])
    assert store.scan("feedback")["score"].null_count == 0
    assert found_in(tmp_path) == {3, 4, 5}
    assert expire(tmp_path, store, 30, NOW).is_empty


def test_what_an_endpoint_records_is_noted(tmp_path: Path) -> None:
    assert read_recording(tmp_path) is None
    note_recording(tmp_path, RecordingKept("texts", 7, is_sealed=True))
    assert read_recording(tmp_path) == RecordingKept("texts", 7, is_sealed=True)
