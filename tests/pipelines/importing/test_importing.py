"""Answers from other programs' files: read whole or not at all, each fault named, nothing twice."""

from __future__ import annotations

import csv
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from experts import ExpertSpec
from pipelines.cli import app
from pipelines.commands.data.imports import short_names
from pipelines.importing.base import ImportOptions
from pipelines.importing.exporting import read_export, write_export
from pipelines.importing.plan import ImportPlan, plan_import, write_import
from pipelines.importing.registry import IMPORTERS
from warehouse import CannotRunError, InputError, NotReadyError, Warehouse, load_outcomes

KINDS = {kind.name: kind for kind in IMPORTERS}
ANN = ExpertSpec.model_validate(
    {
        **{"name": "ann", "backend": "openai", "model": "m"},
        "price": [
            {"usd_per_mtok_in": 1, "usd_per_mtok_out": 2, "usd_per_mtok_cached_in": 0.5, "batch_factor": 0.5},
            {"since": "2026-05-01", "usd_per_mtok_in": 10, "usd_per_mtok_out": 20},
        ],
    }
)


def lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def plan(
    kind: str, *paths: Path, home: Path, names: dict[str, str] | None = None, **options: Any
) -> ImportPlan:
    warehouse = Warehouse(home / "warehouse")
    return plan_import(
        KINDS[kind],
        paths,
        ImportOptions(**options),
        warehouse,
        round="imported",
        specs={"ann": ANN},
        names=names,
    )


def rows_of(made: ImportPlan) -> list[dict[str, Any]]:
    assert made.notes.faults == []
    questions = {row["question_id"]: row for row in made.questions.to_pylist()}
    answers = [row for table in made.answers.values() for row in table.to_pylist()]
    return [{"q": questions[row["question_id"]], **row} for row in answers]


# lm-evaluation-harness, as 0.4 writes it


def sample(number: int, *, right: bool, told: str = "acc") -> dict[str, Any]:
    options = ["Rome", "Paris", "Oslo"]
    likely = [-9.0, -9.0, -9.0]
    likely[1 if right else 2] = -1.0
    return {
        "doc_id": number,
        "doc": {"question": f"Capital of France, {number}?", "choices": options, "answer": 1},
        "target": "1",
        "arguments": {
            f"gen_args_{i}": {
                "arg_0": f"Question: Capital of France, {number}?\nAnswer:",
                "arg_1": f" {option}",
            }
            for i, option in enumerate(options)
        },
        "resps": [[[str(x), "False"]] for x in likely],
        "filtered_resps": [[str(x), "False"] for x in likely],
        "filter": "none",
        "metrics": [told, "acc_norm"],
        told: float(right),
        "acc_norm": 1.0,
    }


def sum_(number: int, reply: str, score: float, filter: str = "strict") -> dict[str, Any]:
    return {
        "doc_id": number,
        "doc": {"question": f"{number} + 1?", "answer": str(number + 1)},
        "target": str(number + 1),
        "arguments": {"gen_args_0": {"arg_0": f"Q: {number} + 1?\nA:", "arg_1": {"until": ["\n"]}}},
        "resps": [[reply]],
        "filtered_resps": [reply.strip()],
        "filter": filter,
        "metrics": ["exact_match"],
        "exact_match": score,
    }


def lm_eval_folder(folder: Path) -> Path:
    time = "2026-03-01T10-00-00.123456"
    own = folder / "some__model"
    lines(own / f"samples_capitals_{time}.jsonl", [sample(i, right=i % 2 == 0) for i in range(4)])
    sums = [sum_(i, f" {i + 1}", 1.0, name) for name in ("strict", "flexible") for i in range(3)]
    lines(own / f"samples_sums_{time}.jsonl", sums)
    (own / f"results_{time}.json").write_text(json.dumps({"model_name": "some/model"}))
    return folder


