"""What is written down of paid calls, and what becomes of it after a kill; no cluster needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts import ExpertSpec, SpendCap
from experts.backends.base import RawAnswer
from experts.backends.spend_cap import ReserveOutcome
from pipelines.answering.open_work import find_open_work
from pipelines.answering.paid_calls import PaidCalls
from pipelines.answering.round_money import RoundMoney
from pipelines.answering.taking_in import take_in_journals, unrecorded_usd
from warehouse import QUESTIONS, Warehouse, question_id

SPEC = ExpertSpec.model_validate(
    {
        "name": "a/b",
        "backend": "openai",
        "model": "m",
        "price": {"usd_per_mtok_in": 100, "usd_per_mtok_out": 100},
    }
)
EACH = SPEC.price.cost_usd(100.0, 10.0)


def make_questions(count: int) -> pa.Table:
    rows = []
    for i in range(count):
        prompt = f"What is {i} + 1?"
        rows.append({"question_id": question_id(prompt, None, str(i + 1)), "source": "t", "domain": "d",
                     "prompt": prompt, "answer": str(i + 1), "kind": "exact"})  # fmt: skip
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def calls_of(warehouse: Warehouse, session: str = "s", purse: Any = None) -> PaidCalls:
    return PaidCalls(warehouse.url, "r/1", "run", SPEC, session, purse)


def die(calls: PaidCalls) -> None:
    """As the system does it to one that is killed: nothing more is written, the lock is let go."""
    calls._journal._pending.clear()
    calls._journal.close()


def ask(calls: PaidCalls, questions: pa.Table, text: str | None = "1", **fields: Any) -> RawAnswer:
    """One call about the first of the questions, from reservation to answer."""
    assert calls.reserve(3 * EACH) is ReserveOutcome.GRANTED
    answer = RawAnswer(text=text, prompt_tokens=100, completion_tokens=10, cost_usd=EACH, **fields)
    calls.settle(3 * EACH, EACH)
    calls.keeper(questions)(questions["question_id"][0].as_py(), answer)
    return answer


def test_after_a_kill_answers_are_rows_and_what_was_in_flight_is_booked(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions(4)
    calls = calls_of(store)
    ask(calls, questions, "1")  # right
    ask(calls, questions.slice(1), "half \ud83d")  # wrong
    calls.reserve(3 * EACH)  # in flight
    assert unrecorded_usd(store, "r/1") == pytest.approx(5 * EACH)
    assert find_open_work(store, [SPEC], questions).todo["a/b"].num_rows == 4  # its writer is at work
    die(calls)
    todo = find_open_work(store, [SPEC], questions).todo["a/b"]
    assert todo["question_id"].to_pylist() == questions["question_id"].to_pylist()[2:]
    rows = {row["text"]: row for row in store.answers_of("a/b", SPEC.version).to_pylist()}
    assert {text: row["score"] for text, row in rows.items()} == {"1": 1.0, "half ?": 0.0}
    assert {(r["round"], r["run_id"], r["cost_usd"], r["error"]) for r in rows.values()} == {
        ("r/1", "run", EACH, None)
    }
    assert not list(tmp_path.rglob("*.jsonl"))
    assert unrecorded_usd(store, "r/1") == pytest.approx(3 * EACH)
    assert RoundMoney(store, "r/1").spent_usd() == pytest.approx(5 * EACH)
    assert RoundMoney(store, "r/1", 6 * EACH).left_usd() == pytest.approx(EACH)
    assert unrecorded_usd(store, "r") == 0.0


@pytest.mark.parametrize("url", ["{}", "file://{}", "memory://{}"])
def test_the_money_is_the_same_wherever_taking_in_is_killed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the rows, and after the file of money."""
    store = Warehouse(url.format(tmp_path))
    questions = make_questions(3)
    calls = calls_of(store)
    for i in range(2):
        ask(calls, questions.slice(i))
    calls.reserve(3 * EACH)
    calls._journal.close()
    for name in ("_Content.unrecorded_usd", "delete_journal"):
        with monkeypatch.context() as patch:
            patch.setattr(f"pipelines.answering.taking_in.{name}", _killed)
            with pytest.raises(KeyboardInterrupt):
                take_in_journals(store)
        assert RoundMoney(store, "r/1").spent_usd() == pytest.approx(5 * EACH)
    take_in_journals(store)
    assert RoundMoney(store, "r/1").spent_usd() == pytest.approx(5 * EACH)
    assert store.scan("answers").num_rows == 2


