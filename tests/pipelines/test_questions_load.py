"""Questions from files, folders and the hub: what loads, and what a person is told when it does not."""

import json
import logging
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.questions import load_questions, make_questions
from pipelines.questions.loading.columns import NAMES
from warehouse import QUESTIONS, InputError

GOOD = {"question": "2 + 2?", "choices": ["3", "4", "5"], "answer": "B", "domain": "sums"}


def _write(path, *records):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records), encoding="utf-8")
    return path


def test_a_jsonl_file_loads_in_every_way_to_write_it(tmp_path):
    path = _write(
        tmp_path / "mine.jsonl",
        GOOD,
        "",
        {"prompt": "Capital of France?", "options": ["Rome", "Paris"], "answer": 1, "subject": "capitals"},
        {"prompt": "Capital of Italy?", "choices": ["Rome", "Paris"], "answer": "rome", "difficulty": 2},
        {"prompt": "Say hello.", "answer": "hello"},
        {"prompt": "Write a poem.", "answer": "any", "kind": "judged"},
        {"prompt": "1+1", "answer": "2", "verifier": {"name": "reasoning_gym:chain_sum", "payload": {}}},
    )
    table = load_questions(path, round="r007")
    assert table.schema == QUESTIONS
    rows = table.to_pylist()
    assert [row["answer"] for row in rows] == ["1", "1", "0", "hello", "any", "2"]
    assert [row["kind"] for row in rows] == ["choice"] * 3 + ["exact", "judged", "verified"]
    assert [row["domain"] for row in rows] == ["sums", "capitals", "general", "general", "general", "general"]
    assert {(row["source"], row["round"]) for row in rows} == {("mine", "r007")}


def test_a_number_among_numbers_is_the_option_and_not_its_place(tmp_path):
    path = _write(
        tmp_path / "q.jsonl",
        {"prompt": "1 + 2?", "choices": [2, 4, 3, 1], "answer": 3},
        {"prompt": "1 + 3?", "choices": [2.5, 4, 3], "answer": 4.0},
        {"prompt": "1 + 1?", "choices": [2, 4, 3, 5], "answer": 0},  # is no option, so it is a place
        {"prompt": "2 + 2?", "choices": ["2", "4", "3", "1"], "answer": 1},  # as MMLU has it: a place
        {"prompt": "3 + 1?", "choices": {"text": ["4", "5"], "label": None}, "answer": 0},
    )
    assert load_questions(path)["answer"].to_pylist() == ["2", "1", "0", "1", "0"]


def test_what_no_reference_answers_needs_none(tmp_path):
    verifier = {"name": "reasoning_gym:chain_sum", "payload": {}}
    path = _write(
        tmp_path / "q.jsonl",
        {"prompt": "Write a poem.", "kind": "judged"},
        {"prompt": "1 + 1?", "verifier": verifier},
    )
    assert [(row["kind"], row["answer"]) for row in load_questions(path).to_pylist()] == [
        ("judged", ""),
        ("verified", ""),
    ]


def test_exact_duplicates_are_kept_once(tmp_path):
    path = _write(tmp_path / "q.jsonl", GOOD, {**GOOD, "answer": "4"}, {**GOOD, "answer": "5"})
    assert load_questions(path)["answer"].to_pylist() == ["1", "2"]