def test_paths_are_told_once_and_shown_by_their_last_parts():
    paths = ["pretrained=/models/a/SmolLM2,dtype=auto", "/models/b/gemma/", "org/model", "plain"]
    assert list(short_names(paths).values()) == ["SmolLM2,dtype=auto", "gemma", "org/model", "plain"]
    twins = ["/models/a/x", "/models/b/x", "x"]
    assert list(short_names(twins).values()) == twins


def test_sample_logs_of_a_folder(tmp_path: Path) -> None:
    made = plan("lm-eval", lm_eval_folder(tmp_path / "out"), home=tmp_path, names={"some/model": "ann"})
    rows = rows_of(made)
    choice = [row for row in rows if row["q"]["kind"] == "choice"]
    assert [row["score"] for row in choice] == [1, 0, 1, 0]
    assert [row["choice"] for row in choice] == [1, 2, 1, 2]
    assert [row["text"] for row in choice] == ["Paris", "Oslo", "Paris", "Oslo"]
    assert choice[0]["q"]["prompt"] == "Capital of France, 0?"  # the record's, not what stands around it
    assert (choice[0]["q"]["answer"], choice[0]["q"]["source"]) == ("1", "capitals")
    free = [row for row in rows if row["q"]["kind"] == "exact"]
    assert [row["text"] for row in free] == [" 1", " 2", " 3"]
    assert [row["q"]["answer"] for row in free] == ["1", "2", "3"]
    assert {row["expert_version"] for row in rows} == {ANN.version}
    assert {row["grader"] for row in rows} == {"lm-eval:acc", "lm-eval:exact_match"}
    assert all(row["cost_usd"] > 0 for row in rows)
    assert any("'flexible' are passed over" in told for told in made.notes.told)


def test_what_a_model_was_given_where_its_records_cannot_be_read(tmp_path: Path) -> None:
    odd = [sample(i, right=True) | {"doc": {"ctx": "x", "gold": 1}} for i in range(2)]
    made = plan("lm-eval", lines(tmp_path / "samples_odd.jsonl", odd), home=tmp_path)
    rows = rows_of(made)
    assert rows[0]["q"]["prompt"].startswith("Question: Capital of France, 0?")
    assert rows[0]["q"]["choices"] == ["Rome", "Paris", "Oslo"]
    assert rows[0]["q"]["answer"] == "1"
    assert any("what the model was given" in told for told in made.notes.told)
    # Records whose right option is another than the model's are not the questions that it was asked.
    turned = [sample(i, right=True) | {"target": "0"} for i in range(2)]
    rows = rows_of(plan("lm-eval", lines(tmp_path / "samples_turned.jsonl", turned), home=tmp_path))
    assert {row["q"]["answer"] for row in rows} == {"0"}


def test_a_path_that_ends_in_an_experts_name_is_that_expert(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [GOOD | {"model": name} for name in ("/models/ann", "/models/bob")])
    assert {row["expert"] for row in rows_of(plan("table", path, home=tmp_path))} == {"ann", "/models/bob"}


def test_a_metric_is_named_or_the_first_that_is_a_share(tmp_path: Path) -> None:
    path = lines(tmp_path / "samples_a.jsonl", [sample(i, right=False) | {"acc": 2.5} for i in range(2)])
    assert {row["score"] for row in rows_of(plan("lm-eval", path, home=tmp_path))} == {1.0}
    assert {row["grader"] for row in rows_of(plan("lm-eval", path, home=tmp_path))} == {"lm-eval:acc_norm"}
    faults = plan("lm-eval", path, home=tmp_path, metric="acc").notes.faults
    assert len(faults) == 2
    assert "line 2" in str(faults[1])
    assert "2.5 is not from 0 to 1" in str(faults[1])
    assert "acc, acc_norm" in str(plan("lm-eval", path, home=tmp_path, metric="bleu").notes.faults[0])


# Batches


