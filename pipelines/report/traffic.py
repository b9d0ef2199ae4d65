"""What the traffic shows: forecasts beside what was found, by expert, from the last report on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.report.parts import Cell, Figure, Figures, Paragraph, Part, Section, points, table_of
from warehouse import Warehouse
from warehouse.traffic.kept_report import FILE, read_report


def read_kept(home: Path) -> dict[str, Any] | None:
    """All that the last report on the traffic says; None where there is none, or it is no such report."""
    if read_report(home) is None:
        return None
    content: dict[str, Any] = json.loads((home / FILE).read_text(encoding="utf-8"))
    return content if {"requests", "scored", "begins", "ends", "experts"} <= set(content) else None


@dataclass(frozen=True)
class Said:
    """What was said of an expert's answers to requests, by people or by graders."""

    expert: str
    kind: str  # feedback or grader
    answers: int
    score: float  # mean, 0 to 1
    low: float  # 95% interval
    high: float


def read_said(warehouse: Warehouse) -> tuple[Said, ...]:
    """Read what was said of the answers to recorded requests, by expert."""
    with warehouse.connect() as connection:
        rows = connection.execute(
            "select expert, kind, count(*), avg(score), coalesce(stddev_samp(score), 0) from labels"
            " group by expert, kind order by kind, count(*) desc, expert"
        ).fetchall()
    return tuple(
        Said(expert, kind, n, mean, *_interval(mean, deviation, n))
        for expert, kind, n, mean, deviation in rows
    )


def _interval(mean: float, deviation: float, n: int) -> tuple[float, float]:
    """A normal 95% interval within [0, 1]; all of it where one answer says nothing of the spread."""
    if n < 2:
        return 0.0, 1.0
    half = 1.96 * deviation / n**0.5
    return max(0.0, mean - half), min(1.0, mean + half)


def tell_traffic(kept: Mapping[str, Any] | None, said: Sequence[Said] = ()) -> Section | None:
    """The last `leeroo traffic report`, and what was said of answers; None where there is neither.

    Args:
        kept: what :mod:`pipelines.traffic.kept_report` wrote.
        said: of the answers to recorded requests.
    """
    parts = [*_tell_kept(kept), *_tell_said(said)]
    return Section("traffic", "What the traffic shows", tuple(parts)) if parts else None


def _tell_said(said: Sequence[Said]) -> list[Part]:
    if not said:
        return []
    numbers = ("answers", "mean score [95%]")
    rows = [
        (one.expert, "people" if one.kind == "feedback" else "graders", Cell(f"{one.answers:,}", one.answers),
         Cell(f"{one.score:.2f} [{one.low:.2f}, {one.high:.2f}]", one.score))
        for one in said
    ]  # fmt: skip
    text = (
        "Scores of answers that were given, from 0 to 1. Who says something of an answer chooses to: these"
        " are not scores of all requests."
    )
    return [Paragraph(text), table_of("said", ("expert", "said by", *numbers), rows, numbers=numbers)]


def _tell_kept(kept: Mapping[str, Any] | None) -> list[Part]:
    if kept is None:
        return []
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
    return parts


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
