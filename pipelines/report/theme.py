"""Colours and type of the charts: on the page CSS variables, so that they follow its theme; in files fixed.

The colours are Okabe and Ito's, told apart by people with any common colour blindness; those of further
experts are from Tol's muted scheme.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: Variable of the page -> its colour on paper. ``page.css`` has those of the dark theme.
COLOURS = {
    "--ours": "#0072B2",
    "--single": "#D55E00",
    "--oracle": "#009E73",
    "--zero": "#767676",
    "--matched": "#A6527F",
    "--other": "#B07D00",
    "--soft": "#8a8f98",
    "--seventh": "#332288",
    "--eighth": "#117733",
    "--ninth": "#882255",
    "--tenth": "#3F7F93",
    "--eleventh": "#8A7A1F",
    "--twelfth": "#B5485D",
    "--ink": "#1b1f24",
    "--muted": "#525a65",
    "--grid": "#e3e6ea",
    "--paper": "#ffffff",
}
#: For experts, in this order; further ones begin again, told apart by the numbers at their bars.
SERIES = tuple(
    f"var({name})"
    for name in (
        *("--ours", "--single", "--oracle", "--matched", "--other", "--zero"),
        *("--seventh", "--eighth", "--ninth", "--tenth", "--eleventh", "--twelfth"),
    )
)
FONT = "system-ui, 'Segoe UI', 'Noto Sans', 'Liberation Sans', sans-serif"
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "range": {"category": list(SERIES)},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--ink)",
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 12,
        "labelLimit": 220,
        "gridColor": "var(--grid)",
        "domainColor": "var(--muted)",
        "tickColor": "var(--muted)",
    },
    "legend": {"labelColor": "var(--ink)", "titleColor": "var(--ink)", "labelFontSize": 12, "orient": "top"},
    "header": {"labelColor": "var(--ink)", "titleColor": "var(--ink)"},
    "text": {"fill": "var(--ink)", "fontSize": 12},
}


def finish(spec: Mapping[str, Any], *, height: int) -> dict[str, Any]:
    """A whole specification from marks and encodings."""
    size = {"width": "container", "height": height, "autosize": {"type": "fit", "contains": "padding"}}
    return {"$schema": SCHEMA, "config": CONFIG, **size, **spec}


def cost_axis(title: str) -> dict[str, Any]:
    """Costs along the bottom, in ratio: an expert may cost a hundred times what another does."""
    scale = {"type": "log", "nice": False, "padding": 24}
    axis = {"title": title, "format": "~g", "tickCount": 6, "grid": False}
    return {"field": "cost", "type": "quantitative", "scale": scale, "axis": axis}


def on_paper(spec: Mapping[str, Any], *, width: int = 720) -> dict[str, Any]:
    """The same for a file: fixed colours, a fixed width, white paper."""
    text = json.dumps({**spec, "width": width})
    for name, colour in COLOURS.items():
        text = text.replace(f"var({name})", colour)
    fixed: dict[str, Any] = json.loads(text)
    fixed["config"]["background"] = COLOURS["--paper"]
    fixed["config"]["font"] = "DejaVu Sans, Liberation Sans, sans-serif"
    return fixed
