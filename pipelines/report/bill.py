"""What each round bought, and the bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.parts import Cell, Chart, Part, Section, money, points, table_of, usd, with_interval
from pipelines.report.sources import Round
from pipelines.report.theme import finish
from pipelines.selfplay.results import RoundResult


def tell_bill(rounds: Sequence[Round], spent_usd: Mapping[str, float]) -> Section | None:
    """Accuracy at a fixed cost after each round, and what the rounds cost; None where there were none.

    Args:
        rounds: that are over.
        spent_usd: what they cost by name, the frozen set among them.
    """
    if not rounds:
        return None
    rows: list[tuple[Cell | str, ...]] = []
    values: list[dict[str, Any]] = []
    for known in rounds:
        result, bought = RoundResult.of(dict(known.steps["result"])), known.steps["result"]["purchase"]
        none = Cell("-", -1.0)
        rows.append(
            (known.name, _count(result.questions), _count(result.answers), usd(spent_usd[known.name]),
             with_interval(bought["before"]) if bought else none,
             with_interval(bought["after"]) if bought else none,
             points(bought["difference"]) if bought else none,
             f"version {result.version} {result.verdict}")
        )  # fmt: skip
        if bought:
            if not values:
                values.append({"round": f"before {known.name}", **bought["before"], "spent": 0.0})
            values.append({"round": known.name, **bought["after"], "spent": spent_usd[known.name]})
    others = [
        (name, usd(amount)) for name, amount in spent_usd.items() if name not in {r.name for r in rounds}
    ]
    numbers = ("questions", "answers", "cost", "before [95%]", "after [95%]", "points bought")
    table = table_of("rounds", ("round", *numbers, "verdict"), rows, numbers=numbers)
    parts: list[Part] = [_chart(values, table)] if values else [table]
    if others:
        parts.append(table_of("other-costs", ("beside the rounds", "cost"), others, numbers=("cost",)))
    return Section("bill", "What the rounds bought, and the bill", tuple(parts))


def _chart(values: list[dict[str, Any]], table: Any) -> Chart:
    names = [value["round"] for value in values]
    x = {"field": "round", "type": "ordinal", "sort": names, "axis": {"title": "round", "labelAngle": 0}}
    y = {"field": "value", "type": "quantitative", "scale": {"zero": False},
         "axis": {"title": "accuracy at fixed cost", "format": "%"}}  # fmt: skip
    tooltip = [{"field": "round"}, {"field": "value", "title": "accuracy", "format": ".1%"},
               {"field": "spent", "title": "USD", "format": ".4~g"}]  # fmt: skip
    layers = [
        {"mark": {"type": "rule", "color": "var(--ours)", "strokeWidth": 2},
         "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}},
        {"mark": {"type": "line", "color": "var(--ours)"}, "encoding": {"x": x, "y": y}},
        {"mark": {"type": "circle", "color": "var(--ours)", "size": 130, "opacity": 1},
         "encoding": {"x": x, "y": y, "tooltip": tooltip}},
        {"mark": {"type": "text", "dx": 12, "dy": -10, "align": "left"},
         "encoding": {"x": x, "y": y, "text": {"field": "value", "format": ".1%"}}},
    ]  # fmt: skip
    last = values[-1]
    says = (
        f"After round {last['round']} the router is right on {last['value']:.1%} of the frozen questions at"
        f" the fixed cost; these rounds cost {money(sum(value['spent'] for value in values))}."
    )
    spec = finish({"data": {"values": values}, "layer": layers}, height=300)
    return Chart("rounds", "Accuracy at a fixed cost, after each round", spec, says, table)


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", number)
