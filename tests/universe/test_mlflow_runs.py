"""A universe and its gaps as MLflow runs, in a real store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.universe.test_select import table, truth
from universe.analysis.frontier import trace_frontier
from universe.analysis.gaps import Gap, GapReport
from universe.analysis.regions import Regions
from universe.model.limits import Limits
from universe.report.figures import draw_frontier
from universe.report.mlflow_runs import log_gaps, log_universe
from universe.solver.select import select_universe, universe_program


def read(run: object, name: str) -> str:
    import mlflow

    return Path(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/{name}")).read_text()


def test_a_universe_is_logged_whole_and_twice(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    outcomes = table()
    limits = Limits(max_experts=2, min_score={"law": 0.5})
    universe = select_universe(outcomes, expected=truth(outcomes), limits=limits, price_weight=0.01)
    program = universe_program(outcomes, expected=truth(outcomes))
    figures = {"frontier": draw_frontier(trace_frontier(program, "max_experts", points=2))}
    odd = {"held_out_score": 0.7, "not/a:valid name+": 1.0, "never": float("nan"), "endless": float("inf")}
    logged = [
        log_universe(
            universe, tracking_uri=uri, fingerprint=outcomes.fingerprint(), figures=figures, metrics=metrics
        )
        for metrics in (odd, None)
    ]
    client = MlflowClient(uri)
    first, second = (client.get_run(run_id) for run_id in logged)
    assert first.info.experiment_id == second.info.experiment_id
    assert client.get_experiment(first.info.experiment_id).name == "leeroo"
    assert first.info.status == second.info.status == "FINISHED"
    metrics = first.data.metrics
    assert metrics["expected_score"] == pytest.approx(universe.expected_score)
    assert metrics["bound"] >= metrics["objective"] == pytest.approx(universe.objective)
    assert metrics["experts"] == 2
    assert metrics["held_out_score"] == 0.7
    assert not {"never", "endless"} & set(metrics)
    assert 1.0 in [value for name, value in metrics.items() if name.startswith("not")]
    params = first.data.params
    assert (params["max_experts"], params["outcomes"]) == ("2", outcomes.fingerprint())
    assert "law" in params["min_score"]
    assert "max_cost_usd" not in params
    assert first.data.tags["status"] == "optimal"
    kept = json.loads(read(first, "universe.json"))
    assert kept["experts"] == list(universe.experts)
    assert sum(kept["share"].values()) == pytest.approx(1)
    assert [entry.path for entry in client.list_artifacts(logged[0], "figures")] == ["figures/frontier.png"]


def test_gaps_are_logged_with_their_briefs(tmp_path: Path) -> None:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    gap = Gap(0, "law: court", ("law",), ("court",), "no expert", 40, 0.25, 0.1, (0.05, 0.2), "cheap", 0.2,
              0.03, float("nan"), 0.8, ("q1",))  # fmt: skip
    report = GapReport((gap,), Regions(*[()] * 5), 0.7, 0.9, 0.95, 2, 5)
    run_id = log_gaps(report, tracking_uri=uri, fingerprint="f" * 16, figure=Figure(), briefs="Look for ü")
    run = MlflowClient(uri).get_run(run_id)
    assert run.data.metrics["traffic_in_gaps"] == 0.25
    assert run.data.metrics["accuracy_worth"] == 0.03
    assert run.data.params["outcomes"] == "f" * 16
    assert json.loads(read(run, "gaps.json"))["gaps"][0]["name"] == "law: court"
    assert read(run, "briefs.txt") == "Look for ü"
