"""A report on the traffic as plain values, kept in the home."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pipelines.traffic.watch import Group, TrafficReport
from warehouse.home import Home
from warehouse.traffic.kept_report import write_report


def keep_report(home: Home, report: TrafficReport) -> dict[str, Any]:
    """Write the report down, whole or not at all; return it as plain JSON values."""
    content: dict[str, Any] = plain(asdict(report)) | {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": figures_of(report),
        "reasons": list(report.reasons),
    }
    write_report(home.path, content)
    return content


def figures_of(report: TrafficReport) -> list[tuple[str, dict[str, str], float]]:
    """The report's main figures: name of the metric, labels, value."""
    found: list[tuple[str, dict[str, str], float]] = []
    if report.novelty is not None:
        found.append(("leeroo_traffic_novel_share", {}, report.novelty.share))
    if report.judge.pairs:
        found.append(("leeroo_traffic_judge_agreement", {}, report.judge.agreement))
    for group in report.experts:
        found += _figures_of(group)
    found.append(("leeroo_traffic_complaints", {}, float(len(report.complaints))))
    return [(name, labels, value) for name, labels, value in found if math.isfinite(value)]


def _figures_of(group: Group) -> list[tuple[str, dict[str, str], float]]:
    labels = {"expert": group.name}
    found = []
    if group.success is not None:
        found.append(("leeroo_traffic_success_gap", labels, group.success.difference))
    if group.cost is not None:
        found.append(("leeroo_traffic_cost_ratio", labels, group.cost.ratio))
    return found


def plain(value: Any) -> Any:
    """The same as JSON values: times in ISO 8601, null for what is no number."""
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