def batch(folder: Path, count: int = 3) -> tuple[Path, Path]:
    asked = [
        {
            **{"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions"},
            "body": {"model": "gpt", "messages": [{"role": "user", "content": f"{i} + 1?"}]},
        }
        for i in range(count)
    ]
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
    body = {"model": "gpt", "created": 1_767_225_600, "usage": usage}  # 2026-01-01
    out = [
        {
            "custom_id": f"r{i}",
            "response": {
                "status_code": 200,
                "body": body | {"choices": [{"message": {"content": f"It is {i + 1}."}}]},
            },
            "error": None,
        }
        for i in reversed(range(count))
    ]
    return lines(folder / "asked.jsonl", asked), lines(folder / "out.jsonl", out)


def test_a_batch_is_graded_by_the_questions_and_priced_as_a_batch_of_its_time(tmp_path: Path) -> None:
    asked, out = batch(tmp_path)
    right = [{"id": f"r{i}", "prompt": f"{i} + 1?", "answer": str(i + 1 + (i == 2))} for i in range(3)]
    questions = lines(tmp_path / "sums.jsonl", right)
    made = plan("openai-batch", out, home=tmp_path, requests=asked, questions=questions, names={"gpt": "ann"})
    rows = sorted(rows_of(made), key=lambda row: row["q"]["prompt"])
    assert [row["score"] for row in rows] == [1, 1, 0]
    assert rows[0]["cost_usd"] == pytest.approx((60 * 1 + 40 * 0.5 + 10 * 2) / 1e6 * 0.5)
    assert rows[0]["grader"].startswith("numeric@")
    ungraded = rows_of(plan("openai-batch", out, home=tmp_path, requests=asked))
    assert {row["q"]["kind"] for row in ungraded} == {"judged"}
    assert {row["score"] for row in ungraded} == {None}


def test_faults_of_a_batch(tmp_path: Path) -> None:
    asked, out = batch(tmp_path)
    with out.open("a") as stream:
        stream.write(json.dumps({"custom_id": "r0", "response": {"status_code": 500, "body": {}}}) + "\n")
    made = plan("openai-batch", out, home=tmp_path, requests=asked)
    assert made.notes.passed_over["the request failed"][0] == 1
    lines(asked, [json.loads(line) for line in asked.read_text().splitlines()][:2])
    made = plan("openai-batch", out, home=tmp_path, requests=asked)
    assert ["r2" in str(fault) and "line 1" in str(fault) for fault in made.notes.faults] == [True]
    assert "--requests" in str(plan("openai-batch", out, home=tmp_path).notes.faults[0])


# A gateway's spend logs


def test_spend_logs(tmp_path: Path) -> None:
    call = {
        **{
            "request_id": "a",
            "spend": 0.002,
            "model": "openai/gpt",
            "model_group": "gpt",
            "cache_hit": "False",
        },
        **{"prompt_tokens": 12, "completion_tokens": 3, "startTime": "2026-01-01T00:00:00Z"},
        "endTime": "2026-01-01T00:00:01.500Z",
        "messages": json.dumps([{"role": "user", "content": "2 + 2?"}]),
        "response": {"choices": [{"message": {"content": "4"}}]},
    }
    other = {**call, "request_id": "b", "messages": {}}
    other["proxy_server_request"] = json.dumps({"messages": [{"role": "user", "content": "3 + 3?"}]})
    bare = {**call, "request_id": "c", "messages": {}, "response": {}}
    cached = {**call, "request_id": "d", "cache_hit": "True", "spend": 0.0}
    path = lines(tmp_path / "spend.jsonl", [call, other, bare, cached])
    questions = lines(tmp_path / "q.jsonl", [{"prompt": "2 + 2?", "answer": "4"}])
    made = plan("spend-logs", path, home=tmp_path, questions=questions)
    rows = sorted(rows_of(made), key=lambda row: row["q"]["prompt"])
    assert [(row["expert"], row["score"], row["q"]["kind"]) for row in rows] == [
        ("gpt", 1.0, "exact"),
        ("gpt", None, "judged"),
    ]
    assert [row["cost_usd"] for row in rows] == [0.002, 0.002]
    assert rows[0]["latency_s"] == 1.5
    assert sum(count for count, _ in made.notes.passed_over.values()) == 2
    fault = plan("spend-logs", lines(tmp_path / "no.jsonl", [{"model": "x"}]), home=tmp_path).notes.faults
    assert "request_id is missing" in str(fault[0])