def test_made_questions_survive_parquet_and_json(tmp_path):
    made = make_questions(["arithmetic", "strings", "geography"], per_domain=20).drop_columns(["created_at"])
    pq.write_table(made, tmp_path / "q.parquet")
    _write(tmp_path / "q.jsonl", *made.to_pylist())
    for name in ("q.parquet", "q.jsonl"):
        back = load_questions(tmp_path / name).drop_columns(["created_at"])
        assert back.equals(made)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ('{"question": "x", ', r"line 2: malformed JSON at column"),
        ("[1, 2]", r"line 2: list instead of an object"),
        ({"choices": ["a", "b"], "answer": 0}, r"line 2, field prompt: no prompt"),
        ({"question": "  ", "answer": "x"}, r"line 2, field question: prompt is blank"),
        ({"question": 5, "answer": "x"}, r"line 2, field question: prompt is int"),
        ({"question": "x"}, r"line 2, field answer: no answer"),
        ({"question": "x", "choices": ["a", "b"], "answer": "c"}, r"'c' is not among the 2 choices.*A to B"),
        ({"question": "x", "choices": ["a", "b"], "answer": 3}, r"3 is not among the 2 choices"),
        ({"question": "x", "choices": ["a", "b"], "answer": True}, r"the answer is bool"),
        (
            {"question": "x", "choices": ["a", "b", "a "], "answer": 0},
            r"field choices: duplicated choice 'a '",
        ),
        ({"question": "x", "choices": ["a"], "answer": 0}, r"field choices: one choice only"),
        ({"question": "x", "choices": ["a", " "], "answer": 0}, r"field choices: a choice is blank"),
        ({"question": "x", "choices": "ab", "answer": 0}, r"field choices: choices are not a list"),
        ({"question": "x", "answer": "y", "kind": "essay"}, r"field kind: unknown kind 'essay'.*use choice"),
        ({"question": "x", "answer": "y", "kind": "choice"}, r"field choices: a choice question without"),
        ({"question": "x", "answer": "y", "kind": "verified"}, r"field verifier: .* without a verifier"),
        ({"question": "x", "answer": "y", "verifier": "{"}, r"field verifier: the verifier is not JSON"),
        ({"question": "x", "answer": "y", "verifier": {"payload": 1}}, r"names no checker"),
        ({"question": "x", "answer": "y", "difficulty": "hard"}, r"field difficulty: difficulty 'hard'"),
        (
            {"question": "x", "choices": ["a", "b"], "answer": 0, "kind": "exact"},
            r"choices on a question of kind",
        ),
        ({"question": "x", "choices": ["a", True], "answer": "a"}, r"field choices: choices are not a list"),
        ({"question": "x", "choices": ["a", float("nan")], "answer": "a"}, r"choices are not a list"),
        ({"question": "x", "choices": list(map(str, range(30))), "answer": "yes"}, r"30 choices.*A to Z"),
        ({"question": "x", "choices": [2, 4], "answer": 3}, r"3 is not among the 2 choices"),
        ({"question": "x", "choices": ["a", "b"], "answer": 10**400}, r"is not among the 2 choices"),
        ({"question": "x", "answer": float("inf")}, r"the answer is float"),
        ({"question": "x", "answer": "y", "difficulty": float("inf")}, r"difficulty inf is not a level"),
        ({"question": "x", "answer": "y", "difficulty": 3_000_000_000}, r"difficulty 3000000000 is not"),
        ('{"question": "x", "answer": %s}' % ("9" * 5000), r"line 2: JSON that cannot be read"),
        ("[" * 100_000, r"line 2: JSON that cannot be read"),
        ({"question": "x \ud83d", "answer": "y"}, r"line 2: half of a surrogate pair \('\\ud83d'\)"),
        ({"question": "x", "answer": "y", "source": "\udc00"}, r"line 2: half of a surrogate pair"),
        (
            {"question": "x", "answer": "y", "verifier": '{"name": "n", "payload": "\\ud83d"}'},
            r"line 2: half of a surrogate pair",
        ),
        ({"question": "x", "choice": ["a", "b"], "answer": "a"}, r"field choice: .*call it 'choices'"),
        ({"question": "x", "option_a": "a", "answer": "a"}, r"field option_a: .*call it 'options'"),
        ({"question": "x", "answers": "y"}, r"field answers: .*no answer is given.*call it 'answer'"),
        ({"Questions": "x", "answer": "y"}, r"field Questions: .*call it 'question'"),
        ({"question": "x", "answer": "y", "dificulty": 1}, r"field dificulty: .*call it 'difficulty'"),
    ],
)
def test_a_wrong_line_is_named_with_its_field(tmp_path, bad, says):
    path = _write(tmp_path / "mine.jsonl", GOOD, bad)
    with pytest.raises(InputError, match=says) as caught:
        load_questions(path)
    assert str(path) in str(caught.value)
    assert "To fix it:" in str(caught.value)


