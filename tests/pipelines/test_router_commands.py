"""`leeroo evaluate` and `leeroo train` on recorded answers, as a person runs them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from orchestrator.predictors.registry import offered_predictors
from orchestrator.text.splits import frozen_split
from pipelines.cli import app
from pipelines.commands.router import PREDICTOR_KINDS
from warehouse import InputError, Warehouse, load_outcomes

EXPERTS = "expert,usd_per_mtok_in,usd_per_mtok_out\nann,1,1\nbob,1,1\nzoe,100,100\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with two cheap experts, whose agreement tells that they are right, and a dear one."""
    folder = tmp_path_factory.mktemp("recorded")
    rng = np.random.default_rng(0)
    n = 600
    hard = rng.random(n) < 0.4
    chances = np.column_stack([np.where(hard, 0.3, 0.97)] * 2 + [np.full(n, 0.9)])
    right = rng.random((n, 3)) < chances
    wrong = np.array(list("BCD"))[rng.integers(0, 3, (n, 3))]
    ids = [f"q{i}" for i in range(n)]
    topics = np.array(["algebra", "history"])[rng.integers(0, 2, n)]
    questions = {
        "question_id": ids,
        "subject": topics,
        "domain": topics,
        "question": [f"Question {i} of {topic}?" for i, topic in enumerate(topics)],
        "choices": [["p", "q", "r", "s"]] * n,
        "answer": ["A"] * n,
    }
    pd.DataFrame(questions).to_parquet(folder / "questions.parquet")
    answers = [
        {
            "question_id": ids[i],
            "expert": name,
            "correct": right[i, j],
            "response": "A" if right[i, j] else wrong[i, j],
        }
        for i in range(n)
        for j, name in enumerate(["ann", "bob", "zoe"])
    ]
    pd.DataFrame(answers).to_parquet(folder / "answers.parquet")
    (folder / "experts.csv").write_text(EXPERTS)
    home = tmp_path_factory.mktemp("home")
    run = CliRunner().invoke(app, ["import", "recorded", str(folder), "--home", str(home)])
    assert run.exit_code == 0, run.output
    return home


def test_cascades_get_a_row_of_their_own(home: Path) -> None:
    out = home / "out"
    options = ["--predictors", "knn", "--embedder", "wordllama", "--seeds", "1", "--out", str(out)]
    run = CliRunner().invoke(app, ["evaluate", "--cascades", *options, "--home", str(home)])
    assert run.exit_code == 0, run.output
    assert "knn + cascade less knn" in run.output  # compared pair by pair
    rows = {row["name"]: row for row in json.loads((out / "evaluation.json").read_text())["rows"]}
    assert list(rows) == [
        *("random", "cheapest", "best single", "zero-router", "knn", "knn + cascade", "oracle"),
    ]
    headroom = {name: rows[name]["measures"]["headroom_log"]["value"] for name in ("knn", "knn + cascade")}
    assert headroom["knn + cascade"] > headroom["knn"] + 0.1
    assert list(out.glob("*.png"))


def test_versions_are_not_compared_with_cascades(home: Path) -> None:
    run = CliRunner().invoke(app, ["evaluate", "--cascades", "--versions", "1", "--home", str(home)])
    assert "--cascades" in str(run.exception)


def train(home: Path, *more: str) -> str:
    options = ["--predictor", "knn", "--embedder", "wordllama", "--seeds", "1", "--home", str(home)]
    run = CliRunner().invoke(app, ["train", *options, *more])
    assert run.exit_code == 0, run.output
    return run.output


@pytest.fixture(scope="module")
def first_training(home: Path) -> str:
    """What was said when a router was first trained in the home."""
    return train(home)