# Tables


def test_a_table_and_its_mapping(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["q", "solution", "stars", "model", "usd", "took_ms"])
        writer.writerow(["2 + 2?", "4", "5", "gpt", "0.01", "250"])
        writer.writerow(["3 + 3?", "6", "1", "gpt", "0.02", ""])
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        "columns: {prompt: q, answer: solution, score: stars, cost_usd: usd, latency_ms: took_ms}\n"
        "constants: {domain: sums}\nscore_range: [1, 5]\n"
    )
    rows = rows_of(plan("table", path, home=tmp_path, mapping=mapping))
    assert [row["score"] for row in rows] == [1.0, 0.0]
    assert [row["latency_s"] for row in rows] == [0.25, None]
    assert [(row["q"]["domain"], row["q"]["source"], row["q"]["answer"]) for row in rows] == [
        ("sums", "runs", "4"),
        ("sums", "runs", "6"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("columns: {promt: q}", "there is no field 'promt'"),
        ("columns: {prompt: question_of_mine}", "no column 'question_of_mine'"),
        ("score_range: [1, 1]", "single score"),
        ("colums: {}", "colums"),
    ],
)
def test_a_faulty_mapping_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = lines(tmp_path / "a.jsonl", [{"prompt": "x", "model": "m", "score": 1}])
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(text)
    made = plan("table", path, home=tmp_path, mapping=mapping)
    assert told in str(made.notes.faults[0])


GOOD = {"prompt": "2 + 2?", "model": "m", "score": 1, "cost_usd": 0.1, "prompt_tokens": 3, "latency_s": 0.1}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"score": 1.5}, "1.5 is not from 0 to 1"),
    ({"score": "good"}, "'good' is not from 0 to 1"),
    ({"model": None}, "nobody answered"),
    ({"model": "a\nb"}, "name"),
    ({"cost_usd": -1}, "cost_usd"),
    ({"cost_usd": "cheap"}, "cost_usd"),
    ({"prompt_tokens": 2.5}, "prompt_tokens"),
    ({"latency_s": -1}, "latency_s"),
    ({"prompt": " "}, "prompt is blank"),
    ({"prompt": 7}, "not text"),
    ({"choices": ["a", "b"], "answer": "c"}, "not among the 2 choices"),
    ({"created_at": "yesterday"}, "no time"),
    ({"created_at": "9999-12-31T23:59:59-10:00"}, "cannot be"),
    ({"score": 10**400}, "is not from 0 to 1"),
    ({"prompt_tokens": 10**400}, "is no count"),
    ({"cost_usd": 10**400}, "cost_usd"),
    ({"choices": ["a", "b"], "answer": "a", "choice": 2}, "no option 2"),
    ({"choices": ["a", "b"], "answer": "a", "choice": -1}, "no option -1"),
    ({"choices": ["a", "b"], "answer": "a", "choice": 10**12}, "no option"),
    ({"text": "\ud800"}, "surrogate"),
    ({"grader": "\ud800"}, "surrogate"),
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(st.none() | st.sampled_from(range(len(FAULTS))), min_size=2, max_size=6))
def test_each_fault_is_told_with_its_line_and_nothing_is_imported(
    tmp_path: Path, drawn: list[int | None]
) -> None:
    rows = []
    for number, fault in enumerate(drawn):
        row = GOOD | {"prompt": f"{number} + 2?"} | (FAULTS[fault][0] if fault is not None else {})
        rows.append({name: value for name, value in row.items() if value is not None})
        rows[-1] |= {"model": None} if "model" not in rows[-1] else {}
    path = lines(tmp_path / "a.jsonl", rows)
    made = plan("table", path, home=tmp_path)
    wanted = [(number + 1, FAULTS[fault][1]) for number, fault in enumerate(drawn) if fault is not None]
    assert len(made.notes.faults) == len(wanted)
    for line, told in wanted:
        assert any(f"line {line}" in str(f) and told in str(f) for f in made.notes.faults)
    warehouse = Warehouse(tmp_path / "warehouse")
    if wanted:
        with pytest.raises(InputError):
            write_import(made, warehouse, round="imported")
        assert warehouse.scan("questions").num_rows == 0
        assert warehouse.scan("answers").num_rows == 0


