"""Read the traffic and what the champion was trained on, and say what drifts."""

from __future__ import annotations

import numpy as np

from pipelines.traffic.known import embed_known, read_recent
from pipelines.traffic.watch import Thresholds, TrafficReport, watch_traffic
from warehouse.home import Home


def report_traffic(home: Home, thresholds: Thresholds, *, days: float | None = None) -> TrafficReport:
    """Report on the requests of so many days, or on all.

    Raises:
        NotReadyError: nothing is recorded.
    """
    from orchestrator.versions.mlflow_registry import champion_version, load_version

    requests = read_recent(home, days)
    version = champion_version(home.mlflow_uri)
    trained = np.empty((0, 0), np.float32)
    if version is not None:
        info = load_version(home.mlflow_uri, version).info
        trained = embed_known(
            home.warehouse(), info["embedder"], info["experts"], home.embeddings, sources=info.get("sources")
        )
    return watch_traffic(requests, trained, thresholds)
