"""`leeroo evaluate` and `leeroo train` on recorded answers, as a person runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.predictors.registry import offered_predictors
from pipelines.cli import app
from pipelines.commands.options import PREDICTOR_KINDS
from tests.pipelines.recorded_home import import_recorded, train
from warehouse import InputError, LeerooError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with two cheap experts, whose agreement tells that they are right, and a dear one."""
    home = tmp_path_factory.mktemp("home")
    import_recorded(tmp_path_factory.mktemp("recorded"), home)
    return home


def test_cascades_get_a_row_of_their_own(home: Path) -> None:
    out = home / "out"
    options = ["--predictors", "knn", "--embedder", "wordllama", "--seeds", "1", "--out", str(out)]
    run = CliRunner().invoke(app, ["evaluate", "--cascades", *options, "--home", str(home)])
    assert run.exit_code == 0, run.output
    assert re.search(r"^ knn +knn \+ cascade +[+-]", run.output, re.MULTILINE)  # compared pair by pair
    rows = {row["name"]: row for row in json.loads((out / "evaluation.json").read_text())["rows"]}
    assert list(rows) == [
        *("random", "cheapest", "best single", "zero-router", "knn", "knn + cascade", "leeroo"),
        *(
            "leeroo, two at once",
            "matched random",
            "zero-router, fitted",
            "query-blind vote",
            "agreement cascade",
            "oracle",
        ),
    ]
    headroom = {name: rows[name]["measures"]["headroom_log"]["value"] for name in ("knn", "knn + cascade")}
    assert headroom["knn + cascade"] > headroom["knn"] + 0.1
    assert list(out.glob("*.png"))


def test_versions_are_not_compared_with_cascades(home: Path) -> None:
    run = CliRunner().invoke(app, ["evaluate", "--cascades", "--versions", "1", "--home", str(home)])
    assert "--cascades" in str(run.exception)


@pytest.fixture(scope="module")
def first_training(home: Path) -> str:
    """What was said when a router was first trained in the home."""
    return train(home)


def test_the_same_training_is_registered_once(
    home: Path, first_training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "version 1 is champion: there was none before" in first_training
    for preset in ("quality", "balanced", "economy"):  # each with price and success, and their intervals
        (row,) = [line for line in first_training.splitlines() if line.strip().startswith(preset)]
        assert row.count(" to ") == 2
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
    assert isinstance(run.exception, LeerooError), run.output
    assert says in str(run.exception)
    assert "To fix it" in str(run.exception)
    assert not (tmp_path / "home" / "ledger.db").exists()


@pytest.mark.parametrize("offers", [["embeddings"], ["rerank"], ["embeddings", "rerank"]])
def test_an_expert_that_answers_nothing_is_not_added(tmp_path: Path, offers: list[str]) -> None:
    catalogue = tmp_path / "experts.yaml"
    catalogue.write_text(
        "experts:\n  - {name: vectors, backend: openai, model: m, base_url: 'http://x.example/v1',"
        f" offers: {offers}, price: {{usd_per_mtok_in: 1, usd_per_mtok_out: 1}}}}\n"
    )
    words = ["experts", "add", "vectors", "--catalogue", str(catalogue), "--home", str(tmp_path / "home")]
    run = CliRunner().invoke(app, words)
    assert isinstance(run.exception, InputError), run.output
    assert f"offers {' and '.join(offers)} alone" in str(run.exception)
    assert "expert 'vectors', field offers" in str(run.exception)


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