@pytest.mark.parametrize(
    ("kind", "name", "row"),
    [
        ("lm-eval", "samples_t.jsonl", sum_(1, "2", 1.0) | {"arguments": 5}),
        ("lm-eval", "samples_t.jsonl", sum_(1, "2", 1.0) | {"arguments": [5]}),
        ("lm-eval", "samples_t.jsonl", sum_(1, "2", 1.0) | {"metrics": 5}),
        ("lm-eval", "samples_t.jsonl", sum_(1, "2", 1.0) | {"metrics": [{}]}),
        ("lm-eval", "samples_t.jsonl", sample(1, right=True) | {"filtered_resps": 5}),
        ("table", "a.jsonl", GOOD | {"latency_s": None, "latency_ms": 10**400}),
    ],
)
def test_a_file_of_another_shape_is_a_fault(
    tmp_path: Path, kind: str, name: str, row: dict[str, Any]
) -> None:
    (fault,) = plan(kind, lines(tmp_path / name, [row]), home=tmp_path).notes.faults
    assert name in str(fault)
    assert "shape" in str(fault)


@pytest.mark.parametrize("doc", [None, "text", 5, [1]])
def test_a_sample_without_its_record_is_what_the_model_was_given(tmp_path: Path, doc: Any) -> None:
    made = plan(
        "lm-eval", lines(tmp_path / "samples_t.jsonl", [sum_(1, "2", 1.0) | {"doc": doc}]), home=tmp_path
    )
    assert [row["q"]["prompt"] for row in rows_of(made)] == ["Q: 1 + 1?\nA:"]


def test_tokens_that_no_column_holds_are_a_fault(tmp_path: Path) -> None:
    asked = {"custom_id": "1", "body": {"model": "m", "messages": [{"role": "user", "content": "q"}]}}
    body = {"model": "m", "choices": [{"message": {"content": "a"}}]}
    body |= {"usage": {"prompt_tokens": 10**12, "completion_tokens": 1}}
    answered = {"custom_id": "1", "response": {"status_code": 200, "body": body}}
    requests = lines(tmp_path / "requests.jsonl", [asked])
    (fault,) = plan(
        "openai-batch", lines(tmp_path / "out.jsonl", [answered]), home=tmp_path, requests=requests
    ).notes.faults
    assert "prompt_tokens" in str(fault)


def test_importing_twice_adds_nothing_and_both_tasks_of_an_expert_count(tmp_path: Path) -> None:
    folder = lm_eval_folder(tmp_path / "out")
    warehouse = Warehouse(tmp_path / "warehouse")
    for run in range(2):
        made = plan("lm-eval", folder, home=tmp_path)
        assert sum(found.new for found in made.found) == (0 if run else 7)
        _, written = write_import(made, warehouse, round="imported")
        assert written == (0 if run else 7)
    more = lines(tmp_path / "more.jsonl", [GOOD | {"model": "some/model"}])
    write_import(plan("table", more, home=tmp_path), warehouse, round="imported")
    outcomes = load_outcomes(warehouse)
    assert outcomes.score.shape == (8, 1)  # one version for all that was imported of an expert
    assert (outcomes.score >= 0).all()