def test_the_same_training_is_registered_once(
    home: Path, first_training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "version 1 is champion: there was none before" in first_training
    assert "version 2 is challenger" in train(home, "--seed", "1")
    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.train.train_router", None)  # nothing is trained, nothing evaluated
        patched.setattr("orchestrator.evaluation.evaluate.evaluate_router", None)
        again = train(home)
    assert "Router version 1 was trained on exactly these outcomes" in again
    assert "version 1 is champion already" in again


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        # The catalogue, the warehouse and the versions are missing too: names are looked at before them.
        (["selfplay", "--predictor", "nope", "--catalogue", "none.yaml"], "no predictor is called 'nope'"),
        (["selfplay", "--embedder", "nope", "--catalogue", "none.yaml"], "no embedder is called 'nope'"),
        (["train", "--predictor", "nope"], "no predictor is called 'nope'"),
        (["train", "--embedder", "wordllama+nope"], "no embedder is called 'nope'"),
        (["evaluate", "--predictors", "knn,nope"], "no predictor is called 'nope'"),
        (["evaluate", "--embedder", "nope"], "no embedder is called 'nope'"),
        (["universe", "--frontier", "nope"], "no budget 'nope'"),
        (["keys", "create", "bob", "--expert", "nope"], "no expert is called 'nope'"),
        (["promote"], "no version waits to be promoted"),
        (["experts", "add", "nope"], "the first version becomes champion at once"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = CliRunner().invoke(app, [*arguments, "--home", str(tmp_path / "home")])
    assert isinstance(run.exception, InputError), run.output
    assert says in str(run.exception)
    assert "To mend it" in str(run.exception)
    assert not (tmp_path / "home" / "ledger.db").exists()


def test_a_key_may_be_for_an_expert_of_a_named_catalogue(tmp_path: Path) -> None:
    catalogue = tmp_path / "experts.yaml"
    catalogue.write_text(
        "experts:\n  - {name: mine, backend: openai, model: m, base_url: 'http://x.example/v1',"
        " price: {usd_per_mtok_in: 1, usd_per_mtok_out: 1}}\n"
    )
    options = ["--expert", "mine", "--catalogue", str(catalogue), "--home", str(tmp_path)]
    assert "for ann" in CliRunner().invoke(app, ["keys", "create", "ann", *options]).output


def test_help_lists_what_a_predictor_may_be_called_and_loses_no_words() -> None:
    assert set(re.split(", | or ", PREDICTOR_KINDS)) == set(offered_predictors())
    for command in (["experts", "add"], ["evaluate"], ["selfplay"], ["train"], ["route"]):
        words = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "300"}).output
        assert " ." not in words.replace(" .leeroo", "")


def test_an_expert_that_is_added_can_be_put_to_the_test(
    home: Path,
    first_training: str,
    tmp_path: Path,
    scripted_server: Callable[[Callable[[str, str], str]], str],
) -> None:
    place = tmp_path / "home"
    shutil.copytree(home, place)
    url = scripted_server(lambda model, prompt: "A")
    catalogue = tmp_path / "experts.yaml"
    catalogue.write_text(
        "experts:\n"
        + "\n".join(
            f"  - {{name: {name}, backend: openai, model: m, base_url: '{url}', scoring: generate,"
            " price: {usd_per_mtok_in: 0.1, usd_per_mtok_out: 0.1}}"
            for name in ("able", "other")
        )
    )

    def leeroo(*arguments: str) -> str:
        run = CliRunner().invoke(app, [*arguments, "--home", str(place)])
        return " ".join(run.output.split()) or str(run.exception)

    def add(name: str, test_questions: int) -> tuple[str, str]:
        options = ["--probes", "40", "--test-questions", str(test_questions), "--catalogue", str(catalogue)]
        said = leeroo("experts", "add", name, *options)
        return said, (re.findall(r"`leeroo promote (\d+)", said) or [""])[0]

    def asked(name: str) -> int:
        answers = Warehouse(place / "warehouse").scan("answers", ["expert"])["expert"].to_pylist()
        return answers.count(name)

    said, version = add("able", 30)
    assert "placed from 40 probes (70 questions asked now)" in said
    assert f"`leeroo promote {version}` puts it to the test" in said
    known = load_outcomes(Warehouse(place / "warehouse"), experts=["able"]).answered()
    assert len(frozen_split(known.prompts).test) == 30
    said = leeroo("promote", version, "--force")
    assert "on 30 held-out questions" in said
    assert f"version {version} is champion" in said
    assert "in the pool already" in add("able", 30)[0]
    assert asked("able") == 70

    said, untested = add("other", 0)
    assert said.startswith(f"0 held-out questions for the test against champion {version}, which needs 20")
    assert f"`leeroo promote {untested} --force`" in said
    assert asked("other") == 40
    assert "held-out questions were answered by all" in leeroo("promote", untested)
    assert f"version {untested} is champion: forced, without a test" in leeroo("promote", untested, "--force")
    assert f"without a test against version {version}" in leeroo("versions")
