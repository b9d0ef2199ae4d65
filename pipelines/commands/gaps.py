"""``leeroo gaps``: the regions of questions where a pool falls short."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from orchestrator.text.registry import FAST_EMBEDDER
from pipelines.commands.options import (
    DEFAULT_HOME,
    CsvOption,
    EmbedderOption,
    ExpertsLists,
    HomeOption,
    JsonOption,
    SourcesLists,
    TrackOption,
    split_lists,
)
from pipelines.learning.cross_fitted import expected_success
from pipelines.learning.pool_outcomes import load_named
from warehouse.home import Home

#: Recorded requests from which on regions are weighted by them; shares of fewer are chance.
FEWEST_REQUESTS = 50


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("gaps")(gaps)


def gaps(
    home: HomeOption = DEFAULT_HOME,
    experts: ExpertsLists = None,
    source: SourcesLists = None,
    embedder: EmbedderOption = FAST_EMBEDDER,
    target: Annotated[
        float | None, typer.Option(help="Score that every region should reach, corrected for guessing.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="How far below the target a region has to be to count as a gap.")
    ] = 0.1,
    score_price_usd: Annotated[float | None, typer.Option(help="Value of a right answer in USD.")] = None,
    briefs: Annotated[bool, typer.Option(help="Print the briefs for new questions and experts.")] = True,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    traffic: Annotated[
        bool, typer.Option(help="Weight regions by recorded requests, where there are any.")
    ] = True,
    track: TrackOption = True,
) -> None:
    """Find regions of questions where the pool falls short, and what closing each gap is worth."""
    from orchestrator.text.registry import load_embedder
    from pipelines.commands.terminal.console import Terminal
    from pipelines.commands.terminal.progress import working
    from pipelines.learning.traffic_mix import find_nearest
    from universe.analysis.gaps import brief_for_expert, brief_for_questions, find_gaps
    from universe.report.figures import draw_gaps
    from universe.report.tables import render_gaps

    console = Terminal()
    here = Home.open(home)
    outcomes = load_named(here, split_lists(experts) or _pool_in_use(here), split_lists(source))
    size = f"{len(outcomes):,} questions x {len(outcomes.experts)} experts"
    with working(f"looking for gaps in {size}") as tell:
        expected = expected_success(
            outcomes,
            embedder=embedder,
            cache_dir=here.embeddings,
            on_progress=lambda step, share: tell(step, share / 2),
        )
        tell("regions, and whether they are found again", 0.5)
        embeddings = load_embedder(embedder, cache_dir=here.embeddings).embed(outcomes.texts)
        nearest = find_nearest(here, outcomes) if traffic else None
        few = len(nearest.position) if nearest is not None and len(nearest.position) < FEWEST_REQUESTS else 0
        if few:
            nearest = None
        report = find_gaps(outcomes, expected, outcomes.experts, embeddings, target=target, margin=margin,
                           score_price_usd=score_price_usd,
                           traffic=None if nearest is None else nearest.position)  # fmt: skip
    if as_json or as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records([asdict(gap) for gap in report.gaps], sys.stdout, as_csv=as_csv)
        return
    console.print(render_gaps(report))
    if few:
        console.print(
            f"Regions are weighted by recorded requests from {FEWEST_REQUESTS} on; there are {few}."
        )
    texts = [
        f"{g.name}\n  {brief_for_questions(g)}\n  {brief_for_expert(g, report.target)}" for g in report.gaps
    ]
    if briefs:
        console.print("\n".join(texts), markup=False)
    if track:
        from universe.report.mlflow_runs import log_gaps

        run = log_gaps(report, tracking_uri=here.mlflow_uri,
                       fingerprint=outcomes.fingerprint(), figure=draw_gaps(report),
                       briefs="\n\n".join(texts))  # fmt: skip
        console.print(f"MLflow run {run} holds the figure and the briefs: `leeroo ui`.")


def _pool_in_use(home: Home) -> list[str]:
    from universe.pool_file import read_pool
    from warehouse import NotReadyError

    try:
        return read_pool(home.path)
    except NotReadyError as error:
        raise NotReadyError(
            "no pool is in use to look for gaps in",
            where=error.where,
            fix="name the experts, `leeroo gaps --experts 'NAME,NAME'`, or choose a pool: `leeroo universe`, "
            "then `leeroo universe apply`",
        ) from error