def test_of_two_answers_the_first_counts(tmp_path: Path) -> None:
    made = plan("table", lines(tmp_path / "a.jsonl", [GOOD, GOOD | {"score": 0}]), home=tmp_path)
    assert [row["score"] for row in rows_of(made)] == [1]
    assert any("another answer" in reason for reason in made.notes.passed_over)


def test_a_file_without_an_answer_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"prompt": "x?", "model": "m"}])
    with pytest.raises(InputError, match="neither a score nor a text"):
        plan("table", path, home=tmp_path)


words = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(str.strip)
rows_ = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": words,
            "model": st.sampled_from(["ann", "bob"]),
            "score": st.floats(0, 1, width=32) | st.none(),
            "response": words,
        },
        optional={
            "cost_usd": st.floats(0, 10),
            "prompt_tokens": st.integers(0, 10**6),
            "completion_tokens": st.integers(0, 10**6),
            "latency_s": st.floats(0, 100, width=32),
            "answer": words,
            "domain": st.sampled_from(["a", "b"]),
        },
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_, suffix=st.sampled_from([".parquet", ".jsonl"]))
def test_what_is_exported_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("there")
    for number, row in enumerate(rows):
        row["prompt"] = f"{number}: {row['prompt']}"
    path = lines(folder / "a.jsonl", rows)
    made = plan("table", path, home=folder)
    there, here = Warehouse(folder / "warehouse"), Warehouse(folder / "again" / "warehouse")
    write_import(made, there, round="imported")
    exported = read_export(there)
    write_export(exported, folder / f"out{suffix}")
    back = plan("table", folder / f"out{suffix}", home=folder / "again")
    assert back.notes.faults == []
    write_import(back, here, round="imported")
    assert read_export(here).to_pylist() == exported.to_pylist()
    assert sum(found.new for found in plan("table", folder / f"out{suffix}", home=folder).found) == 0


