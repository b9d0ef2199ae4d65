"""A small home with recorded answers, and a router trained in it, for tests of commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from pipelines.cli import app

EXPERTS = "expert,usd_per_mtok_in,usd_per_mtok_out\nann,1,1\nbob,1,1\nzoe,100,100\n"


def import_recorded(folder: Path, home: Path) -> None:
    """Fill a home with two cheap experts, whose agreement tells that they are right, and a dear one.

    Args:
        folder: where the recording is written.
        home: that imports it.
    """
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
    run = CliRunner().invoke(app, ["import", "recorded", str(folder), "--home", str(home)])
    assert run.exit_code == 0, run.output


def train(home: Path, *more: str) -> str:
    """Train a router in the home; return what is said."""
    options = ["--predictor", "knn", "--embedder", "wordllama", "--seeds", "1", "--home", str(home)]
    run = CliRunner().invoke(app, ["train", *options, *more])
    assert run.exit_code == 0, run.output
    return run.output
