"""Question files with faults that are easily read over: each is read rightly, or refused with its place."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.questions import load_questions
from warehouse import InputError

EACH = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
CHOICES = ["iron", "gold", "neon"]
RECORDS = st.lists(
    st.builds(
        lambda words, right: {"question": f"{words}?", "choices": CHOICES, "answer": CHOICES[right]},
        st.text('abc é,"]}', min_size=1, max_size=12).filter(str.strip),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda record: record["question"].strip(),
)


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(tmp_path, name, data):
    return load_questions(write(tmp_path, name, data)).to_pylist()


def refusal(tmp_path, name, data):
    with pytest.raises(InputError) as refused:
        read(tmp_path, name, data)
    (line,) = str(refused.value).splitlines()
    assert name in line
    return line


@given(records=RECORDS, names=st.sampled_from([("",), ("", ""), ("Unnamed: 0",)]))
@EACH
def test_a_column_without_a_name_changes_nothing(tmp_path, records, names) -> None:
    """As pandas writes its index."""
    told = io.StringIO()
    table = csv.writer(told)
    table.writerow([*names, "question", "A", "B", "C", "answer"])
    for number, record in enumerate(records):
        table.writerow([*[number] * len(names), record["question"], *CHOICES, record["answer"]])
    rows = read(tmp_path, "q.csv", told.getvalue())
    assert [CHOICES[int(row["answer"])] for row in rows] == [record["answer"] for record in records]


@given(records=RECORDS, indent=st.sampled_from([None, 1]), lines=st.booleans(), share=st.floats(0, 1))
@EACH
def test_an_array_that_is_cut_off_is_never_taken_for_all(tmp_path, records, indent, lines, share) -> None:
    whole = json.dumps(records, indent=indent)
    if lines and indent is None:
        whole = "[\n" + ",\n".join(map(json.dumps, records)) + "\n]"
    cut = whole[: 1 + int(share * (len(whole) - 2))]
    line = refusal(tmp_path, "q.json", cut)
    assert "line" in line
    assert len(read(tmp_path, "q.json", whole)) == len(records)


@pytest.mark.parametrize(
    "rest", ['[{"question": "b", "answer": "2"}]', ',{"question": "b", "answer": "2"}', "x"]
)
def test_what_stands_after_an_array_is_not_dropped(tmp_path, rest) -> None:
    line = refusal(tmp_path, "q.json", '[\n{"question": "a", "answer": "1"}\n]\n' + rest)
    assert "line 3" in line


def test_two_columns_of_one_name_that_differ_are_refused_by_their_place(tmp_path) -> None:
    assert len(read(tmp_path, "same.csv", "question,answer,answer\na,1,1\nb,2,\n")) == 2
    line = refusal(tmp_path, "two.csv", "question,answer,answer\na,1,1\nb,2,3\n")
    assert "line 3, field answer" in line
    assert "'2' and '3'" in line


OPTIONS = [
    {"choices": CHOICES},
    {"A": "iron", "B": "gold", "C": "neon"},
    {"choices": {"label": ["A", "B", "C"], "text": CHOICES}},
]


@pytest.mark.parametrize("options", OPTIONS)
@given(answers=st.lists(st.sampled_from([*"ABC", *CHOICES]), min_size=2, max_size=3, unique=True))
@EACH
def test_several_right_options_are_refused_and_one_in_a_list_is_read(tmp_path, options, answers) -> None:
    line = refusal(tmp_path, "q.jsonl", json.dumps({"question": "q", **options, "answer": answers}))
    assert f"line 1, field answer: {len(answers)} options are right" in line
    (row,) = read(tmp_path, "q.jsonl", json.dumps({"question": "q", **options, "answer": answers[:1]}))
    assert row["answer"] == str("ABC".find(answers[0]) if answers[0] in "ABC" else CHOICES.index(answers[0]))


@pytest.mark.parametrize(
    ("labels", "says"),
    [(["A", "A", "B"], "two choices have the label 'A'"), (["A", "B"], "2 labels for 3 choices")],
)
def test_labels_that_cannot_tell_choices_apart_are_refused(tmp_path, labels, says) -> None:
    record = {"question": "q", "choices": {"label": labels, "text": CHOICES}, "answerKey": "A"}
    assert f"line 1, field choices: {says}" in refusal(tmp_path, "q.jsonl", json.dumps(record))


def test_marks_of_the_right_choice_are_no_labels(tmp_path) -> None:
    record = {"question": "q", "choices": {"text": CHOICES, "labels": [0, 1, 0]}}
    (row,) = read(tmp_path, "q.jsonl", json.dumps(record))
    assert (row["choices"], row["answer"]) == (CHOICES, "1")


def test_bytes_and_decimals_of_parquet_are_texts_and_numbers(tmp_path) -> None:
    table = pa.table(
        {
            "question": [b"caf\xc3\xa9?", b"b?"],
            "answer": pa.array([Decimal("7.50"), Decimal("3.00")]),
        }
    )
    data = io.BytesIO()
    pq.write_table(table, data)
    rows = read(tmp_path, "q.parquet", data.getvalue())
    assert [(row["prompt"], row["answer"]) for row in rows] == [("café?", "7.50"), ("b?", "3.00")]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("q.jsonl", b"PAR1\x15\x04", "call it .parquet"),
        ("q.csv", b"PK\x03\x04\x14\0", "save the sheet as CSV"),
        ("q.csv", b"\xd0\xcf\x11\xe0\xa1", "save it as CSV"),
        ("q.jsonl", b"SQLite format 3\0", "export the table"),
    ],
)
def test_what_is_called_otherwise_than_it_is_is_named(tmp_path, name, data, says) -> None:
    assert says in refusal(tmp_path, name, data)
