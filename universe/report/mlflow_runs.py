"""A universe as an MLflow run: parameters, metrics, figures and the plan."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from universe.analysis.gaps import GapReport
from universe.model.universe import Universe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def log_universe(
    universe: Universe,
    *,
    tracking_uri: str,
    artifacts: Path,
    fingerprint: str,
    figures: Mapping[str, Figure] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Log one choice as a run of the experiment ``universe``; returns the run id.

    Args:
        universe: the choice.
        tracking_uri: of the MLflow store.
        artifacts: directory for the artifacts where the store has none of its own.
        fingerprint: of the outcomes it was chosen on.
        figures: by file name.
        metrics: further metrics by name.
    """
    from mlflow.entities import Metric, Param

    client, run_id, now = _start_run(tracking_uri, artifacts, "universe", f"{len(universe.experts)} experts")
    limits = {k: str(v)[:500] for k, v in asdict(universe.limits).items() if v not in (None, (), {})}
    values = {
        "objective": universe.objective,
        "bound": universe.bound,
        "gap": universe.gap,
        "expected_score": universe.expected_score,
        "expected_cost_usd": universe.expected_cost_usd,
        "usd_per_hour": universe.usd_per_hour,
        "experts": float(len(universe.experts)),
        "wall_s": universe.wall_s,
        **(metrics or {}),
    }
    params = {**limits, "price_weight": str(universe.price_weight), "outcomes": fingerprint}
    client.log_batch(
        run_id,
        metrics=[Metric(k, v, now, 0) for k, v in values.items() if math.isfinite(v)],
        params=[Param(k, v) for k, v in params.items()],
    )
    client.set_tag(run_id, "status", universe.status)
    client.log_dict(
        run_id, {"experts": list(universe.experts), "share": dict(universe.share)}, "universe.json"
    )
    for name, figure in (figures or {}).items():
        client.log_figure(run_id, figure, f"figures/{name}.png")
    client.set_terminated(run_id)
    return run_id


def log_gaps(
    report: GapReport, *, tracking_uri: str, artifacts: Path, fingerprint: str, figure: Figure, briefs: str
) -> str:
    """Log a gap report as a run of the experiment ``gaps``; returns the run id."""
    from mlflow.entities import Metric, Param

    client, run_id, now = _start_run(tracking_uri, artifacts, "gaps", f"{len(report.gaps)} gaps")
    values = {
        "gaps": float(len(report.gaps)),
        "target": report.target,
        "overlap": report.overlap,
        "recovery": report.recovery,
        "traffic_in_gaps": sum(g.traffic_share for g in report.gaps),
        "accuracy_worth": sum(g.accuracy_worth for g in report.gaps),
    }
    metrics = [Metric(k, v, now, 0) for k, v in values.items()]
    client.log_batch(run_id, metrics=metrics, params=[Param("outcomes", fingerprint)])
    client.log_dict(run_id, {"gaps": [asdict(g) for g in report.gaps]}, "gaps.json")
    client.log_text(run_id, briefs, "briefs.txt")
    client.log_figure(run_id, figure, "figures/gaps.png")
    client.set_terminated(run_id)
    return run_id


def _start_run(tracking_uri: str, artifacts: Path, experiment: str, name: str) -> tuple[Any, str, int]:
    """Open a run; a store that is a local database gets its artifacts beside it."""
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # a first run reports each table it creates
    client = mlflow.MlflowClient(tracking_uri)
    known = client.get_experiment_by_name(experiment)
    if known is None:
        local = artifacts.absolute().as_uri() if tracking_uri.startswith("sqlite") else None
        experiment_id = client.create_experiment(experiment, artifact_location=local)
    else:
        experiment_id = known.experiment_id
    run = client.create_run(experiment_id, run_name=name)
    return client, run.info.run_id, run.info.start_time
