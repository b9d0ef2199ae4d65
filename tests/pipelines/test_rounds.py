"""Steps of a round that need no engine: what is frozen, what is refused, whom to ask, when to stop."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from experts import load_catalogue
from pipelines.commands.round_tables import refusal_lines, result_line
from pipelines.questions import load_questions, make_questions
from pipelines.questions.brief import Brief
from pipelines.questions.duplicates import Refusal
from pipelines.questions.sources.base import QuestionSettings, is_frozen
from pipelines.questions.sources.dataset import DatasetSource
from pipelines.questions.sources.opening import Sources
from pipelines.ray_session import Connection
from pipelines.selfplay.assign import assign_questions, expect_costs
from pipelines.selfplay.context import RunContext
from pipelines.selfplay.events import FrozenSet
from pipelines.selfplay.frozen_set import FrozenQuestions
from pipelines.selfplay.make_questions import make_round_questions
from pipelines.selfplay.panel import Panel
from pipelines.selfplay.results import RoundResult
from pipelines.selfplay.round_record import FROZEN, RoundFolder
from pipelines.selfplay.run import play, run_selfplay
from pipelines.selfplay.settings import AskingSettings, RoundPlan, RouterSettings, SelfplaySettings
from warehouse import InfeasibleError, InputError, Warehouse
from warehouse.home import Home

CATALOGUE = """\
experts:
  - {name: cheap, backend: openai, model: x, base_url: "http://127.0.0.1:9/v1", scoring: generate,
     price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}}
  - {name: dear, backend: openai, model: y, base_url: "http://127.0.0.1:9/v1", scoring: generate,
     price: {usd_per_mtok_in: 20, usd_per_mtok_out: 20}}
