"""Alerts as metrics: counted in the ledger, so that a bookkeeper that starts again goes on from there."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serve.ledger.alerts.outbox import AlertBook

logger = logging.getLogger("ray.serve")


class AlertFigures(Collector):
    """Counts alerts whenever somebody asks."""

    def __init__(self, book: AlertBook) -> None:
        self._book = book

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield how many alerts there are; nothing if the ledger cannot be read."""
        labels = ["kind", "event", "percent", "state"]
        family = GaugeMetricFamily(
            "leeroo_budget_alerts", "alerts of budgets, by what became of them", None, labels
        )
        try:
            for row in self._book.count():
                family.add_metric([str(row[label]) for label in labels], row["alerts"])
        except Exception:
            logger.exception("alerts of budgets cannot be counted")
            return
        yield family
