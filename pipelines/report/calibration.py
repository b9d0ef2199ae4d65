"""How far the router's forecasts can be believed."""

from __future__ import annotations

from typing import Any

from pipelines.report.parts import Cell, Chart, Figure, Figures, Paragraph, Section, percent, table_of
from pipelines.report.policies import Evaluation
from pipelines.report.theme import finish


def tell_calibration(evaluation: Evaluation | None, predictor: str) -> Section | None:
    """Forecast success beside what came; None where nothing was measured."""
    found = (evaluation or {}).get("calibration") or {}
    if not found:
        return None
    name = predictor if predictor in found else next(iter(found))
    measured = found[name]
    bins = [{"predicted": p, "observed": o, "answers": n} for p, o, n in measured["bins"] if p is not None]
    axis = {"format": "%"}
    scale = {"domain": [0, 1]}
    x = {
        "field": "predicted",
        "type": "quantitative",
        "scale": scale,
        "axis": {**axis, "title": "forecast success"},
    }
    y = {
        "field": "observed",
        "type": "quantitative",
        "scale": scale,
        "axis": {**axis, "title": "answers that were right"},
    }
    tooltip = [
        {"field": "predicted", "format": ".1%"},
        {"field": "observed", "format": ".1%"},
        {"field": "answers"},
    ]
    layers: list[dict[str, Any]] = [
        {"data": {"values": [{"predicted": 0, "observed": 0}, {"predicted": 1, "observed": 1}]},
         "mark": {"type": "line", "strokeDash": [4, 4], "color": "var(--muted)"},
         "encoding": {"x": x, "y": y}},
        {"data": {"values": bins}, "mark": {"type": "line", "color": "var(--ours)", "strokeWidth": 2},
         "encoding": {"x": x, "y": y}},
        {"data": {"values": bins}, "mark": {"type": "circle", "color": "var(--ours)", "opacity": 1},
         "encoding": {"x": x, "y": y, "tooltip": tooltip,
                      "size": {"field": "answers", "type": "quantitative", "legend": None,
                               "scale": {"range": [40, 220]}}}},
        {"data": {"values": [{"predicted": 0.2, "observed": 0.14, "text": "forecast = observed"}]},
         "mark": {"type": "text", "align": "left", "color": "var(--muted)"},
         "encoding": {"x": x, "y": y, "text": {"field": "text"}}},
    ]  # fmt: skip
    numbers = ("forecast success", "were right", "answers")
    table = table_of(
        "calibration",
        numbers,
        [
            (percent(b["predicted"]), percent(b["observed"]), Cell(f"{b['answers']:,.0f}", b["answers"]))
            for b in bins
        ],
        numbers=numbers,
    )
    chart = Chart(
        "calibration",
        "Forecast success, and what came",
        finish({"layer": layers}, height=360),
        f"Over all answers the forecasts are off by {100 * measured['ece']:.1f} points on average.",
        table,
    )
    ranked = table_of(
        "auroc",
        ("expert", "AUROC"),
        [(expert, _auroc(value)) for expert, value in measured["auroc"].items()],
        numbers=("AUROC",),
    )
    figures = Figures(
        (
            Figure(f"{measured['ece']:.3f}", "expected calibration error; 0 is best"),
            Figure(f"{measured['brier']:.3f}", "Brier score; 0 is best, 0.25 is a coin"),
        )
    )
    text = (
        "AUROC: how well the forecasts tell queries that an expert gets right from those that it does not;"
        " 0.5 is chance."
    )
    return Section(
        "calibration", "Whether its forecasts can be believed", (figures, chart, Paragraph(text), ranked)
    )


def _auroc(value: float | None) -> Cell:
    return Cell("-", -1.0) if value is None else Cell(f"{value:.3f}", value)
