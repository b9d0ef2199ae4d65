"""Accuracy by domain (Figure 4 of the paper), and who answers what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.report.parts import Cell, Chart, Part, Section, percent, table_of
from pipelines.report.policies import Evaluation, colour_of, find_row, our_row, title_of
from pipelines.report.theme import SERIES, finish

if TYPE_CHECKING:
    from orchestrator import Orchestrator
    from warehouse import Outcomes

ROW_PX = 30  # height of a domain
MOST_DECIDED = 5_000  # queries that the router decides for the picture
LEAST_NUMBERED = 0.03  # share of a bar that has room for a number
#: Charts that can be told to show one domain; the page sets the parameter.
DOMAIN = {"name": "domain", "value": ""}
SHOWN = {"condition": {"test": "domain == '' || datum.domain == domain", "value": 1}, "value": 0.15}


def tell_domains(
    evaluation: Evaluation | None, predictor: str, router: Orchestrator, asked: Outcomes | None
) -> Section | None:
    """What is reached in each domain and who would answer there.

    Args:
        evaluation: of the version.
        predictor: of the version.
        router: which decides on ``asked`` at its default multiplier.
        asked: questions of the home.
    """
    parts: list[Part] = []
    if evaluation is not None:
        parts.append(_accuracy(evaluation, predictor))
    if asked is not None and len(asked):
        parts.append(_shares(router, asked))
    return Section("domains", "By domain", tuple(parts)) if parts else None


def _accuracy(evaluation: Evaluation, predictor: str) -> Chart:
    ours = our_row(evaluation, predictor)
    rows = [ours, find_row(evaluation, "best single"), find_row(evaluation, "oracle")]
    domains = list(ours["accuracy_by_domain"])
    values = [
        {"domain": domain, "policy": title_of(row, ours).split(":")[0], "colour": colour_of(row, ours),
         "accuracy": row["accuracy_by_domain"][domain], "shape": shape}
        for row, shape in zip(rows, ("circle", "diamond", "triangle-up"), strict=True) for domain in domains
    ]  # fmt: skip
    x = {"field": "accuracy", "type": "quantitative", "scale": {"domain": [0, 1]},
         "axis": {"title": "accuracy, no budget pressure", "format": "%"}}  # fmt: skip
    y = {"field": "domain", "type": "nominal", "axis": {"title": None, "grid": True}, "sort": domains}
    colours = list(dict.fromkeys(value["colour"] for value in values))
    names = list(dict.fromkeys(value["policy"] for value in values))
    spec: dict[str, Any] = {
        "params": [DOMAIN],
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "size": 130},
        "encoding": {
            "x": x,
            "y": y,
            "yOffset": {"field": "policy", "type": "nominal", "sort": names, "scale": {"paddingOuter": 0.6}},
            "opacity": SHOWN,
            "color": {
                "field": "policy", "type": "nominal", "title": None,
                "legend": {"columns": 2, "labelLimit": 320},
                "scale": {"domain": names, "range": colours},
            },
            "shape": {
                "field": "policy", "type": "nominal", "title": None,
                "scale": {"domain": names, "range": ["circle", "diamond", "triangle-up"]},
            },
            "tooltip": [{"field": "domain"}, {"field": "policy"}, {"field": "accuracy", "format": ".1%"}],
        },
    }  # fmt: skip
    behind = max(domains, key=lambda d: rows[1]["accuracy_by_domain"][d] - ours["accuracy_by_domain"][d])
    lag = rows[1]["accuracy_by_domain"][behind] - ours["accuracy_by_domain"][behind]
    better = sum(ours["accuracy_by_domain"][d] > rows[1]["accuracy_by_domain"][d] for d in domains)
    says = f"This router is above the best single expert in {better} of {len(domains)} domains." + (
        f" Furthest behind it: {behind}, by {100 * lag:.1f} points." if lag > 0 else ""
    )
    numbers = names
    table = table_of(
        "accuracy-by-domain",
        ("domain", *numbers),
        [(domain, *(percent(row["accuracy_by_domain"][domain]) for row in rows)) for domain in domains],
        numbers=numbers,
        by_domain="domain",
    )
    finished = finish(spec, height=ROW_PX * len(domains) + 90)
    return Chart("accuracy_by_domain", "Accuracy by domain", finished, says, table, has_domains=True)


def _shares(router: Orchestrator, asked: Outcomes) -> Chart:
    """Whom the router would ask, at its default multiplier."""
    step = max(1, -(-len(asked) // MOST_DECIDED))
    rows = list(range(0, len(asked), step))
    decided = router.decide([asked.texts[i] for i in rows])
    counts: dict[tuple[str, str], int] = {}
    for i, decision in zip(rows, decided, strict=True):
        key = (str(asked.domains[i]), decision.expert)
        counts[key] = counts.get(key, 0) + 1
    domains = sorted({domain for domain, _ in counts})
    totals = {d: sum(n for (own, _), n in counts.items() if own == d) for d in domains}
    overall = {e: sum(n for (_, own), n in counts.items() if own == e) for e in router.experts}
    experts = sorted((e for e in router.experts if overall[e]), key=lambda e: -overall[e])
    numbered = {expert: f"{place}  {expert}" for place, expert in enumerate(experts, 1)}
    values = [
        {"domain": domain, "expert": numbered[expert], "share": counts[domain, expert] / totals[domain],
         "order": experts.index(expert), "number": str(1 + experts.index(expert))}
        for domain, expert in counts
    ]  # fmt: skip
    x = {"field": "share", "type": "quantitative", "stack": "zero", "scale": {"domain": [0, 1]},
         "axis": {"title": "share of its queries; numbers: experts, as above", "format": "%"}}  # fmt: skip
    y = {"field": "domain", "type": "nominal", "axis": {"title": None}, "sort": domains}
    colour = {
        "field": "expert", "type": "nominal", "title": None,
        "legend": {"columns": 2, "symbolType": "square", "labelLimit": 320},
        "scale": {"domain": list(numbered.values()), "range": _colours(experts)},
    }  # fmt: skip
    both: dict[str, Any] = {"y": y, "order": {"field": "order"}, "opacity": SHOWN}
    has_room = f"datum.share >= {LEAST_NUMBERED}"
    number = {"type": "text", "color": "var(--paper)", "fontSize": 11, "fontWeight": "bold"}
    spec: dict[str, Any] = {
        "params": [DOMAIN],
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.7}, "stroke": "var(--paper)"},
                "encoding": {
                    **both,
                    "x": x,
                    "color": colour,
                    "tooltip": [
                        {"field": "domain"},
                        {"field": "expert"},
                        {"field": "share", "format": ".1%"},
                    ],
                },
            },
            {
                "mark": number,
                "encoding": {
                    **both,
                    "x": {**x, "bandPosition": 0.5},
                    "detail": {"field": "expert"},
                    "text": {
                        "condition": {"test": has_room, "field": "number"},
                        "value": "",
                    },
                },
            },
        ],
    }
    first = experts[0]
    says = (
        f"At the default multiplier {first} answers {overall[first] / len(rows):.0%} of"
        f" {len(rows):,} queries; {len(experts)} of {len(router.experts)} experts answer some."
    )
    table = table_of(
        "who-answers-what",
        ("domain", "queries", *experts),
        [
            (
                d,
                Cell(f"{totals[d]:,}", totals[d]),
                *(percent(counts.get((d, e), 0) / totals[d]) for e in experts),
            )
            for d in domains
        ],
        numbers=("queries", *experts),
        by_domain="domain",
    )
    finished = finish(spec, height=ROW_PX * len(domains) + 90 + 12 * len(experts))
    return Chart("share_per_expert", "Who answers what", finished, says, table, has_domains=True)


def _colours(experts: Sequence[str]) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(len(experts))]
