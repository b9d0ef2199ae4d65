"""`leeroo traffic evaluate` and `leeroo promote` on recorded traffic, as a person runs them."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "orchestrator"))

from synthetic import make_outcomes
from traffic_tables import serve_made_traffic

from orchestrator import log_version, set_champion, train_router
from pipelines.cli import app
from pipelines.commands.traffic.evaluate import read_since
from warehouse import InputError, NotReadyError, TooFewError
from warehouse.home import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a champion of another price on cost than its challenger served and explored."""
    place = Home.open(tmp_path_factory.mktemp("home"))
    challenger = train_router(make_outcomes(missing=0.1), embedder="wordllama").orchestrator
    champion = train_router(
        make_outcomes(missing=0.1), embedder="wordllama", predictor="cluster"
    ).orchestrator
    champion.multiplier = 1e6  # the cheapest, whoever is asked
    old = log_version(champion, tracking_uri=place.mlflow_uri)
    set_champion(place.mlflow_uri, old)
    new = log_version(challenger, tracking_uri=place.mlflow_uri)
    champion.multiplier = 1.0  # what serves gives no thought to cost while it explores
    serve_made_traffic(place.warehouse(), ("7", champion), requests=2500, explore_share=0.9)
    assert (old, new) == ("1", "2")
    return place.path


def run(home: Path, *options: str) -> str:
    done = CliRunner().invoke(
        app, ["traffic", "evaluate", *options, "--home", str(home)], env={"COLUMNS": "80"}
    )
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_table_of_versions_and_of_groups(home: Path) -> None:
    said = run(home)
    assert "2,500 routed requests" in said
    for word in ("version", "success", "$ / 1k", "for each dollar"):
        assert word in said
    told = sum(f"│ {topic} " in said for topic in ("algebra", "chemistry", "history"))
    assert told >= 2
    # On questions of a topic whose expert is the cheapest the two versions ask the same one.
    assert ("1 groups are too small" in said) == (told == 2)
    tables = [line for line in said.splitlines() if line.startswith(("│", "┃"))]
    assert tables
    assert max(map(len, tables)) <= 80
    assert "(none)" not in said
    assert "cannot be told from" in said or "is worth" in said


@pytest.mark.parametrize("method", ["dr", "snips", "ips"])
def test_csv_and_json_say_the_same(home: Path, method: str) -> None:
    lines = list(csv.DictReader(io.StringIO(run(home, "--csv", "--method", method, "--by", "key"))))
    objects = [
        json.loads(line) for line in run(home, "--json", "--method", method, "--by", "key").splitlines()
    ]
    assert len(lines) == len(objects) >= 7
    for line, found in zip(lines, objects, strict=True):
        assert line["measure"] == found["measure"]
        assert float(line["low"]) == found["low"] <= found["high"]
        assert found["how"] == method
    assert {found["group"] for found in objects} >= {""}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (["--versions", "1"], InputError, "two different versions"),
        (["--versions", "1,champion"], InputError, "two different versions"),
        (["--versions", "1,99"], NotReadyError, "no router version"),
        (["--since", "2031-01-01"], NotReadyError, "no routed request was recorded since"),
        (["--method", "magic"], InputError, "unknown method"),
        (["--ratings", "mine"], InputError, "unknown ratings"),
        (["--by", "colour"], InputError, "unknown group"),
        (["--ratings", "judge"], TooFewError, "only 0 of 2,500 requests were rated"),
        (["--json", "--csv"], InputError, "JSON or CSV"),
    ],
)
def test_what_cannot_be_done_is_told(home: Path, options: list[str], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        run(home, *options)


def test_moments_and_lengths_of_time() -> None:
    now = datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert read_since("7d", now) == now - timedelta(days=7)
    assert read_since("90m", now) == now - timedelta(minutes=90)
    assert read_since("2030-01-02", now) == datetime(2030, 1, 2, tzinfo=UTC)
    assert read_since(None, now) is None
    for wrong in ("", "d", "tomorrow", "1e99d", "nanh"):
        with pytest.raises(InputError, match="no moment"):
            read_since(wrong, now)
