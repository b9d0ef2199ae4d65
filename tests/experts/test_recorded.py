from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from experts import ExpertSpec, answer_and_grade, build_backend, read_recorded_folder
from experts.backends.recorded_backend import RecordedBackend
from warehouse import ANSWERS, QUESTIONS, InputError, conform, question_id

QUESTION_ROWS = pd.DataFrame(
    {
        "question_id": ["a/0", "a/1", "a/2", "b/0"],
        "subject": ["a", "a", "a", "b"],
        "domain": ["x", "x", "x", "y"],
        "question": ["One?", "Two?", "One?", "Free?"],
        "choices": [["p", "q"], ["r", "s", "t"], ["p", "q"], None],
        "answer": ["B", "C", "B", None],
        "prompt_tokens_0shot": [10, 20, 10, 30],
    }
)
ANSWER_ROWS = pd.DataFrame(
    {
        "question_id": ["a/0", "a/1", "a/2", "b/0", "a/2"],
        "expert": ["big", "big", "big", "big", "small"],
        "correct": [1, 0, 0, 1, 1],
        "response": ["B", "A", "A", None, None],
        "completion_chars": [None, None, None, 41.0, None],
    }
)
EXPERTS = (
    "expert,params_b,usd_per_mtok_in,usd_per_mtok_out,note\nbig,46.7 (12.9 active),2,4,\nsmall,small,1,1,\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def write(path: Path, questions=QUESTION_ROWS, answers=ANSWER_ROWS, experts=EXPERTS) -> None:
    questions.to_parquet(path / "questions.parquet")
    answers.to_parquet(path / "answers.parquet")
    (path / "experts.csv").write_text(experts)


def test_tables(folder: Path) -> None:
    questions, answers, specs = read_recorded_folder(folder)
    assert questions.schema == QUESTIONS
    assert answers.schema == ANSWERS
    assert (
        conform("answers", answers).num_rows == 4
    )  # the repeated question's second answer of big is dropped
    assert questions["question_id"].to_pylist() == [
        question_id("One?", ["p", "q"], "1"),
        question_id("Two?", ["r", "s", "t"], "2"),
        question_id("Free?", None, ""),
    ]
    assert questions["answer"].to_pylist() == ["1", "2", ""]
    assert questions["kind"].to_pylist() == ["choice", "choice", "judged"]
    assert set(questions["source"].to_pylist()) == {folder.name}
    rows = answers.to_pylist()
    assert [(r["expert"], r["score"], r["choice"]) for r in rows] == [
        ("big", 1.0, 1),
        ("big", 0.0, 0),
        ("big", 1.0, None),
        ("small", 1.0, None),
    ]
    assert [r["completion_tokens"] for r in rows] == [1, 1, 11, 1]
    assert rows[2]["cost_usd"] == pytest.approx((30 * 2 + 11 * 4) / 1e6)
    assert {r["grader"] for r in rows} == {"recorded"}
    assert {r["error"] for r in rows} == {None}
    assert [(s.name, s.backend, s.params_b) for s in specs] == [
        ("big", "recorded", 46.7),
        ("small", "recorded", None),
    ]


def test_replay_keeps_recorded_scores_and_says_what_is_missing(folder: Path) -> None:
    questions, recorded, specs = read_recorded_folder(folder)
    for spec in specs:
        rows = answer_and_grade(build_backend(spec), spec, questions, round="r1", run_id="run").to_pylist()
        truth = {r["question_id"]: r for r in recorded.to_pylist() if r["expert"] == spec.name}
        for row in rows:
            if row["question_id"] in truth:
                expected = truth[row["question_id"]]
                for name in ("score", "grader", "choice", "cost_usd", "expert_version"):
                    assert row[name] == expected[name]
            else:
                assert row["score"] is None
                assert row["cost_usd"] is None
                assert row["error"].startswith("NotRecorded: ")


def test_replay_from_a_parquet_file_of_answers(folder: Path, tmp_path: Path) -> None:
    questions, recorded, specs = read_recorded_folder(folder)
    pq.write_table(recorded.drop_columns(["latency_s"]), tmp_path / "replay.parquet")
    spec = specs[0].model_copy(update={"recording": str(tmp_path / "replay.parquet")})
    first = answer_and_grade(build_backend(spec), spec, questions, round="r", run_id="r")
    second = answer_and_grade(RecordedBackend(spec, answers=recorded), spec, questions, round="r", run_id="r")
    assert first.drop_columns(["created_at"]) == second.drop_columns(["created_at"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"questions": QUESTION_ROWS.drop(columns="domain")}, r"questions\.parquet.*'domain'|'domain'.*"),
        ({"questions": QUESTION_ROWS.assign(answer=["B", "D", "B", None])}, "column answer, row 2"),
        ({"questions": QUESTION_ROWS.assign(question_id="a")}, "'a' is there twice"),
        ({"questions": QUESTION_ROWS.assign(question=["One?", None, "One?", "F"])}, "column question, row 2"),
        ({"answers": ANSWER_ROWS.drop(columns="correct")}, "'correct' is missing"),
        ({"answers": ANSWER_ROWS.assign(correct=[1, 0, 2, 0, 1])}, "column correct, row 3"),
        ({"answers": ANSWER_ROWS.assign(expert="unknown")}, "column expert, row 1"),
        ({"answers": ANSWER_ROWS.iloc[:0]}, "no rows"),
        ({"experts": "expert,usd_per_mtok_in\nbig,1\n"}, "'usd_per_mtok_out' is missing"),
        ({"experts": EXPERTS + "big,1,1,1,\n"}, "line 4.*listed twice"),
        ({"experts": EXPERTS.replace(",2,4,", ",-2,4,")}, "line 2"),
        ({"experts": EXPERTS.replace(",2,4,", ",cheap,4,")}, "line 2"),
        ({"questions": QUESTION_ROWS.assign(subject=[1, 2, 3, 4])}, "column subject, row 1"),
        ({"questions": QUESTION_ROWS.assign(question=[1, 2, 3, 4])}, "column question, row 1"),
        ({"questions": QUESTION_ROWS.assign(choices=[[1, 2], [3, 4], None, None])}, "column choices, row 1"),
        (
            {"questions": QUESTION_ROWS.assign(prompt_tokens_0shot=[1, -2, 3, 4])},
            "column prompt_tokens_0shot, row 2",
        ),
        ({"answers": ANSWER_ROWS.assign(completion_chars="many")}, "column completion_chars, row 1"),
        ({"answers": ANSWER_ROWS.assign(response=[1, 2, 3, 4, 5])}, "column response, row 1"),
        ({"answers": ANSWER_ROWS.assign(question_id="elsewhere")}, "no question_id is one of"),
    ],
)
def test_bad_folders_are_refused(tmp_path: Path, change: dict, says: str) -> None:
    write(tmp_path, **change)
    with pytest.raises(InputError, match=says):
        read_recorded_folder(tmp_path)


