"""`leeroo traffic report`: a silently changed model is seen, and nothing is seen where nothing changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.learning.recorded_requests import read_requests
from pipelines.traffic.kept_report import keep_report
from pipelines.traffic.watch import Thresholds, TrafficReport, watch_traffic
from serve.ledger.prometheus import Metrics
from serve.ledger.traffic.drift_figures import DriftFigures
from warehouse.home import Home
from warehouse.traffic.kept_report import read_report


def serve(home: Home, count: int, *, changed_from: int | None, seed: int = 0) -> None:
    """Two experts by turns; from one moment on the second is worse, and says twice as much."""
    rng = np.random.default_rng(seed)
    start = datetime.now(UTC) - timedelta(days=1)
    rows, said = [], []
    for i in range(count):
        is_changed = changed_from is not None and i >= changed_from and i % 2 == 1
        tokens = int(rng.gamma(8, 10) * (2 if is_changed else 1)) + 1
        rows.append(
            {
                "request_id": f"r{i}", "created_at": start + timedelta(minutes=i), "role": "champion",
                "expert": "ab"[i % 2], "experts": ["a", "b"], "predicted_success": [0.7, 0.8],
                "predicted_cost_usd": [80e-6, 80e-6], "answer_cost_usd": tokens * 1e-6,
                "completion_tokens": tokens, "recording": "features", "task": "chat",
                "embedding": rng.normal(size=8).tolist(), "embedder": "e",
            }
        )  # fmt: skip
        if rng.random() < 0.4:
            right = rng.random() < (0.4 if is_changed else (0.7, 0.8)[i % 2])
            said.append(
                {"feedback_id": f"f{i}", "request_id": f"r{i}", "level": "request", "kind": "thumb",
                 "score": float(right), "source": "api", "created_at": start}
            )  # fmt: skip
    store = home.warehouse()
    store.append("traffic", pa.Table.from_pylist(rows), round="serve-2026-01-01")
    store.append("feedback", pa.Table.from_pylist(said), round="serve-2026-01-01")


def watch(home: Home, **limits: Any) -> TrafficReport:
    return watch_traffic(read_requests(home.warehouse()), np.empty((0, 0)), Thresholds(**limits))


def test_a_model_that_changes_in_silence_is_drift_of_that_expert(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    serve(home, 600, changed_from=300)
    report = watch(home)
    assert {(change.expert, change.measure) for change in report.changes} >= {("b", "length"), ("b", "cost")}
    assert {change.expert for change in report.changes} == {"b"}
    moment = read_requests(home.warehouse()).column("created_at")[300]
    for change in report.changes:
        assert abs((change.since - moment).total_seconds()) < 60 * 60
    assert {complaint.who for complaint in report.complaints} >= {"expert b"}
    assert not any(complaint.who == "expert a" for complaint in report.complaints)
    before, after = report.windows[0].success, report.windows[-1].success
    assert before is not None
    assert after is not None
    assert before.low < 0 < before.high
    assert after.high < before.high
    assert watch(home, shift_ratio=10, shift_success=1, cost_ratio=10, success_gap=1).complaints == ()


def test_a_quiet_month_brings_no_complaint(tmp_path: Path) -> None:
    alarms = 0
    for seed in range(6):
        home = Home.open(tmp_path / str(seed))
        serve(home, 300, changed_from=None, seed=seed)
        alarms += bool(watch(home).complaints)
    assert alarms <= 1


def test_the_command_complains_by_its_exit_code_and_is_kept(tmp_path: Path) -> None:
    run = CliRunner()
    home = Home.open(tmp_path / "home")
    empty = run.invoke(app, ["traffic", "report", "--home", str(home.path)])
    assert "no request is recorded" in str(empty.exception)
    serve(home, 400, changed_from=200)
    found = run.invoke(app, ["traffic", "report", "--home", str(home.path), "--json"])
    assert found.exit_code == 1
    content = json.loads(found.stdout)
    assert content["complaints"]
    assert content["requests"] == 400
    kept = read_report(home.path)
    assert kept is not None
    assert [who for who, _, _ in kept.complaints] == [one["who"] for one in content["complaints"]]
    names = {name for name, _, _ in kept.figures}
    assert names >= {"leeroo_traffic_success_gap", "leeroo_traffic_cost_ratio"}
    doctor = run.invoke(app, ["doctor", "--home", str(home.path)])
    assert doctor.exit_code == 1
    assert "traffic, expert b" in doctor.stdout
    (home.path / "traffic" / "report.json").write_text("{")
    assert read_report(home.path) is None
    told = run.invoke(app, ["traffic", "report", "--home", str(home.path)], env={"COLUMNS": "80"})
    assert told.exit_code == 1
    assert "expert b" in told.stdout
    assert all(len(line) <= 80 for line in told.stdout.splitlines() if line.startswith(("┃", "│", "┏", "└")))
    loose = ["--shift-ratio", "50", "--shift-success", "1", "--cost-ratio", "50", "--success-gap", "1"]
    assert run.invoke(app, ["traffic", "report", "--home", str(home.path), *loose]).exit_code == 0


def test_novel_queries_are_seen_against_what_was_trained_on(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    serve(home, 200, changed_from=None)
    requests = read_requests(home.warehouse())
    rng = np.random.default_rng(1)
    far = rng.normal(size=(300, 8)) * 0.2 + np.eye(8)[0] * 3
    report = watch_traffic(requests, far)
    assert report.novelty is not None
    assert report.novelty.share > 0.5
    assert report.complaints[0].who == "queries"


@pytest.mark.parametrize("count", [1, 3])
def test_a_handful_of_requests_is_no_trouble(tmp_path: Path, count: int) -> None:
    home = Home.open(tmp_path)
    serve(home, 4, changed_from=None)
    requests = read_requests(home.warehouse())
    report = watch_traffic(requests.take(np.arange(count)), np.empty((0, 0)))
    assert report.requests == count
    assert report.changes == ()


def test_the_endpoint_shows_the_last_report_among_its_figures(tmp_path: Path) -> None:
    metrics = Metrics(DriftFigures(tmp_path))
    assert b"leeroo_traffic" not in metrics.render()
    home = Home.open(tmp_path)
    serve(home, 400, changed_from=200)
    keep_report(home, watch(home))
    shown = metrics.render().decode()
    assert 'leeroo_traffic_success_gap{expert="b"}' in shown
    assert "leeroo_traffic_complaints" in shown
    assert "leeroo_traffic_report_seconds" in shown
    (tmp_path / "traffic" / "report.json").write_text('{"made_at": 1}')
    assert b"leeroo_traffic" not in metrics.render()
