"""Read the traffic and what the champion was trained on, and say what drifts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from pipelines.learning.recorded_requests import read_requests
from pipelines.traffic.known import embed_known
from pipelines.traffic.watch import Thresholds, TrafficReport, watch_traffic
from warehouse import NotReadyError
from warehouse.home import Home


def report_traffic(home: Home, thresholds: Thresholds, *, days: float | None = None) -> TrafficReport:
    """Report on the requests of so many days, or on all.

    Raises:
        NotReadyError: nothing is recorded.
    """
    from orchestrator.versions.mlflow_registry import champion_version, load_version

    warehouse = home.warehouse()
    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    requests = read_requests(warehouse, since=since)
    if not len(requests):
        raise NotReadyError(
            "no request is recorded" + ("" if days is None else f" of the last {days:g} days"),
            where=str(home.path),
            fix="serve some; `leeroo serve --record none` and a request's own store: false leave nothing",
        )
    version = champion_version(home.mlflow_uri)
    trained = np.empty((0, 0), np.float32)
    if version is not None:
        info = load_version(home.mlflow_uri, version).info
        trained = embed_known(
            warehouse, info["embedder"], info["experts"], home.embeddings, sources=info.get("sources")
        )
    return watch_traffic(requests, trained, thresholds)
