"""Question files as data sets have them: every layout and encoding of one set gives the same questions."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.questions import load_questions
from pipelines.questions.loading.question_file import Reading
from pipelines.questions.loading.report import LoadReport
from warehouse import InputError

LETTERS = "ABCDEFGH"


def load(tmp_path, records, **options):
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return load_questions(path, **options).to_pylist()


OPTIONS = {"choices": ["iron", "gold", "neon", "salt"]}
KNOWN = [  # what the records look like, the texts of the right answers, what every prompt holds
    ({"question": "q", "choices": ["iron", "gold"], "answer": 1}, "gold", "q"),
    ({"question": "q", "answers": ["iron", "gold"], "correct_answer_id": 1}, "gold", "q"),
    ({"question": "q", "options": ["iron", "gold"], "answer": "B", "answer_index": 1}, "gold", "q"),
    (
        {"question": "q", "choices": {"text": ["iron", "gold"], "label": ["1", "2"]}, "answerKey": "2"},
        "gold",
        "q",
    ),
    (
        {
            "question": {
                "stem": "q",
                "choices": [{"label": "A", "text": "iron"}, {"label": "B", "text": "gold"}],
            },
            "answerKey": "B",
        },
        "gold",
        "q",
    ),
    (
        {"question_stem": "q", "choices": {"text": ["iron", "gold"], "label": ["A", "B"]}, "answerKey": "B"},
        "gold",
        "q",
    ),
    ({"ctx": "q", "endings": ["iron", "gold", "neon", "salt"], "label": "1"}, "gold", "q"),
    ({"question": "q", "passage": "On roofs.", "answer": True}, "yes", "On roofs."),
    (
        {"article": "On roofs.", "question": "q", "options": ["iron", "gold"], "answer": "B"},
        "gold",
        "On roofs.",
    ),
    (
        {
            "question": "q",
            "distractor1": "iron",
            "distractor2": "neon",
            "correct_answer": "gold",
            "support": "Ore.",
        },
        "gold",
        "Ore.",
    ),
    (
        {"question": "q", "best_answer": "gold", "correct_answers": ["gold"], "incorrect_answers": ["iron"]},
        "gold",
        "q",
    ),
    (
        {
            "Question": "q",
            "Correct Answer": "gold",
            "Incorrect Answer 1": "iron",
            "Incorrect Answer 2": "neon",
        },
        "gold",
        "q",
    ),
    ({"question": "q", "options": ["A)iron", "B)gold", "C)neon"], "correct": "B"}, "gold", "q"),
    ({"question": "q", "opa": "iron", "opb": "gold", "opc": "neon", "opd": "salt", "cop": 1}, "gold", "q"),
    (
        {"question": "q", "answer": "gold", "options": {"A": "iron", "B": "gold"}, "answer_idx": "B"},
        "gold",
        "q",
    ),
    (
        {"context": "On roofs.", "query": "q", "options": ["iron", "gold"], "correct_option": 1},
        "gold",
        "On roofs.",
    ),
    ({"context": "On roofs.", "question": "q", "answers": ["iron", "gold"], "label": 1}, "gold", "On roofs."),
    ({"premise": "q", "choice1": "iron", "choice2": "gold", "question": "cause", "label": 1}, "gold", "q"),
    ({"input": "q\nOptions:\n(A) iron\n(B) gold", "target": "(B)"}, "gold", "q"),
    ({"input": "q\nOptions:\n- iron\n- gold", "target": "gold"}, "gold", "q"),
    ({"question": "q (A) iron (B) gold (C) neon", "AnswerKey": "B"}, "gold", "q"),
    ({"question": "q\nA. iron\nB. gold", "answer": "gold"}, "gold", "q"),
    ({"question": "q", "A": "iron", "B": "gold", "C": "neon", "answer": "B"}, "gold", "q"),
    ({"Question": "q", "Option A": "iron", "Option B": "gold", "Correct Answer": "Option B"}, "gold", "q"),
    ({"question": "q", "A)": "iron", "B)": "gold", "answer": "B)"}, "gold", "q"),
    ({"question": "q", "choices": "['iron' 'gold'\n 'neon']", "answer": "B"}, "gold", "q"),
    (
        {"question": "q", "choices": "{'text': array(['iron', 'gold'], dtype=object)}", "answer": "gold"},
        "gold",
        "q",
    ),
    ({"question": "q", "choices": '["iron", "gold"]', "answer": "B. gold"}, "gold", "q"),
    (
        {"question": "q", "choices": [{"text": "iron", "correct": False}, {"text": "gold", "correct": True}]},
        "gold",
        "q",
    ),
    ({"Problem": "q", "options": "a ) iron , b ) gold , c ) neon", "correct": "b"}, "gold", "q"),
    ({"question": "q", "choices": ["iron", "gold"], "gold": [1]}, "gold", "q"),
]
FREE = [
    ({"question": "q", "answer": "2 * 600 = <<2*600=1200>>1200\n#### 1,200"}, "1200"),
    (
        {"problem": "q", "level": "Level 5", "type": "Algebra", "solution": "so $\\boxed{\\frac{1}{2}}$."},
        "\\frac{1}{2}",
    ),
    ({"Body": "There are 2.", "Question": "q", "Answer": "2.0"}, "2.0"),
    ({"passage": "p", "question": "q", "answers_spans": {"spans": ["5"], "types": ["number"]}}, "5"),
    ({"context": "p", "question": "q", "answers": {"text": ["five", "5"], "answer_start": [1, 2]}}, "five"),
    ({"question": "q", "answer": {"value": "Paris", "aliases": ["P"]}}, "Paris"),
    ({"question": "q", "answer": ["Paris", "P"]}, "Paris"),
    ({"input": [{"role": "user", "content": "q"}], "ideal": "B"}, "B"),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": "42"},
            ]
        },
        "42",
    ),
    ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "42"}]}, "42"),
    ({"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": "42"}}, "42"),
    ({"instruction": "q", "input": "", "output": "42"}, "42"),
    ({"question": "q", "answer": None, "answer_number": 42}, "42"),
    ({"question": "q", "final_ans": "42"}, "42"),
]


@pytest.mark.parametrize(("record", "right", "part"), KNOWN, ids=lambda value: ",".join(value)[:40])
def test_a_choice_of_a_known_set_is_read(tmp_path, record, right, part) -> None:
    (row,) = load(tmp_path, [record])
    assert row["choices"][int(row["answer"])] == right
    assert part in row["prompt"]
    assert "gold" not in row["prompt"]


@pytest.mark.parametrize(("record", "answer"), FREE, ids=lambda value: ",".join(value)[:40])
def test_a_reference_of_a_known_set_is_read(tmp_path, record, answer) -> None:
    (row,) = load(tmp_path, [record])
    assert (row["answer"], row["kind"]) == (answer, "exact")
    assert "q" in row["prompt"]


def test_numbers_count_from_where_the_file_shows(tmp_path) -> None:
    def record(i, answer, column="answer"):
        return {"question": f"q{i}?", **OPTIONS, column: answer}

    report = LoadReport()
    assert [r["answer"] for r in load(tmp_path, [record(0, 1), record(1, 4)], report=report)] == ["0", "3"]
    assert report.lines == ["the numbers of answer count from 1"]
    assert [r["answer"] for r in load(tmp_path, [record(0, "1"), record(1, "0")])] == ["1", "0"]
    report = LoadReport()
    assert [r["answer"] for r in load(tmp_path, [record(0, 1), record(1, 2)], report=report)] == ["1", "2"]
    assert "--answers-from 1" in report.lines[0]
    rows = load(tmp_path, [record(0, 1), record(1, 2)], reading=Reading(answers_from=1))
    assert [row["answer"] for row in rows] == ["0", "1"]
    with pytest.raises(InputError, match="line 2, field answer: the answer 4 is not among"):
        load(tmp_path, [record(0, 0), record(1, 4)])
    both = [record(0, "B") | {"label": 2}, record(1, "A") | {"label": 1}, record(2, None, "x") | {"label": 3}]
    assert [row["answer"] for row in load(tmp_path, both)] == ["1", "0", "2"]


def test_answers_that_contradict_each_other_are_refused_with_the_mapping(tmp_path) -> None:
    record = {"question": "q", **OPTIONS, "answer": "gold", "label": "A"}
    with pytest.raises(InputError, match=r"line 1, fields answer and label.*--columns answer=answer"):
        load(tmp_path, [record])
    (row,) = load(tmp_path, [record], reading=Reading({"answer": "label"}))
    assert row["answer"] == "0"


def test_a_mapping_reads_what_names_do_not_say(tmp_path) -> None:
    record = {"q": "Which?", "o1": "iron", "o2": "gold", "sol": "gold", "where": "roofs"}
    with pytest.raises(
        InputError, match=r"line 1, field prompt: no prompt.*--columns prompt=NAME \(there are q, o1"
    ):
        load(tmp_path, [record])
    reading = Reading({"prompt": "q", "choices": "o1+o2", "answer": "sol", "domain": "where"})
    (row,) = load(tmp_path, [record], reading=reading)
    assert (row["choices"], row["answer"], row["domain"]) == (["iron", "gold"], "1", "roofs")
    with pytest.raises(InputError, match=r"no column 'x' for the field prompt.*one of q, o1"):
        load(tmp_path, [record], reading=Reading({"prompt": "x"}))
    with pytest.raises(InputError, match=r"there is no field 'question'.*prompt, context"):
        Reading({"question": "q"})


def test_what_is_left_out_is_told_with_an_example(tmp_path) -> None:
    record = {"question": "q", **OPTIONS, "answer": "iron"}
    report = LoadReport()
    other = [record | {"answer": "gold"}, {"question": "r", **OPTIONS}]
    assert len(load(tmp_path, [record, record, record, *other], report=report)) == 3
    assert report.lines == [
        "dropped 2 (the same question, options and answer again), first: line 2 repeats line 1",
        "line 4 asks the same as line 1 with another answer; both are kept",
        "1 multiple-choice questions without an answer, first: line 5; they can be asked and judged, "
        "not graded",
    ]


@pytest.mark.parametrize(
    "unanswerable",
    [{"answers": {"text": [], "answer_start": []}}, {"answers": [], "is_impossible": True}],
)
def test_questions_that_say_they_have_no_answer_are_left_out_and_counted(tmp_path, unanswerable) -> None:
    report = LoadReport()
    records = [{"question": "q?", "context": "c", "answers": {"text": ["x"], "answer_start": [0]}}]
    records += [{"question": f"q{i}?", "context": "c", **unanswerable} for i in range(3)]
    assert [row["answer"] for row in load(tmp_path, records, report=report)] == ["x"]
    assert report.lines == [
        "dropped 3 (its text does not answer it, so no answer can be graded), first: line 2"
    ]
    with pytest.raises(InputError, match="none of its questions has an answer"):
        load(tmp_path, records[1:])


def test_what_lacks_an_answer_is_refused_with_the_mapping(tmp_path) -> None:
    with pytest.raises(InputError, match=r"--columns answer=NAME \(there are question, result\)"):
        load(tmp_path, [{"question": "q?", "result": "42"}])


def test_an_image_is_refused_by_its_place(tmp_path) -> None:
    parts = [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(InputError, match="line 1, field messages: a part of type 'image_url' is no text"):
        load(tmp_path, [{"messages": [{"role": "user", "content": parts}], "answer": "x"}])


# One set in every layout and encoding.

LAYOUTS = {
    "letters": lambda q, texts, i: {"question": q, "choices": texts, "answer": LETTERS[i]},
    "text": lambda q, texts, i: {"prompt": q, "options": texts, "target": texts[i]},
    "index": lambda q, texts, i: {"question": q, "choices": texts, "label": i},
    "from 1": lambda q, texts, i: {"question": q, "choices": texts, "gold": i + 1},
    "object": lambda q, texts, i: {
        "question": q,
        "options": dict(zip(LETTERS, texts, strict=False)),
        "answer": LETTERS[i],
    },
    "lists": lambda q, texts, i: {
        "question": q,
        "choices": {"text": texts, "label": list(LETTERS[: len(texts)])},
        "answerKey": LETTERS[i],
    },
    "pairs": lambda q, texts, i: {
        "question": q,
        "answerKey": LETTERS[i],
        "choices": [{"label": a, "text": t} for a, t in zip(LETTERS, texts, strict=False)],
    },
    "columns": lambda q, texts, i: {
        "Question": q,
        **dict(zip(LETTERS, texts, strict=False)),
        "Answer": LETTERS[i],
    },
    "opa": lambda q, texts, i: {
        "question": q,
        **{f"op{a.lower()}": t for a, t in zip(LETTERS, texts, strict=False)},
        "cop": i,
    },
    "json text": lambda q, texts, i: {"question": q, "choices": json.dumps(texts), "answer": LETTERS[i]},
    "repr": lambda q, texts, i: {"question": q, "choices": repr(texts), "answer": LETTERS[i]},
    "flags": lambda q, texts, i: {
        "question": q,
        "choices": [{"text": t, "is_correct": j == i} for j, t in enumerate(texts)],
    },
}


def jsonl(records):
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in records)


WRITERS = {
    "jsonl": jsonl,
    "blank lines, CRLF": lambda records: (
        "\r\n\r\n".join(json.dumps(r, ensure_ascii=False) for r in records) + "\r\n"
    ),
    "array": lambda records: json.dumps(records, indent=1),
    "array on a line": lambda records: json.dumps(records, ensure_ascii=False),
    "data": lambda records: json.dumps({"version": "1", "data": records}, indent=2, ensure_ascii=False),
    "data on a line": lambda records: json.dumps({"data": records}),
}
ENCODE = {
    "utf-8": lambda text: text.encode(),
    "mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "gz": lambda text: gzip.compress(text.encode()),
    "bz2": lambda text: bz2.compress(text.encode("utf-8-sig")),
    "zst": lambda text: pa.compress(text.encode(), codec="zstd", asbytes=True),
}
WORD = st.text(alphabet="abcdeéß漢\u2028'\"([", min_size=3, max_size=8).filter(
    lambda word: any(c.isalpha() for c in word) and word == word.strip()
)
SET = st.lists(
    st.tuples(WORD, st.lists(WORD, min_size=4, max_size=4, unique_by=str.casefold)),
    min_size=4,
    max_size=6,
    unique_by=lambda pair: pair[0].casefold(),
)


def wanted(made):
    return [(q, texts, str(i % 4)) for i, (q, texts) in enumerate(made)]


def read(path):
    rows = load_questions(path).to_pylist()
    return [(row["prompt"], row["choices"], row["answer"]) for row in rows]


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    SET, st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(WRITERS)), st.sampled_from(sorted(ENCODE))
)
def test_every_layout_and_encoding_gives_the_same_questions(tmp_path, made, layout, writer, encoding) -> None:
    records = [LAYOUTS[layout](q, texts, i % 4) for i, (q, texts) in enumerate(made)]
    packed = f".{encoding}" if encoding in ("gz", "bz2", "zst") else ""
    path = tmp_path / f"q.{'jsonl' if writer in ('jsonl', 'blank lines, CRLF') else 'json'}{packed}"
    path.write_bytes(ENCODE[encoding](WRITERS[writer](records)))
    assert read(path) == wanted(made)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    SET,
    st.sampled_from(["columns", "opa", "json text", "repr"]),
    st.sampled_from([",", ";", "\t"]),
    st.booleans(),
)
def test_every_table_gives_the_same_questions(tmp_path, made, layout, delimiter, mark) -> None:
    records = [LAYOUTS[layout](q, texts, i % 4) for i, (q, texts) in enumerate(made)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, records[0], delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(records)
    path = tmp_path / f"q.{'tsv' if delimiter == chr(9) else 'csv'}"
    path.write_text(stream.getvalue(), encoding="utf-8-sig" if mark else "utf-8", newline="")
    assert read(path) == wanted(made)
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "q.parquet")
    assert read(tmp_path / "q.parquet") == wanted(made)


def test_a_table_without_names_as_mmlu_has_it(tmp_path) -> None:
    (tmp_path / "q.csv").write_text('"Which, then?",iron,gold,neon,salt,B\nWhat?,1,2,3,4,D\n')
    assert read(tmp_path / "q.csv") == [
        ("Which, then?", ["iron", "gold", "neon", "salt"], "1"),
        ("What?", ["1", "2", "3", "4"], "3"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("q.csv", b"question,answer\na,b,c\n", "line 2: 3 values under 2 columns"),
        ("q.csv", b'question,answer\n"a,b\n', "malformed CSV"),
        ("q.csv", b"frage,antwort\na,b\n", r"line 2, field prompt: no prompt.*there are frage, antwort"),
        (
            "q.json",
            b'[{"question": "a", "answer": "b"},\n {"question": }]',
            "line 2: malformed JSON at column",
        ),
        (
            "q.json",
            b'[{"question": "a", "answer": "b"}, 3]',
            "line 1: str instead of an object|line 1: int instead",
        ),
        ("q.jsonl.gz", b"\x1f\x8b\x08damaged", "damaged gzip"),
        ("q.jsonl", b'{"question": "\xe9"}', "not UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_place(tmp_path, name, data, says) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        load_questions(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["1.5 million", "2.5 million"], None),
        (["1:30", "2:15", "3:00"], None),
        (["1.5", "2.5"], None),
        (["1. five", "2. six"], ["five", "six"]),
        (["(A) up", "(B) down"], ["up", "down"]),
        (["A.up", "B.down"], ["up", "down"]),
    ],
)
def test_decimals_and_times_are_no_labels(tmp_path, texts, kept) -> None:
    (row,) = load(tmp_path, [{"question": "q", "choices": texts, "answer": 0}])
    assert row["choices"] == (kept or texts)


WORDS = st.sampled_from(["A", "~A", "B", "C", "1", "2", "3", "iron", "gold", "neon"])


@given(
    st.lists(st.lists(WORDS, min_size=3, max_size=4, unique=True), min_size=1, max_size=6),
    st.sampled_from(["letter", "text"]),
    st.randoms(use_true_random=False),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_what_can_be_read_in_two_ways_is_read_as_the_column_is_written(tmp_path, rows, style, rng) -> None:
    """The first record shows the column's style; options that look like letters or numbers do not blur it."""
    rows = [["iron", "gold", "neon", "salt"], *rows]
    right = [rng.randrange(len(texts)) for texts in rows]
    records = [
        {"question": f"q{n}", "choices": texts, "answer": texts[at] if style == "text" else LETTERS[at]}
        for n, (texts, at) in enumerate(zip(rows, right, strict=True))
    ]
    found = {row["prompt"]: int(row["answer"]) for row in load(tmp_path, records)}
    assert found == {f"q{n}": at for n, at in enumerate(right)}
