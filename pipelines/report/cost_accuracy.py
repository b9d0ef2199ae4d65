"""Cost against accuracy: the router's curve beside what it has to beat (Figure 3 of the paper)."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.selection.hull import convex_hull
from pipelines.report.parts import (
    Chart,
    Figure,
    Figures,
    Paragraph,
    Part,
    Section,
    Table,
    money,
    percent,
    table_of,
    usd_per_1k,
    with_interval,
)
from pipelines.report.policies import Evaluation, Row, colour_of, find_row, our_row, title_of
from pipelines.report.theme import cost_axis, finish

#: What the picture shows beside the router; other routers have their numbers in the table.
DRAWN = ("zero-router", "matched random", "oracle")
HEIGHT, LINE = 420, 16  # pixels: of the picture, of a line of text
POINTS = ("best single", "cheapest", "random")


def tell_cost_accuracy(evaluation: Evaluation | None, predictor: str) -> Section | None:
    """The picture, and the table behind it; None where the version was not evaluated."""
    if evaluation is None:
        return None
    ours, single = our_row(evaluation, predictor), find_row(evaluation, "best single")
    parts: list[Part] = [
        Figures(
            (
                Figure(_share(ours), "accuracy of this router, no budget pressure"),
                Figure(_share(single), f"accuracy of the best single expert, {evaluation['best_single']}"),
                Figure(f"{money(1000 * _cost(ours))}", "this router, per 1,000 queries"),
                Figure(f"{money(1000 * _cost(single))}", "the best single expert, per 1,000 queries"),
            )
        ),
        _chart(evaluation, ours),
        Paragraph(
            "Each position of the router's dial is a point of its curve; the band is the 95% interval of its"
            " accuracy. The zero-router mixes single experts at random, the best way that hindsight allows: a"
            " router that reads the query has to lie above it. The oracle knows in advance who is right."
        ),
    ]
    return Section("cost-accuracy", "Cost and accuracy", tuple(parts))


def _chart(evaluation: Evaluation, ours: Row) -> Chart:
    rows = [row for row in evaluation["rows"] if row is ours or row["name"] in (*DRAWN, *POINTS)]
    curves: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for row in rows:
        name, colour = title_of(row, ours), colour_of(row, ours)
        curve = sorted(row["curve"])
        if row["name"] == "zero-router":
            costs, accuracies = convex_hull(*np.array(curve)[:, :2].T)
            curve = [[a, b, b, b] for a, b in zip(costs.tolist(), accuracies.tolist(), strict=True)]
        drawn = [
            {"policy": name, "colour": colour, "cost": 1000 * cost, "accuracy": accuracy, "low": low,
             "high": high, "band": row is ours}
            for cost, accuracy, low, high in curve if cost and cost > 0
        ]  # fmt: skip
        if not drawn:
            continue
        is_point = row["name"] in POINTS
        (points if is_point else curves).extend(drawn)
        at = drawn[-1] if not is_point else drawn[0]
        labels.append({**at, "label": name.split(":")[0]})
    shown = [*points, *(own for own in curves if own["band"])]
    reach = max(own["high"] for own in shown) - min(own["low"] for own in shown) or 1.0
    x = cost_axis("USD per 1,000 queries (log scale)")
    y = {"field": "accuracy", "type": "quantitative", "scale": {"zero": False},
         "axis": {"title": "accuracy on held-out questions", "format": "%"}}  # fmt: skip
    by_colour = {"field": "colour", "type": "nominal", "scale": None}
    tooltip = [
        {"field": "policy"},
        {"field": "cost", "title": "USD per 1,000", "format": ".3~g"},
        {"field": "accuracy", "format": ".1%"},
        {"field": "low", "title": "95% from", "format": ".1%"},
        {"field": "high", "title": "95% to", "format": ".1%"},
    ]
    layers: list[dict[str, Any]] = [
        {"data": {"values": [c for c in curves if c["band"]]}, "mark": {"type": "area", "opacity": 0.18},
         "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": by_colour}},
        {"data": {"values": curves}, "mark": {"type": "line", "strokeWidth": 2.5},
         "encoding": {"x": x, "y": y, "color": by_colour, "detail": {"field": "policy"},
                      "strokeDash": {"condition": {"test": "datum.band", "value": [1, 0]}, "value": [6, 3]}}},
        {"data": {"values": curves}, "mark": {"type": "circle", "size": 60, "opacity": 0.01},
         "encoding": {"x": x, "y": y, "color": by_colour, "tooltip": tooltip}},
        {"data": {"values": points}, "mark": {"type": "rule", "strokeWidth": 1.5},
         "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": by_colour}},
        {"data": {"values": points}, "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": by_colour, "tooltip": tooltip}},
        *_labels(labels, reach, x, y, by_colour),
    ]  # fmt: skip
    return Chart(
        "cost_accuracy",
        "What a query costs, and how often the answer is right",
        finish({"layer": layers}, height=HEIGHT),
        _says(evaluation, ours),
        _table(evaluation, ours),
    )


def _labels(
    labels: list[dict[str, Any]], reach: float, x: Any, y: Any, by_colour: Any
) -> list[dict[str, Any]]:
    """Names at the lines and points, each on the side where there is room, none over another.

    Args:
        labels: with the cost and the accuracy of what they name.
        reach: accuracy from the bottom of the picture to its top.
        x, y, by_colour: their encodings.
    """
    middle = np.sqrt(min(at["cost"] for at in labels) * max(at["cost"] for at in labels))
    layers = []
    lowest = {True: -np.inf, False: -np.inf}  # by side, in pixels from the top
    for at in sorted(labels, key=lambda label: -label["accuracy"]):
        left = bool(at["cost"] > middle)
        own = -at["accuracy"] / reach * HEIGHT
        lowest[left] = max(own - 10, lowest[left] + LINE)
        mark = {"type": "text", "align": "right" if left else "left", "dx": -10 if left else 10,
                "dy": float(lowest[left] - own), "fontSize": 12, "fontWeight": "bold"}  # fmt: skip
        halo = {**mark, "stroke": "var(--paper)", "strokeWidth": 4, "strokeOpacity": 0.9}
        place = {"x": x, "y": y, "text": {"field": "label"}}
        layers.append({"data": {"values": [at]}, "mark": halo, "encoding": place})
        layers.append({"data": {"values": [at]}, "mark": mark, "encoding": {**place, "color": by_colour}})
    return layers


def _table(evaluation: Evaluation, ours: Row) -> Table:
    rows = [
        (
            title_of(row, ours),
            with_interval(row["measures"].get("accuracy")),
            usd_per_1k(_cost(row)),
            percent((row["measures"].get("headroom_log") or {}).get("value")),
        )
        for row in evaluation["rows"]
    ]
    numbers = ("accuracy [95%]", "per 1,000 queries", "headroom")
    return table_of("policies", ("policy", *numbers), rows, numbers=numbers)


def _says(evaluation: Evaluation, ours: Row) -> str:
    single = find_row(evaluation, "best single")
    saved = 1 - _cost(ours) / _cost(single) if _cost(single) else 0.0
    one, other = ours["measures"]["accuracy"], single["measures"]["accuracy"]
    apart = one["low"] > other["high"] or other["low"] > one["high"]
    return (
        f"Without budget pressure this router is right on {_share(ours)} of the questions at"
        f" {money(1000 * _cost(ours))} per 1,000, the best single expert on {_share(single)} at"
        f" {money(1000 * _cost(single))}: {'cheaper' if saved >= 0 else 'dearer'} by {abs(saved):.0%}."
        + ("" if apart else " The 95% intervals of the two accuracies overlap.")
    )


def _share(row: Row) -> str:
    return f"{100 * row['measures']['accuracy']['value']:.1f}%"


def _cost(row: Row) -> float:
    return float(row["measures"]["cost_usd"]["value"] or 0.0)