def _killed(*args: object) -> None:
    raise KeyboardInterrupt


def test_rows_that_went_to_the_table_by_themselves_are_counted_once(tmp_path: Path) -> None:
    from experts import answer_and_grade

    store = Warehouse(tmp_path)
    questions = make_questions(2)
    calls = calls_of(store)

    class Backend:
        def answer(self, questions: pa.Table, *, purse: Any = None, keep: Any = None) -> pa.Table:
            from experts.backends.base import raw_table

            found = [ask(calls, questions.slice(i)) for i in range(questions.num_rows)]
            return raw_table(questions["question_id"].to_pylist(), found)

    rows = answer_and_grade(Backend(), SPEC, questions, round="r/1", run_id="run")
    store.append("answers", calls.stamp(rows), round="r/1", expert="a/b")
    assert unrecorded_usd(store, "r/1") == pytest.approx(0.0, abs=1e-12)
    # The same questions once more, by a run that thought them open: paid for, and no rows of its own.
    again = calls_of(store, "t")
    ask(again, questions)
    assert RoundMoney(store, "r/1").spent_usd() == pytest.approx(3 * EACH)
    for one in (calls, again):
        die(one)
    take_in_journals(store)
    assert RoundMoney(store, "r/1").spent_usd() == pytest.approx(3 * EACH)
    assert store.scan("answers").num_rows == 2


