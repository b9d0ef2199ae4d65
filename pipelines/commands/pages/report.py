"""``leeroo report``: everything about a router version on one page, to show to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    round: Annotated[
        str | None,
        typer.Option(
            "--round", help="Report on the home up to this round, and on its router; all rounds by default."
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Router version or alias; the round's or the champion by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the charts as PNG and SVG, beside the page.")
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            help="evaluation.json of `leeroo evaluate` to use instead of the version's own; it has more rows."
        ),
    ] = None,
    queries_per_month: Annotated[
        float,
        typer.Option(
            min=0, help="Your number of queries per month, for the savings; the page can change it."
        ),
    ] = 100_000,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write one self-contained HTML page: cost and accuracy, savings, domains, universe, gaps, the bill."""
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.progress import working
    from pipelines.report.sections import tell_all
    from pipelines.report.sources import find_sources
    from pipelines.report.write import draw_files, render_page

    with working("gathering what the home knows"):
        sources = find_sources(Home.open(home), round=round, version=version, evaluation_file=evaluation)
        sections = tell_all(sources, queries_per_month)
    title = f"Router version {sources.version.version}: what it costs and what it is worth"
    page = render_page(sections, title=title, queries_per_month=queries_per_month)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    print_line(f"Wrote {out} ({len(page) / 1e6:.1f} MB): open it in any browser.")
    if figures is not None:
        with working("drawing the charts as files"):
            files = draw_files(sections, figures)
        print_line(f"Wrote {len(files)} figures to {figures}.")