def test_an_export_into_a_folder_or_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    for path in (tmp_path / "folder.jsonl", tmp_path / "none" / "a.jsonl", tmp_path / ("a" * 300 + ".jsonl")):
        with pytest.raises(InputError, match="cannot be written"):
            write_export(pa.table({"created_at": []}), path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.jsonl"]


def test_an_export_leaves_a_file_that_came_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    monkeypatch.setattr("pipelines.importing.exporting.os.fsync", lambda _: path.write_text("another's\n"))
    with pytest.raises(InputError, match="is there already"):
        write_export(pa.table({"created_at": []}), path)
    assert path.read_text() == "another's\n"
    assert [one.name for one in tmp_path.iterdir()] == ["a.jsonl"]


def test_an_export_is_of_the_experts_and_sources_asked_for(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse")
    with pytest.raises(NotReadyError):
        read_export(warehouse)
    rows = [
        GOOD | {"prompt": f"{name}{i}?", "model": name, "source": name}
        for i in range(2)
        for name in ("a", "b")
    ]
    write_import(plan("table", lines(tmp_path / "t.jsonl", rows), home=tmp_path), warehouse, round="imported")
    assert read_export(warehouse, experts=["a"])["expert"].to_pylist() == ["a", "a"]
    assert read_export(warehouse, sources=["b"])["expert"].to_pylist() == ["b", "b"]
    with pytest.raises(InputError, match="end its name"):
        write_export(pa.table({"a": [1]}), tmp_path / "x.csv")
    write_export(read_export(warehouse), tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.jsonl", "warehouse", "x.parquet"]


# inspect_ai, whose own reader is stood in for: its samples have these fields in 0.3


def inspect_sample(number: int, **more: Any) -> SimpleNamespace:
    usage = SimpleNamespace(
        **{"input_tokens": 10, "output_tokens": 4, "total_tokens": 44, "reasoning_tokens": None},
        **{"input_tokens_cache_read": 30, "input_tokens_cache_write": 0},
    )
    fields: dict[str, Any] = {
        **{"id": number, "epoch": 1, "error": None, "input": f"Capital {number}?", "target": "B"},
        **{"choices": ["Rome", "Paris"], "scores": {"choice": SimpleNamespace(value="C")}},
        **{"output": SimpleNamespace(model="m", completion="ANSWER: B"), "model_usage": {"m": usage}},
        **{"working_time": 0.5, "total_time": 2.0, "started_at": "2026-01-01T00:00:00+00:00"},
    }
    return SimpleNamespace(**fields | more)


def test_inspects_logs_by_its_own_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = [SimpleNamespace(role="system", text="Be brief."), SimpleNamespace(role="user", text="2 + 2?")]
    samples = [
        inspect_sample(0),
        inspect_sample(1, scores={"choice": SimpleNamespace(value="I")}),
        inspect_sample(2, input=talk, choices=None, target=["4", "four"]),
        inspect_sample(3, error="broke"),
        inspect_sample(4, scores={"choice": SimpleNamespace(value="N/A")}),
        inspect_sample(5, scores={}),
    ]
    log = SimpleNamespace(
        **{"status": "success", "samples": samples},
        eval=SimpleNamespace(task="me/caps", model="m", created="2026-01-01T00:00:00+00:00"),
    )
    values = {"C": 1.0, "I": 0.0, "N/A": float("nan")}
    for name, content in (
        ("inspect_ai", {}),
        ("inspect_ai.log", {"read_eval_log": lambda path: log}),
        ("inspect_ai.scorer", {"value_to_float": lambda: values.__getitem__}),
    ):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    path = lines(tmp_path / "log.json", ["{}"])
    made = plan("inspect", path, home=tmp_path, names={"m": "ann"})
    rows = rows_of(made)
    assert [row["score"] for row in rows] == [1, 0, 1]
    assert [row["q"]["answer"] for row in rows] == ["1", "1", "4"]
    assert rows[2]["q"]["prompt"] == "Be brief.\n\n2 + 2?"
    assert rows[0]["prompt_tokens"] == 40
    assert rows[0]["cost_usd"] == pytest.approx((10 * 1 + 30 * 0.5 + 4 * 2) / 1e6)
    assert rows[0]["latency_s"] == 0.5
    assert {row["q"]["source"] for row in rows} == {"caps"}
    assert sorted(count for count, _ in made.notes.passed_over.values()) == [1, 1, 1]


def test_without_inspect_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CannotRunError, match="pip install inspect-ai"):
        plan("inspect", lines(tmp_path / "log.json", ["{}"]), home=tmp_path)


def test_the_commands(tmp_path: Path) -> None:
    folder, home = str(lm_eval_folder(tmp_path / "out")), ["--home", str(tmp_path / "home")]

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, *home])

    dry = run("import", "lm-eval", folder, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "7 questions, 7 answers (7 new); nothing is written" in dry.output
    assert "no cost is known of some answers of some/model" in dry.output
    own = ["--expert", "model=smollm2-135m"]
    assert "7 questions (7 new), 7 answers (7 new)" in run("import", "lm-eval", folder, *own).output
    assert "7 questions (0 new), 7 answers (0 new)" in run("import", "lm-eval", folder, *own).output
    out = tmp_path / "all.jsonl"
    assert f"{out}: 7 answers" in run("export", str(out)).output
    out.write_text("mine\n")
    taken = run("export", str(out))
    assert isinstance(taken.exception, InputError)
    assert "is there already" in str(taken.exception)
    assert "--force" in str(taken.exception)
    assert out.read_text() == "mine\n"
    assert f"{out}: 7 answers" in run("export", str(out), "--force").output
    assert len(out.read_text().splitlines()) == 7
    assert not list(tmp_path.glob(".all.jsonl-*"))
    bad = lines(tmp_path / "bad.jsonl", [GOOD | {"score": 7}, GOOD | {"prompt": ""}])
    refused = run("import", "table", str(bad))
    assert isinstance(refused.exception, InputError)
    assert "2 faults, and nothing is imported" in str(refused.exception)
    assert "line 1" in refused.output
    assert "line 2" in refused.output