def test_errors_that_pass_leave_the_question_open(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions(4)
    for error, text in (
        ("overloaded: busy", None),
        ("content_filter: withheld", None),
        ("bad_request: no", None),
    ):
        calls = calls_of(store)
        place = {"o": 0, "c": 1, "b": 2}[error[0]]
        ask(calls, questions.slice(place), text, error=error)
        die(calls)
    todo = find_open_work(store, [SPEC], questions).todo["a/b"]
    # Refused by an expert that has not answered anything: that may be the expert's fault.
    assert todo["question_id"].to_pylist() == [questions["question_id"][i].as_py() for i in (0, 2, 3)]
    calls = calls_of(store)
    ask(calls, questions.slice(2), None, error="bad_request: no")
    ask(calls, questions.slice(3), "4")
    die(calls)
    todo = find_open_work(store, [SPEC], questions).todo["a/b"]
    assert todo["question_id"].to_pylist() == [questions["question_id"][0].as_py()]
    # The first was settled, but nothing was written any more after it: it stands at its worst case.
    assert RoundMoney(store, "r/1").spent_usd() == pytest.approx((3 + 4) * EACH)


@settings(max_examples=60, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_journal_keeps_nobody_from_what_is_open(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    store = Warehouse(root)
    questions = make_questions(3)
    calls = calls_of(store)
    for place in range(3):
        ask(calls, questions.slice(place), str(place))
    die(calls)
    (path,) = root.rglob("*.jsonl")
    data = bytearray(path.read_bytes())
    for place, byte in flips:
        data[place % len(data)] = byte
    path.write_bytes(data)
    spent_before = RoundMoney(store, "r/1").spent_usd()
    todo = find_open_work(store, [SPEC], questions).todo
    assert not list(root.rglob("*.jsonl"))
    answered = store.answers_of("a/b", SPEC.version)["question_id"].to_pylist()
    left = todo["a/b"]["question_id"].to_pylist() if todo else []
    assert not set(answered) & set(left)
    spent = RoundMoney(store, "r/1").spent_usd()
    assert spent == pytest.approx(spent_before) or spent >= spent_before


@pytest.mark.parametrize(
    "odd", [None, 3, "x", [], {"error": None}, {"created_at": 3}, {"created_at": "2026-01-01"}]
)
def test_odd_records_are_passed_over(tmp_path: Path, odd: Any) -> None:
    store = Warehouse(tmp_path)
    questions = make_questions(2)
    calls = calls_of(store)
    ask(calls, questions)
    for record in ({"answer": odd, "question": odd}, {"reserved": odd}, {"settled": odd}):
        calls._journal.write(record)
    good = dict(calls._constant) | {
        "question_id": "q",
        "created_at": "2026-01-01T00:00:00+00:00",
        "error": None,
    }
    calls._journal.write({"answer": good | {"text": odd}, "question": odd})
    ask(calls, questions.slice(1))
    die(calls)
    assert not find_open_work(store, [SPEC], questions)
    assert store.scan("answers").num_rows == 2


def test_a_cap_is_asked_and_told(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    cap = SpendCap(4 * EACH)
    calls = calls_of(store, purse=cap)
    ask(calls, make_questions(1))
    assert cap.spent_usd() == pytest.approx(EACH)
    assert calls.reserve(3 * EACH) is ReserveOutcome.GRANTED
    assert calls.reserve(3 * EACH) is ReserveOutcome.WAIT
    calls.settle(3 * EACH, 3 * EACH)
    assert calls.reserve(3 * EACH) is ReserveOutcome.REFUSED
    assert unrecorded_usd(store, "r/1") == pytest.approx(4 * EACH)


def test_what_cannot_be_written_down_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cap = SpendCap(1.0)
    calls = calls_of(Warehouse(tmp_path), purse=cap)

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("warehouse.journal.os.write", full)
    with pytest.raises(OSError, match="space"):
        calls.reserve(0.5)
    assert cap.reserve(1.0) is ReserveOutcome.GRANTED  # nothing stayed set aside


@settings(max_examples=25, deadline=None)
@given(
    fates=st.lists(st.sampled_from(["answered", "lost", "in flight"]), min_size=1, max_size=8),
    kill=st.booleans(),
)
def test_rows_and_money_add_up_to_what_was_booked(
    tmp_path_factory: pytest.TempPathFactory, fates: list[str], kill: bool
) -> None:
    store = Warehouse(tmp_path_factory.mktemp("paid"))
    questions = make_questions(len(fates))
    calls = calls_of(store)
    for place, fate in enumerate(fates):
        if fate == "answered":
            ask(calls, questions.slice(place), str(place + 1))
            continue
        calls.reserve(3 * EACH)
        if fate == "lost":  # timed out: may be billed
            calls.settle(3 * EACH, 3 * EACH)
    calls._journal.flush()
    booked = EACH * sum(1 if fate == "answered" else 3 for fate in fates)
    assert RoundMoney(store, "r/1").spent_usd() == pytest.approx(booked)
    if kill:
        die(calls)
        take_in_journals(store)
    else:
        take_in_journals(store, session="s")
    assert RoundMoney(store, "r/1").spent_usd() == pytest.approx(booked)
    answered = sum(fate == "answered" for fate in fates)
    assert store.scan("answers").num_rows == answered
    todo = find_open_work(store, [SPEC], questions).todo
    assert sum(rows.num_rows for rows in todo.values()) == len(fates) - answered


def test_a_round_has_cost_what_left_no_row_too(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    calls = PaidCalls(store.url, "r", "run", SPEC, "s", None)
    calls.reserve(0.3)
    die(calls)
    money = RoundMoney(store, "r", 1.0)
    assert money.spent_usd() == pytest.approx(0.3)
    assert money.left_usd() == pytest.approx(0.7)
    assert RoundMoney(store, "other", 1.0).left_usd() == 1.0
    assert RoundMoney(store, "r").left_usd() is None