"""


@pytest.fixture
def catalogue(tmp_path):
    path = tmp_path / "catalogue.yaml"
    path.write_text(CATALOGUE)
    return load_catalogue(path)


def write(path, *records):
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def record(i, words="of the long list that the teacher read to the class on a cold morning in spring"):
    return {
        "question": f"Which word comes at place {i} {words}?",
        "choices": ["a", "b"],
        "answer": 0,
        "domain": "x",
    }


def test_a_question_shared_with_the_frozen_set_is_refused_and_named(tmp_path):
    held_out = [record(i) for i in range(60)]
    frozen_rows = [
        row
        for row in load_questions(write(tmp_path / "frozen.jsonl", *held_out)).to_pylist()
        if is_frozen(row)
    ]
    shared, reworded = frozen_rows[:2]
    # One the very same but for capitals, one in other words, and so that the hash lets it be learned from.
    variants = [reworded["prompt"].replace("a cold", word) for word in ("one cold", "some cold", "that cold")]
    learnable = next(v for v in variants if not is_frozen({"prompt": v, "choices": ["a", "b"]}))
    train = write(
        tmp_path / "train.jsonl",
        {**record(0), "question": shared["prompt"].upper()},
        {**record(0), "question": learnable},
        *(record(i, "of quite another text about ships and harbours in the far north") for i in range(60)),
    )
    warehouse = Warehouse(tmp_path / "warehouse")
    learning, freezing = DatasetSource(str(train)), DatasetSource(str(tmp_path / "frozen.jsonl"))
    table = freezing.questions
    table = table.filter(pa.array([is_frozen(row) for row in table.to_pylist()]))
    warehouse.append("questions", table, round=FROZEN)
    ids = table["question_id"].to_pylist()
    step, again = (
        make_round_questions(
            Sources((learning,), freezing, 500), warehouse, Connection(), round="r000", run_id="run", seed=0,
            frozen=FrozenQuestions(tuple(ids), freezing.name), used_ids=[], brief=Brief(),
            left_usd=lambda: None,
        )
        for _ in range(2)
    )  # fmt: skip
    assert again == step  # a killed step is made again, the same
    refused = {refusal["like"]: refusal for refusal in step["refusals"]}
    assert set(refused) == {shared["question_id"], reworded["question_id"]}
    assert {refusal["reason"] for refusal in refused.values()} == {"contamination"}
    assert not set(step["ids"]) & set(ids)
    assert len(step["ids"]) > 40
    said = "\n".join(refusal_lines([Refusal(**kept) for kept in step["refusals"]]))
    for refusal in refused.values():
        assert refusal["question_id"] in said
        assert refusal["like"] in said
    assert "2 questions refused: contamination" in said


def test_how_much_of_a_file_is_frozen_is_told(tmp_path, catalogue):
    frozen = write(tmp_path / "frozen.jsonl", *(record(i) for i in range(60)))
    fallen = sum(map(is_frozen, load_questions(frozen).to_pylist()))
    settings = SelfplaySettings(
        rounds=RoundPlan(budget_usd=1e-12),
        questions=QuestionSettings(frozen=str(frozen), frozen_count=5),
        router=RouterSettings(embedder="wordllama"),
        catalogue=str(catalogue.path),
    )
    told = []
    with pytest.raises(InfeasibleError, match="do not cover"):  # so that nobody is asked
        run_selfplay(settings, Home.open(tmp_path / "home"), told.append)
    assert told == [FrozenSet(5, str(frozen), fallen, 60)]


def test_costs_are_expected_by_price_then_by_what_answers_cost(catalogue):
    questions = make_questions(["geography/capital"], 30)
    expected = expect_costs(questions, catalogue.experts, None)
    assert expected.shape == (30, 2)
    assert np.allclose(expected[:, 1], 20 * expected[:, 0])
    assert expect_costs(questions.slice(0, 0), catalogue.experts, None).shape == (0, 2)


def test_the_explorer_asks_the_cheap_one_first(catalogue):
    questions = make_questions(["geography/capital", "arithmetic/chain_sum"], 30)
    everything = float(expect_costs(questions, catalogue.experts, None).sum())
    settings = {"embedder": "wordllama", "cache_dir": None, "seed": 0}
    half = assign_questions(questions, catalogue.experts, None, 0.5 * everything, **settings)
    assert half["cheap"].num_rows == 60
    assert 20 < half["dear"].num_rows < 40
    full = assign_questions(questions, catalogue.experts, None, everything, **settings)
    assert all(table.num_rows == 60 for table in full.values())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rounds": RoundPlan(budget_usd=0.0)}, "--budget-usd"),
        ({"asking": AskingSettings(explore=1.5)}, "--explore"),
        ({"rounds": RoundPlan("../x")}, "--round"),
        ({"rounds": RoundPlan(FROZEN)}, "--round"),
        ({"rounds": RoundPlan("run-from-r000")}, "--round"),
        ({"rounds": RoundPlan(budget_usd=float("nan"))}, "--budget-usd"),
        ({"asking": AskingSettings(explore=float("nan"))}, "--explore"),
        ({"questions": QuestionSettings(writer="nobody")}, "no expert 'nobody'"),
        ({"questions": QuestionSettings(source="nowhere.jsonl")}, "no such file"),
        ({"questions": QuestionSettings(frozen="nowhere.jsonl")}, "no such file"),
        ({"questions": QuestionSettings(domains=("astrology",))}, "astrology"),
        (
            {"questions": QuestionSettings(domains=("geography",), source="mine.jsonl")},
            "--domain with --questions",
        ),
        ({"questions": QuestionSettings(limit=5)}, "--limit without --questions"),
    ],
)
def test_bad_settings_are_refused_before_any_work(tmp_path, catalogue, change, says):
    settings = replace(SelfplaySettings(catalogue=str(catalogue.path)), **change)
    with pytest.raises(InputError, match=says):
        run_selfplay(settings, Home.open(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_a_round_is_told_in_one_line():
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    purchase = {"questions": 80, "at_cost_usd": 2e-6, "before": estimate, "after": estimate | {"value": 0.55},
                "difference": {"value": 0.05, "low": -0.01, "high": 0.1}}  # fmt: skip
    found = {"round": "r001", "run_id": "x", "questions": 100, "answers": 150, "cost_usd": 0.0025,
             "version": "2", "promoted": False, "verdict": "does not beat", "purchase": purchase}  # fmt: skip
    result = RoundResult.of(found)
    assert result.points_per_usd == pytest.approx(2000)
    line = result_line(result)
    assert "\n" not in line
    for word in (
        "r001",
        "0.0025 USD",
        "150 answers",
        "55.0%",
        "50.0%",
        "+5.0 points [-1.0, +10.0]",
        "was not promoted",
    ):
        assert word in line
    assert np.isnan(RoundResult.of(found | {"purchase": None}).points_per_usd)


def test_rounds_are_counted_on():
    assert RoundPlan("r009", 2).names == ["r009", "r010"]
    assert RoundPlan("job").names == ["job"]
    assert RoundPlan("demo", 2).names == ["demo", "demo-2"]


def result(name, gain, cost_usd):
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    purchase = {"questions": 80, "at_cost_usd": 2e-6, "before": estimate, "after": estimate,
                "difference": estimate | {"value": gain}}  # fmt: skip
    return RoundResult.of(
        {"round": name, "run_id": "x", "questions": 10, "answers": 20, "cost_usd": cost_usd, "version": "1",
         "promoted": True, "verdict": "", "purchase": purchase}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "rounds", "why"),
    [
        ({}, 4, "4 rounds done"),
        ({"min_points_per_usd": 1.5}, 3, "Round r002 gained 1 points per USD, under the bar of 1.5"),
        ({"budget_usd": 2.0}, 2, "The budget of 2 USD is used up (2 spent)"),
        ({"budget_usd": 100.0, "min_points_per_usd": 0.5}, 4, "4 rounds done"),
    ],
)
def test_a_run_ends_when_a_dollar_buys_too_little_or_none_is_left(
    tmp_path, catalogue, monkeypatch, settings, rounds, why
):
    """Rounds that cost a dollar each and gain 3, 2, 1 and 1 points; what they do is tested elsewhere."""
    allowances = []

    def one_round(run, name, frozen, allowance, brief):
        allowances.append(allowance)
        return result(name, (0.03, 0.02, 0.01, 0.01)[len(allowances) - 1], 1.0), brief

    monkeypatch.setattr("pipelines.selfplay.run.run_round", one_round)
    home, plan = Home.open(tmp_path / "home"), RoundPlan(count=4, **settings)
    run = RunContext(
        SelfplaySettings(rounds=plan), home, home.warehouse(),
        Panel(catalogue.experts, None, None, (), catalogue.path), Sources((), DatasetSource("x"), 10),
        RoundFolder(tmp_path / "rounds"), Connection(), lambda event: None,
    )  # fmt: skip
    results, said = play(run, FrozenQuestions((), "x"))
    assert len(results) == rounds
    assert why in said
    if plan.budget_usd == 100.0:
        assert allowances == [25.0, 33.0, 49.0, 97.0]  # what is left, shared out over the rounds to come
