"""A universe as an MLflow run: parameters, metrics, figures and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from universe.analysis.gaps import GapReport
from universe.model.universe import Universe
from warehouse.mlflow_runs import EXPERIMENT, open_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def log_universe(
    universe: Universe,
    *,
    tracking_uri: str,
    fingerprint: str,
    figures: Mapping[str, Figure] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Log one choice as a run, the child of one that is open; returns the run id.

    Args:
        universe: the choice.
        tracking_uri: of the MLflow store.
        fingerprint: of the outcomes it was chosen on.
        figures: by file name.
        metrics: further metrics by name.
    """
    limits = {k: v for k, v in asdict(universe.limits).items() if v not in (None, (), {})}
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
    params = {**limits, "price_weight": universe.price_weight, "outcomes": fingerprint}
    with open_run(tracking_uri, EXPERIMENT, f"universe of {len(universe.experts)}") as run:
        run.log(values, params, {"status": universe.status})
        run.log_dict({"experts": list(universe.experts), "share": dict(universe.share)}, "universe.json")
        for name, figure in (figures or {}).items():
            run.log_figure(figure, f"figures/{name}.png")
    return run.id


def log_gaps(report: GapReport, *, tracking_uri: str, fingerprint: str, figure: Figure, briefs: str) -> str:
    """Log a gap report as a run, the child of one that is open; returns the run id."""
    values = {
        "gaps": float(len(report.gaps)),
        "target": report.target,
        "overlap": report.overlap,
        "recovery": report.recovery,
        "traffic_in_gaps": sum(g.traffic_share for g in report.gaps),
        "accuracy_worth": sum(g.accuracy_worth for g in report.gaps),
    }
    with open_run(tracking_uri, EXPERIMENT, f"gap regions: {len(report.gaps)}") as run:
        run.log(values, {"outcomes": fingerprint})
        run.log_dict({"gaps": [asdict(g) for g in report.gaps]}, "gaps.json")
        run.log_text(briefs, "briefs.txt")
        run.log_figure(figure, "figures/gaps.png")
    return run.id