def test_the_list_of_experts_is_utf_8_with_or_without_a_mark(folder: Path) -> None:
    (folder / "experts.csv").write_text(EXPERTS, encoding="utf-8-sig")
    assert [spec.name for spec in read_recorded_folder(folder)[2]] == ["big", "small"]
    (folder / "experts.csv").write_text(EXPERTS + "modèle,1,1,1,\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"experts\.csv: not CSV in UTF-8"):
        read_recorded_folder(folder)


def test_ids_may_be_numbers_in_one_file_and_text_in_the_other(tmp_path: Path) -> None:
    numbers = {"a/0": "0", "a/1": "1", "a/2": "2", "b/0": "3"}
    answers = ANSWER_ROWS.assign(question_id=ANSWER_ROWS["question_id"].map(numbers).astype(int))
    write(tmp_path, QUESTION_ROWS.assign(question_id=QUESTION_ROWS["question_id"].map(numbers)), answers)
    assert read_recorded_folder(tmp_path)[1].num_rows == 4


def test_a_missing_count_of_tokens_is_estimated(tmp_path: Path) -> None:
    write(tmp_path, QUESTION_ROWS.assign(prompt_tokens_0shot=[10, None, 10, 30]))
    rows = read_recorded_folder(tmp_path)[1].to_pylist()
    assert [row["prompt_tokens"] for row in rows if row["expert"] == "big"] == [10, 1, 30]


def test_absent_or_foreign_files_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_recorded_folder(folder / "none")
    (folder / "answers.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"answers\.parquet: not a Parquet file"):
        read_recorded_folder(folder)


def test_an_expert_without_recording_is_refused(folder: Path) -> None:
    spec = read_recorded_folder(folder)[2][0]
    for change in ({"recording": None}, {"recording": str(folder / "none")}, {"name": "other"}):
        with pytest.raises(InputError):
            RecordedBackend(ExpertSpec.model_validate(spec.model_dump() | change))


COSTS = ANSWER_ROWS.assign(
    cost_usd=[0.25, None, 0.5, 0.75, None],
    prompt_tokens=[100, None, 300, 400, 500],
    output_tokens=[7, None, 8, 9, 10],
    latency_ms=[1500, None, 10, 20, 30],
    notes="seen",
)


def test_what_each_answer_cost_and_took_is_read(tmp_path: Path) -> None:
    write(tmp_path, answers=COSTS)
    notes: list[str] = []
    questions, answers, specs = read_recorded_folder(tmp_path, notes=notes)
    rows = answers.to_pylist()
    assert [row["cost_usd"] for row in rows] == pytest.approx([0.25, (20 * 2 + 4) / 1e6, 0.75, 510 / 1e6])
    assert [row["prompt_tokens"] for row in rows] == [100, 20, 400, 500]
    assert [row["completion_tokens"] for row in rows] == [7, 1, 9, 10]
    assert [row["latency_s"] for row in rows] == pytest.approx([1.5, None, 0.02, 0.03])
    # A bill that was recorded is replayed, whatever the catalogue's price now is; estimates are priced anew.
    spec = specs[0].model_copy(
        update={"prices": (specs[0].price.model_copy(update={"usd_per_mtok_in": 4.0}),)}
    )
    replayed = answer_and_grade(build_backend(spec), spec, questions, round="r", run_id="r").to_pylist()
    assert [row["cost_usd"] for row in replayed] == pytest.approx([0.25, (20 * 4 + 4) / 1e6, 0.75])
    assert [row["latency_s"] for row in replayed] == pytest.approx([1.5, None, 0.02])
    assert notes == [
        "questions.parquet: dropped 1 (the same question again; its answers count for the first), first: "
        "row 3 repeats row 1",
        "experts.csv: not read: note; read are expert, usd_per_mtok_in, usd_per_mtok_out, params_b",
        notes[2],
        "answers.parquet: dropped 1 (another answer of one expert to a question), first: row 3",
    ]
    assert notes[2].startswith(
        "answers.parquet: not read: notes; read are question_id, expert, correct, response"
    )


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("cost_usd", [0.1, -1.0, 0, 0, 0], "column cost_usd, row 2"),
        ("cost_usd", ["free", "1", "1", "1", "1"], "'free' is no amount.*|column cost_usd, row 1"),
        ("completion_tokens", [1, 2, 3, 4, float("inf")], "column completion_tokens, row 5"),
        ("latency_s", [1, 2, -3, 4, 5], "column latency_s, row 3"),
    ],
)
def test_absurd_costs_are_refused_by_their_place(
    tmp_path: Path, column: str, values: list, says: str
) -> None:
    write(tmp_path, answers=ANSWER_ROWS.assign(**{column: values}))
    with pytest.raises(InputError, match=says):
        read_recorded_folder(tmp_path)