def test_the_formats_are_described_as_they_are_read(tmp_path):
    described = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    example = described.split("```jsonl\n")[1].split("```")[0]
    rows = load_questions(_write(tmp_path / "mine.jsonl", *example.splitlines())).to_pylist()
    assert [row["answer"] for row in rows[:4]] == ["1", "1", "0", "144"]
    assert [row["kind"] for row in rows] == ["choice"] * 3 + ["exact", "verified", "judged"]
    table = described.split("```\n\n| field |")[1].split("\n\n")[0]  # the table after the example
    listed = [re.findall(r"`(\w+)`", "|".join(line.split("|")[1:3])) for line in table.splitlines()[2:]]
    assert {names[0]: tuple(names) for names in listed} == NAMES


def test_columns_that_are_not_read_are_named_once(tmp_path, caplog):
    mine = GOOD | {"answer_index": 1, "rationale": "because", "answers": ["4"], "source_id": 7, "id": 1}
    path = _write(tmp_path / "mine.jsonl", mine, mine | {"question": "3 + 1?", "choice": None}, GOOD)
    with caplog.at_level(logging.WARNING):
        assert load_questions(path).num_rows == 2
    assert caplog.messages == [
        f"{path}: not read: rationale (nearest: article), answers (nearest: answer), "
        "source_id (nearest: source)",
        f"{path}: dropped 1 (the same question, options and answer again), first: line 3 repeats line 1",
    ]


def test_a_wrong_row_of_parquet_is_named(tmp_path):
    pq.write_table(pa.Table.from_pylist([GOOD, {**GOOD, "answer": "?"}]), tmp_path / "q.parquet")
    with pytest.raises(InputError, match=r"q\.parquet, row 1, field answer: .* not among"):
        load_questions(tmp_path / "q.parquet")


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="neither a file, a folder nor a known set"):
        load_questions(tmp_path / "nothing")
    with pytest.raises(InputError, match="no such file"):
        load_questions(tmp_path / "nothing.jsonl")
    with pytest.raises(InputError, match="no question in it"):
        load_questions(_write(tmp_path / "empty.jsonl", ""))
    with pytest.raises(InputError, match="not a readable Parquet file"):
        load_questions(_write(tmp_path / "fake.parquet", "hello"))
    with pytest.raises(InputError, match=r"cannot read \.xlsx"):
        load_questions(_write(tmp_path / "q.xlsx", "a,b"))
    (tmp_path / "latin.jsonl").write_bytes('{"question": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load_questions(tmp_path / "latin.jsonl")
    with pytest.raises(InputError, match="limit is 0"):
        load_questions(_write(tmp_path / "good.jsonl", GOOD), limit=0)


@pytest.fixture
def mmlu(tmp_path):
    """A folder laid out as MMLU: one configuration per subject, the answer an index."""
    for subject in ("anatomy", "law"):
        rows = [
            {
                "question": f"{subject} {i}?",
                "subject": subject,
                "choices": ["w", "x", "y", "z"],
                "answer": i % 4,
            }
            for i in range(6)
        ]
        (tmp_path / "mmlu" / subject).mkdir(parents=True)
        pq.write_table(
            pa.Table.from_pylist(rows), tmp_path / "mmlu" / subject / "test-00000-of-00001.parquet"
        )
    return tmp_path / "mmlu"


def test_a_folder_laid_out_as_mmlu(mmlu):
    table = load_questions(mmlu)
    assert table.num_rows == 12
    assert table["domain"].to_pylist() == ["anatomy"] * 6 + ["law"] * 6
    assert table["answer"].to_pylist() == ["0", "1", "2", "3", "0", "1"] * 2
    assert set(load_questions(mmlu, configs=["law"])["subject"].to_pylist()) == {"law"}
    drawn = load_questions(mmlu, limit=5, seed=1)
    assert drawn.num_rows == 5
    assert (
        drawn["question_id"].to_pylist() == load_questions(mmlu, limit=5, seed=1)["question_id"].to_pylist()
    )
    with pytest.raises(InputError, match=r"no 'test' split of chess.*anatomy, law"):
        load_questions(mmlu, configs=["chess"])
    with pytest.raises(InputError, match="no 'dev' split"):
        load_questions(mmlu, split="dev")


def test_rows_that_are_no_question_are_skipped_and_counted(mmlu, caplog):
    (mmlu / "odd").mkdir()
    rows = [
        {"question": "?", "choices": ["a", "a"], "answer": 0},
        {"question": "!", "choices": ["a", "b"], "answer": 1},
    ]
    pq.write_table(pa.Table.from_pylist(rows), mmlu / "odd" / "test-00000-of-00001.parquet")
    with caplog.at_level(logging.WARNING):
        assert load_questions(mmlu).num_rows == 13
    assert "skipped 1 rows" in caplog.text
    pq.write_table(pa.Table.from_pylist(rows[:1]), mmlu / "odd" / "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match="duplicated choice"):
        load_questions(mmlu, configs=["odd"])


def test_folders_laid_out_as_arc_and_gsm8k(tmp_path):
    arc = [
        {
            "id": "1",
            "question": "Ice is?",
            "choices": {"text": ["hot", "cold"], "label": ["A", "B"]},
            "answerKey": "B",
        },
        {
            "id": "2",
            "question": "1 + 1?",
            "choices": {"text": ["2", "3"], "label": ["1", "2"]},
            "answerKey": "2",
        },
    ]
    (tmp_path / "arc" / "ARC-Easy").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(arc), tmp_path / "arc" / "ARC-Easy" / "test-00000-of-00001.parquet")
    assert load_questions(tmp_path / "arc")["answer"].to_pylist() == ["1", "1"]
    gsm = [
        {"question": "Tom has 3 bags of 400. How many?", "answer": "3 * 400 = <<3*400=1200>>1200\n#### 1,200"}
    ]
    (tmp_path / "gsm" / "main").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(gsm), tmp_path / "gsm" / "main" / "test-00000-of-00001.parquet")
    (row,) = load_questions(tmp_path / "gsm", domain="mathematics").to_pylist()
    assert (row["answer"], row["kind"], row["domain"]) == ("1200", "exact", "mathematics")


