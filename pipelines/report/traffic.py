"""What the traffic shows: forecasts beside what was found, by expert, from the last report on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.report.parts import Cell, Figure, Figures, Paragraph, Part, Section, points, table_of
from warehouse.traffic.kept_report import FILE, read_report


def read_kept(home: Path) -> dict[str, Any] | None:
    """All that the last report on the traffic says; None where there is none, or it is no such report."""
    if read_report(home) is None:
        return None
    content: dict[str, Any] = json.loads((home / FILE).read_text(encoding="utf-8"))
    return content if {"requests", "scored", "begins", "ends", "experts"} <= set(content) else None


def tell_traffic(kept: Mapping[str, Any] | None) -> Section | None:
    """The last `leeroo traffic report`; None where there was none.

    Args:
        kept: what :mod:`pipelines.traffic.kept_report` wrote.
    """
    if kept is None:
        return None
    figures = [
        Figure(f"{kept['requests']:,}", "requests recorded"),
        Figure(f"{kept['scored']:,}", "scored by users or a judge"),
    ]
    if (novel := kept.get("novelty")) is not None:
        figures.append(Figure(f"{novel['share']:.1%}", "unlike what was trained on"))
    told = f"As `leeroo traffic report` found at {kept['made_at']}, from {kept['begins']} to {kept['ends']}."
    parts: list[Part] = [Paragraph(told), Figures(tuple(figures))]
    parts += [Paragraph(f"{c['who']}: {c['what']}. {c['fix']}") for c in kept["complaints"]]
    if not kept["complaints"]:
        parts.append(Paragraph("Nothing is beyond its threshold."))
    numbers = ("requests", "forecast success", "found", "difference in points [95%]", "bill / forecast [95%]")
    rows = [(group["name"], *_cells(group)) for group in kept["experts"]]
    if rows:
        parts.append(table_of("experts", ("expert", *numbers), rows, numbers=numbers))
    return Section("traffic", "What the traffic shows", tuple(parts))


def _cells(group: Mapping[str, Any]) -> tuple[Cell, ...]:
    none = Cell("-", -1.0)  # plain JSON has null for what is no number
    success, cost = (found if found and None not in found.values() else None
                     for found in (group["success"], group["cost"]))  # fmt: skip
    return (
        Cell(f"{group['requests']:,}", group["requests"]),
        none if success is None else Cell(f"{success['forecast']:.1%}", success["forecast"]),
        none if success is None else Cell(f"{success['found']:.1%} of {success['n']:,}", success["found"]),
        none if success is None else points(success | {"value": success["difference"]}),
        none if cost is None else Cell(_ratio(cost), cost["ratio"]),
    )


def _ratio(cost: Mapping[str, Any]) -> str:
    return f"{cost['ratio']:.2f} [{cost['low']:.2f}, {cost['high']:.2f}]"
