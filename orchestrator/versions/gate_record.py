"""What the gate found, kept with the version that was put to it: tags to read, metrics to plot."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from orchestrator.versions.mlflow_registry import MODEL_NAME, find_version
from warehouse.mlflow_names import valid_tag
from warehouse.mlflow_runs import client_of
from warehouse.mlflow_store import open_store

#: Tags of a version: what held-out questions said, what the traffic said, and against which champion.
HELD_OUT, TRAFFIC, AGAINST = "leeroo.gate.held_out", "leeroo.gate.traffic", "leeroo.gate.against"


def record_gate(
    registry: str,
    version: str,
    *,
    against: str,
    held_out: tuple[float, float, float] | None,
    untested: str = "",
    traffic: str | None = None,
    figures: Mapping[str, float] | None = None,
) -> None:
    """Keep what was found of a challenger as tags of its version and metrics of its run.

    Args:
        registry: MLflow's tracking URI.
        version: number of the challenger.
        against: the champion's version.
        held_out: difference in AIQ over log cost and its interval; None where no test could be made.
        untested: why not.
        traffic: what served traffic said, in words.
        figures: what it said, in numbers.
    """
    tags = {AGAINST: against}
    metrics = dict(figures or {})
    if held_out is None:
        tags[HELD_OUT] = f"untested: {untested}"
    else:
        difference, low, high = held_out
        said = "better" if low > 0 else "worse" if high < 0 else "open"
        tags[HELD_OUT] = f"{said}: {100 * difference:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"
        metrics |= {"gate_aiq": difference, "gate_aiq_low": low, "gate_aiq_high": high}
    if traffic is not None:
        tags[TRAFFIC] = traffic
    write_down(registry, version, tags, metrics)


def write_down(registry: str, version: str, tags: Mapping[str, str], figures: Mapping[str, float]) -> None:
    """Keep tags of a version and metrics of its run."""
    from mlflow.entities import Metric

    open_store(registry)
    client = client_of(registry)
    for name, value in tags.items():
        client.set_model_version_tag(MODEL_NAME, version, name, valid_tag(value))
    run = client.get_model_version(MODEL_NAME, version).run_id
    now = int(time.time() * 1000)
    known = [Metric(name, float(value), now, 0) for name, value in figures.items() if math.isfinite(value)]
    if known:
        client.log_batch(run, metrics=known)


def held_out_said(registry: str, version: str, against: str) -> str | None:
    """What held-out questions said of a version against this champion: better, open, worse or untested."""
    open_store(registry)
    tags = client_of(registry).get_model_version(MODEL_NAME, find_version(registry, version)).tags
    if tags.get(AGAINST) != against or HELD_OUT not in tags:
        return None
    return str(tags[HELD_OUT]).partition(":")[0]
