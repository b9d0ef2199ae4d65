"""The figures of the last traffic report, as metrics of the endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from warehouse.traffic.kept_report import read_report

#: Figures that a report may hold; others are not shown.
KNOWN = {
    "leeroo_traffic_novel_share": ("share of requests unlike what the router was trained on", ()),
    "leeroo_traffic_judge_agreement": ("share of answers on which judge and users agree", ()),
    "leeroo_traffic_success_gap": ("observed minus forecast success", ("expert",)),
    "leeroo_traffic_cost_ratio": ("cost divided by its forecast", ("expert",)),
    "leeroo_traffic_complaints": ("number of figures beyond their threshold", ()),
}


class DriftFigures(Collector):
    """Reads the kept report whenever somebody asks: nothing is computed here."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the figures and their time; nothing if there is no report."""
        report = read_report(self._home)
        if report is None:
            return
        for name, (told, labels) in KNOWN.items():
            family = GaugeMetricFamily(name, told, labels=labels)
            for found, values, value in report.figures:
                if found == name and set(values) == set(labels):
                    family.add_metric([values[label] for label in labels], value)
            yield family
        made = GaugeMetricFamily("leeroo_traffic_report_seconds", "when the report was made, since 1970")
        made.add_metric([], report.made_at.timestamp())
        yield made
