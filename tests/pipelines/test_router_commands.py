"""`leeroo evaluate` and `leeroo train` on recorded answers, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipelines.cli import app

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


def test_the_same_training_is_registered_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*more: str) -> str:
        options = ["--predictor", "knn", "--embedder", "wordllama", "--seeds", "1", "--home", str(home)]
        run = CliRunner().invoke(app, ["train", *options, *more])
        assert run.exit_code == 0, run.output
        return run.output

    assert "version 1 is champion: there was none before" in train()
    assert "version 2 is challenger" in train("--seed", "1")
    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.train.train_router", None)  # nothing is trained, nothing evaluated
        patched.setattr("orchestrator.evaluate.evaluate_router", None)
        again = train()
    assert "Router version 1 was trained on exactly these outcomes" in again
    assert "version 1 is champion already" in again