def _folder(path, config, split, *rows):
    (path / config).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path / config / f"{split}-00000-of-00001.parquet")
    return path


def test_a_folder_laid_out_as_openbookqa(tmp_path):
    folder = _folder(
        tmp_path / "openbookqa",
        "main",
        "test",
        {
            "id": "8-343",
            "question_stem": "Frilled sharks live",
            "choices": {"text": ["deep", "high", "dry", "hot"], "label": ["A", "B", "C", "D"]},
            "answerKey": "A",
        },
    )
    (row,) = load_questions(folder).to_pylist()
    assert (row["prompt"], row["choices"][int(row["answer"])]) == ("Frilled sharks live", "deep")
    assert row["kind"] == "choice"


def test_a_folder_laid_out_as_race(tmp_path):
    row = {"example_id": "high1.txt", "article": "Bo has a cat.", "answer": "D", "question": "What has Bo?",
           "options": ["A dog", "A hen", "A cow", "A cat"]}  # fmt: skip
    folder = _folder(
        tmp_path / "race", "high", "test", row, row | {"question": "Who has a cat?", "answer": "A"}
    )
    _folder(folder, "middle", "test", row | {"question": "Whose is the cat?", "answer": "B"})
    first, *others = load_questions(folder, domain="reading").to_pylist()
    assert first["prompt"] == "Bo has a cat.\n\nWhat has Bo?"
    assert first["choices"][int(first["answer"])] == "A cat"
    assert [(row["subject"], row["domain"]) for row in others] == [("high", "reading"), ("middle", "reading")]


def test_a_folder_laid_out_as_truthfulqa_does_not_give_the_answer_away_by_its_place(tmp_path):
    rows = [
        {
            "question": f"Is {i} a magic number?",
            "mc1_targets": {"choices": ["No", "Yes", "Perhaps", "At night"], "labels": [1, 0, 0, 0]},
            "mc2_targets": {"choices": ["No", "Yes"], "labels": [1, 0]},
        }
        for i in range(40)
    ]
    folder = _folder(tmp_path / "truthful_qa", "multiple_choice", "validation", *rows)
    loaded = load_questions(folder).to_pylist()  # it has no test split
    assert all(row["choices"][int(row["answer"])] == "No" for row in loaded)
    assert {row["answer"] for row in loaded} == {"0", "1", "2", "3"}
    assert load_questions(folder)["question_id"].to_pylist() == [row["question_id"] for row in loaded]


def test_a_hub_that_cannot_be_had_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"cais/mmlu at c30699e.*cannot be fetched.*load a local copy"):
        load_questions("cais/mmlu")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="hub client is missing"):
        load_questions("cais/mmlu")
