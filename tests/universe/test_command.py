"""The commands, on a small real warehouse."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import typer
import yaml
from typer.testing import CliRunner

from pipelines.commands import gaps, universe
from universe.model.hosting_file import read_hosting
from warehouse import InfeasibleError, InputError, NotReadyError, Warehouse, conform, question_id

runner = CliRunner()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    words = {"law": ["court", "judge", "verdict"], "maths": ["integral", "prime", "matrix"]}
    success = {"law": [0.5, 0.9, 0.1], "maths": [0.2, 0.7, 0.9]}
    questions, answers = [], {name: [] for name in ("small", "large", "maths")}
    for i in range(240):
        domain = "law" if i % 2 else "maths"
        prompt = f"Question {i}: {' '.join(rng.choice(words[domain], 4))} number {i}?"
        choices = ["yes", "no"]
        qid = question_id(prompt, choices, "0")
        questions.append({"question_id": qid, "source": "made", "domain": domain, "subject": domain,
                          "prompt": prompt, "choices": choices, "answer": "0", "kind": "choice"})  # fmt: skip
        for j, name in enumerate(answers):
            answers[name].append({"question_id": qid, "expert": name, "expert_version": "v1",
                                  "score": float(rng.random() < success[domain][j]),
                                  "cost_usd": [1e-5, 1e-3, 2e-4][j],
                                  "prompt_tokens": 10, "completion_tokens": 1})  # fmt: skip
    store = Warehouse(str(home / "warehouse"))
    store.append("questions", conform("questions", pa.Table.from_pylist(questions)), round="r1")
    for name, rows in answers.items():
        store.append("answers", conform("answers", pa.Table.from_pylist(rows)), round="r1", expert=name)
    return home


def run(*arguments: str) -> str:
    app = typer.Typer()
    universe.register(app)
    gaps.register(app)
    result = runner.invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_universe_is_chosen_applied_and_its_gaps_found(home: Path) -> None:
    output = run("universe", "--home", str(home), "--max-experts", "2", "--frontier", "experts", "--robust",
                 "--risk-weight", "0.5", "--risk-tail", "0.2")  # fmt: skip
    assert "proven optimal" in output
    assert "50% mean and 50% the worst 9.8 of 49 scenarios" in " ".join(output.split())
    assert "max_experts 2" in output or "No limit binds" in output
    assert "on the other" in " ".join(output.split())
    plan = yaml.safe_load((home / "universe.yaml").read_text())
    assert set(plan["experts"]) == {"large", "maths"}
    assert "without it the score falls" in plan["why"]["large"]
    assert not (home / "pool.yaml").exists()
    run("universe", "apply", "--home", str(home))
    assert yaml.safe_load((home / "pool.yaml").read_text()) == plan
    assert "gaps" in run("gaps", "--home", str(home), "--no-track").lower()


def test_a_choice_that_cannot_be_judged_is_kept(home: Path, tmp_path: Path) -> None:
    full, few = Warehouse(str(home / "warehouse")), Warehouse(str(tmp_path / "warehouse"))
    questions = full.scan("questions").slice(0, 7)
    few.append("questions", questions, round="r1")
    answers = full.scan("answers")
    kept = pc.is_in(answers["question_id"], value_set=questions["question_id"].combine_chunks())
    few.append("answers", conform("answers", answers.filter(kept)), round="r1", expert="all")
    assert "could not be judged" in run("universe", "--home", str(tmp_path), "--no-track")
    assert (tmp_path / "universe.yaml").exists()


def test_runs_are_tracked_with_figures(home: Path) -> None:
    import mlflow

    run("universe", "--home", str(home), "--max-experts", "1", "--raw")
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("leeroo")
    assert experiment is not None
    logged = client.search_runs([experiment.experiment_id], max_results=1)[0]
    assert logged.info.run_name == "universe of 1"
    assert logged.data.metrics["gap"] < 1e-4
    assert logged.data.params["max_experts"] == "1"
    names = [f.path for f in client.list_artifacts(logged.info.run_id, "figures")]
    assert "figures/marginal_values.png" in names


def test_lists_are_repeated_or_go_by_commas(home: Path) -> None:
    command = ("universe", "--home", str(home), "--raw", "--no-judge", "--no-track", "--no-explain")
    run(*command, "--experts", "large,maths", "--experts", "sm*", "--must-have", "small,maths")
    plan = yaml.safe_load((home / "universe.yaml").read_text())
    assert {*plan["experts"], *plan["left_out"]} == {"small", "large", "maths"}
    assert {"small", "maths"} <= set(plan["experts"])
    run(*command, "--experts", "large, maths")
    plan = yaml.safe_load((home / "universe.yaml").read_text())
    assert {*plan["experts"], *plan["left_out"]} == {"large", "maths"}


def test_a_choice_on_samples_says_so(home: Path) -> None:
    output = run(
        "universe", "--home", str(home), "--sample", "100", "--no-judge", "--no-track", "--no-explain"
    )
    assert "95% confidence" in output


def test_candidate_names_its_break_even_price(home: Path) -> None:
    output = run("universe", "--home", str(home), "--candidate", "maths", "--price-weight", "100")
    assert "earns its place up to" in " ".join(output.split())


def test_programs_get_rows_and_nothing_else(home: Path) -> None:
    quick = ("universe", "--home", str(home), "--max-experts", "2", "--raw", "--no-judge", "--no-track")
    rows = [json.loads(line) for line in run(*quick, "--json").splitlines()]
    plan = yaml.safe_load((home / "universe.yaml").read_text())
    assert [row["expert"] for row in rows if row["kept"]] == plan["experts"]
    assert {row["expert"] for row in rows if not row["kept"]} == set(plan["left_out"])
    assert {row["expert"]: row["why"] for row in rows if row["kept"]} == plan["why"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert rows[0]["set_score"] == pytest.approx(plan["expected_score"], abs=1e-6)

    found = list(csv.DictReader(run(*quick, "--frontier", "cost", "--points", "3", "--csv").splitlines()))
    points = yaml.safe_load((home / "universe.yaml").read_text())["frontier"]
    assert [float(row["budget"]) for row in found] == [point["budget_usd"] for point in points]
    assert [json.loads(row["experts"]) for row in found] == [point["experts"] for point in points]
    assert all(float(row["cost_usd"]) <= float(row["budget"]) * (1 + 1e-6) for row in found)

    (worth,) = map(json.loads, run(*quick, "--candidate", "small", "--json").splitlines())
    assert (worth["expert"], worth["gain"] >= 0) == ("small", True)


def test_sets_are_shown_and_chosen_by_policy(home: Path) -> None:
    options = ("universe", "--home", str(home), "--max-experts", "2", "--no-track", "--no-explain")
    output = " ".join(run(*options, "--choose-by-policy", "--by-policy", "3").split())
    assert "The best sets, by the program and by the policy" in output
    assert "the policy reaches" in output  # judged on other questions
    kept = set(yaml.safe_load((home / "universe.yaml").read_text())["experts"])
    rows = [
        json.loads(line)
        for line in run(
            *options, "--choose-by-policy", "--by-policy", "3", "--no-judge", "--json"
        ).splitlines()
    ]
    assert [set(row["experts"]) for row in rows if row["kept"]] == [kept]
    assert len(rows) == 3
    assert max(rows, key=lambda row: row["policy_score"])["kept"]
    shown = [
        json.loads(line) for line in run(*options, "--by-policy", "2", "--no-judge", "--json").splitlines()
    ]
    assert [row["kept"] for row in shown] == [True, False]  # shown only: the program's set stays
    with pytest.raises(InputError, match="leave out --raw"):
        run(*options, "--by-policy", "2", "--raw")


def test_hosting_files_are_checked_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "hosting.yaml"
    path.write_text("experts:\n  a: {gpus: 2, node_type: l4, usd_per_hour: 1.5}\nnodes:\n  l4: {gpus: 4}\n")
    read = read_hosting(path)
    assert read.experts["a"].usd_per_hour == 1.5
    for text, message in [
        ("experts:\n  a: {gpus: -1}\n", "expert 'a', hosting, field gpus"),
        ("experts:\n  a: {gpu: 1}\n", "no field 'gpu'"),
        ("experts:\n  a: {gpus: two}\n", "field gpus"),
        ("experts:\n  a: {gpus: 8, node_type: l4}\nnodes:\n  l4: {gpus: 4, count: 2}\n", "does not fit"),
        ("experts:\n  a: {gpus: 1, node_type: l5}\nnodes:\n  l4: {gpus: 4}\n", "no node type 'l5'"),
        ("extra: 1\n", "sections"),
        ("experts: [1]\n", "section experts"),
        ("a: [", "not valid YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_hosting(path)
    with pytest.raises(InputError, match="no such file"):
        read_hosting(tmp_path / "none.yaml")


def test_gaps_without_a_pool_say_what_to_pass(home: Path, tmp_path: Path) -> None:
    place = tmp_path / "home"
    shutil.copytree(home / "warehouse", place / "warehouse")
    with pytest.raises(NotReadyError, match=r"no pool is in use .*`leeroo gaps --experts 'NAME,NAME'`"):
        run("gaps", "--home", str(place), "--no-track")
    options = ["--experts", "small, large", "--home", str(place), "--no-track"]
    with pytest.raises(NotReadyError, match=r"no graded answer has the source 'exams'.*'made'"):
        run("gaps", *options, "--source", "exams")
    assert "gaps" in run("gaps", *options).lower()


def test_the_cost_limit_and_the_frontier_have_one_unit(home: Path) -> None:
    command = ("universe", "--home", str(home), "--raw", "--no-judge", "--no-track", "--no-explain")
    run(*command, "--max-usd-per-1k", "0.15")
    plan = yaml.safe_load((home / "universe.yaml").read_text())
    run(*command, "--max-cost-usd", "0.00015")
    assert yaml.safe_load((home / "universe.yaml").read_text()) == plan
    assert 0 < 1000 * plan["expected_cost_usd"] <= 0.15
    with pytest.raises(InputError, match="are one limit"):
        run(*command, "--max-usd-per-1k", "0.15", "--max-cost-usd", "0.00015")
    with pytest.raises(InfeasibleError, match=r"0\.001 USD per 1,000 queries is below the 0\.01 "):
        run(*command, "--max-usd-per-1k", "0.001")
    traced = " ".join(run(*command, "--frontier", "cost", "--points", "3").split())
    assert "in $ per 1,000 queries (--max-usd-per-1k)" in traced
    assert "0.01 " in traced  # the cheapest expert's 1e-5 USD a query
