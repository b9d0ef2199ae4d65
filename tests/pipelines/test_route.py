"""`leeroo route`: a file of queries within one budget."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from orchestrator import log_version, set_champion, train_router
from pipelines.cli import app
from pipelines.query_file import read_query_file
from tests.orchestrator.synthetic import make_outcomes
from warehouse import InfeasibleError, InputError

OUTCOMES = make_outcomes(300)
OUTCOMES.score[:, 3] = 1  # the dear one knows everything


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    router = train_router(OUTCOMES, embedder="wordllama", predictor="knn").orchestrator
    set_champion(uri, log_version(router, tracking_uri=uri))
    return home


def run(home: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["route", *arguments, "--home", str(home)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_batch_keeps_its_budget_jointly(home: Path, tmp_path: Path) -> None:
    queries, out = tmp_path / "q.jsonl", tmp_path / "sub" / "routed.jsonl"
    queries.write_text(
        "".join(json.dumps({"id": i, "prompt": t}) + "\n" for i, t in enumerate(OUTCOMES.texts))
    )
    success = {}
    for budget_usd in (0.05, 0.15, 1.0):
        output = run(home, str(queries), "--budget-usd", str(budget_usd), "--out", str(out))
        assert "proven gap" in " ".join(output.split())
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["id"] for row in rows] == list(range(300))
        assert sum(row["expected_cost_usd"] for row in rows) <= budget_usd
        success[budget_usd] = np.mean([row["expected_success"] for row in rows])
    assert success[0.05] < success[0.15] < success[1.0]
    assert {row["expert"] for row in rows} == {"generalist"}
    with pytest.raises(InfeasibleError, match="does not cover the cheapest"):
        run(home, str(queries), "--budget-usd", "0.001", "--out", str(out))


def test_what_was_really_paid_is_taken_off_and_the_rest_decided_anew(home: Path, tmp_path: Path) -> None:
    queries, out = tmp_path / "q.jsonl", tmp_path / "routed.jsonl"
    queries.write_text("".join(json.dumps({"prompt": t}) + "\n" for t in OUTCOMES.texts))
    run(home, str(queries), "--budget-usd", "0.15", "--out", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for row in rows[:150]:
        row["paid_usd"] = 1.5 * row["expected_cost_usd"]
    paid = sum(row["paid_usd"] for row in rows[:150])
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = run(home, str(queries), "--budget-usd", "0.15", "--out", str(out))
    assert "150 are answered" in " ".join(output.split())
    again = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["expert"] for row in again[:150]] == [row["expert"] for row in rows[:150]]
    # the others are expected to cost half as much again, too, and keep to what is left all the same
    assert paid + 1.3 * sum(row["expected_cost_usd"] for row in again[150:]) <= 0.15
    asked = [sum(row["expert"] == "generalist" for row in some[150:]) for some in (rows, again)]
    assert asked[0] > asked[1]
    with pytest.raises(InputError, match="not among the experts"):
        run(home, str(queries), "--budget-usd", "0.15", "--experts", "chemist")


def test_openai_batches_get_their_models(home: Path, tmp_path: Path) -> None:
    queries = tmp_path / "batch.jsonl"
    asked = [{"type": "text", "text": "ring ideal?"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": asked}]
    body = {"model": "leeroo", "messages": messages}
    queries.write_text(json.dumps({"custom_id": "a", "body": body}) + "\n")
    assert read_query_file(queries).texts == ("ring ideal?",)
    shown = run(home, str(queries), "--experts", "gen* , generalist")
    (economy,) = [line for line in shown.splitlines() if "economy" in line]
    assert economy.count(" to ") == 2  # what it is expected to cost and to score
    row = json.loads((tmp_path / "batch.routed.jsonl").read_text())
    assert (row["custom_id"], row["body"]["model"], row["expert"]) == ("a", "generalist", "generalist")
    with pytest.raises(InputError, match=r"write \.jsonl"):  # a content that is a text or a list of parts
        run(home, str(queries), "--out", str(tmp_path / "o.parquet"))
    (tmp_path / "q.txt").write_text("ring ideal?")
    run(home, str(tmp_path / "q.txt"), "--out", str(tmp_path / "o.parquet"))
    assert set(pq.read_table(tmp_path / "o.parquet").column_names) == {
        "prompt", "expert", "expected_success", "expected_cost_usd",
    }  # fmt: skip
    run(home, str(tmp_path / "o.parquet"), "--out", str(tmp_path / "o.jsonl"))  # what was written can be read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", '{"prompt": "x"}\n{"prompt": 3}\n', "q.jsonl:2"),
        ("q.jsonl", "[1]\n", "not a JSON object"),
        ("q.jsonl", "{\n", "q.jsonl:1"),
        ("q.jsonl", '{"prompt": "x", "expert": "a", "paid_usd": -1}\n', "`paid_usd` is -1"),
        ("q.jsonl", '{"prompt": "x", "paid_usd": 1}\n', "who gave it"),
        ("q.jsonl", '{"prompt": "x", "expert": "a", "paid_usd": NaN}\n', "`paid_usd` is nan"),
        ("q.txt", "\n\n", "holds no query"),
        ("q.csv", "x", "cannot read .csv"),
        ("q.parquet", "x", "not a Parquet file"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_query_file(tmp_path / name)


def test_lines_of_a_text_are_queries(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("one?\n\ntwo?\n")
    assert read_query_file(tmp_path / "q.txt").texts == ("one?", "two?")
