"""The report as one HTML page, and its charts as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pipelines.report.parts import Chart, Examples, Figures, Paragraph, Section, Table
from pipelines.report.theme import on_paper
from warehouse import CannotRunError

DOTS_PER_PIXEL = 2.0  # of figures as PNG
_KINDS = {Paragraph: "paragraph", Figures: "figures", Table: "table", Chart: "chart", Examples: "examples"}


def render_page(sections: Sequence[Section], *, title: str, queries_per_month: float) -> str:
    """One page with everything in it: styles, scripts, charts and the tables behind them; no network needed.

    Raises:
        CannotRunError: the library that draws the charts is not installed.
    """
    from jinja2 import Environment

    charts = [chart for section in sections for chart in section.charts]
    domains = sorted({cell for table in _tables(sections) for cell in _domains(table)})
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.tests["part"] = lambda part, kind: _KINDS[type(part)] == kind
    return environment.from_string(_file("page.html")).render(
        title=title,
        sections=sections,
        domains=domains,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        queries_per_month=f"{queries_per_month:.0f}",
        style=_file("page.css"),
        library=_library(),
        script=_file("page.js"),
        # Text of a question must not end the element.
        specs=json.dumps({chart.name: chart.spec for chart in charts}, allow_nan=False).replace(
            "<", "\\u003c"
        ),
    )


def draw_files(sections: Sequence[Section], folder: Path) -> list[Path]:
    """Write every chart as PNG and as SVG, on white paper; return the files.

    Raises:
        CannotRunError: the library that draws the charts is not installed.
    """
    converter = _converter()
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for chart in (chart for section in sections for chart in section.charts):
        spec = on_paper(chart.spec)
        png, svg = folder / f"{chart.name}.png", folder / f"{chart.name}.svg"
        png.write_bytes(converter.vegalite_to_png(spec, scale=DOTS_PER_PIXEL))
        svg.write_text(converter.vegalite_to_svg(spec), encoding="utf-8")
        files += [png, svg]
    return files


def _tables(sections: Sequence[Section]) -> list[Table]:
    parts = [part for section in sections for part in section.parts]
    return [p.table if isinstance(p, Chart) else p for p in parts if isinstance(p, Chart | Table)]


def _domains(table: Table) -> list[str]:
    if table.by_domain is None:
        return []
    at = table.columns.index(table.by_domain)
    return [row[at].text for row in table.rows]


def _file(name: str) -> str:
    return resources.files("pipelines.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """The script that draws the charts; bundling it takes some seconds."""
    bundle: str = _converter().javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError:
        raise CannotRunError(
            "charts need the package vl-convert-python", fix="pip install 'leeroo-orchestrator[report]'"
        ) from None
    return vl_convert