@pytest.mark.parametrize(
    ("choices", "answers"),
    [
        ([str(["p", "q"]), str(["r", "s", "t"]), str(["p", "q"]), None], ["B", "C", "B", None]),
        (['["p", "q"]', '["r", "s", "t"]', '["p", "q"]', None], ["q", "t", "q", None]),
        (["['p' 'q']", "['r' 's'\n 't']", "['p' 'q']", None], ["1", "2", "1", None]),
        (
            [
                {"text": ["p", "q"], "label": ["A", "B"]},
                {"text": ["r", "s", "t"], "label": ["A", "B", "C"]},
                {"text": ["p", "q"], "label": ["A", "B"]},
                None,
            ],
            ["B", "C", "B", None],
        ),
        (
            [
                [{"label": "A", "text": "p"}, {"label": "B", "text": "q"}],
                [{"label": "A", "text": "r"}, {"label": "B", "text": "s"}, {"label": "C", "text": "t"}],
                [{"label": "A", "text": "p"}, {"label": "B", "text": "q"}],
                None,
            ],
            ["B", "C", "B", None],
        ),
    ],
)
def test_choices_may_be_text_or_structs(folder: Path, tmp_path: Path, choices: list, answers: list) -> None:
    plain = read_recorded_folder(folder)[0]["question_id"].to_pylist()
    write(tmp_path, questions=QUESTION_ROWS.assign(choices=choices, answer=answers))
    assert read_recorded_folder(tmp_path)[0]["question_id"].to_pylist() == plain


def test_what_was_asked_with_equal_or_blank_options_can_be_studied(folder: Path, tmp_path: Path) -> None:
    """Benchmarks hold such questions; they would not be asked so, but their outcomes are as good as any."""
    write(
        tmp_path,
        questions=QUESTION_ROWS.assign(
            choices=[["p", "p"], ["r", " ", "t"], ["p"], None], answer=["B", "C", "A", None]
        ),
    )
    questions, answers, _ = read_recorded_folder(tmp_path)
    assert questions.num_rows == 4
    assert questions["answer"].to_pylist()[:3] == ["1", "2", "0"]
    assert answers.num_rows == read_recorded_folder(folder)[1].num_rows


def test_an_answer_that_is_a_letter_and_an_option_is_read_as_the_others_of_its_column(tmp_path: Path) -> None:
    write(
        tmp_path,
        questions=QUESTION_ROWS.assign(
            choices=[["A", "~A", "B", "~B"], ["r", "s", "t"], ["p", "q"], None], answer=["B", "C", "B", None]
        ),
    )
    assert read_recorded_folder(tmp_path)[0]["answer"].to_pylist()[:3] == ["1", "2", "1"]
    texts = [["A", "~A", "B", "~B"], ["r", "s", "t"], ["p", "q"], None]
    write(tmp_path, questions=QUESTION_ROWS.assign(choices=texts, answer=["B", "s", "q", None]))
    assert read_recorded_folder(tmp_path)[0]["answer"].to_pylist()[:3] == ["2", "1", "1"]
