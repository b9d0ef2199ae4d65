"""The router from outcomes to champion: ``leeroo train``, ``evaluate``, ``promote``, ``rollback``, ..."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.text.registry import DEFAULT_EMBEDDER
from pipelines.commands.options import (
    DEFAULT_HOME,
    PREDICTOR_KINDS,
    CsvOption,
    EmbedderOption,
    ExpertsOption,
    HomeOption,
    JsonOption,
    PoolOption,
    SourceOption,
)
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.evaluation.report import EvaluationReport
    from orchestrator.selection.cascade import Signal
    from orchestrator.versions.mlflow_registry import Version
    from warehouse import Outcomes


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(train)
    app.command()(evaluate)
    app.command()(promote)
    app.command()(rollback)
    app.command()(versions)


def train(
    pool: PoolOption = None,
    experts: ExpertsOption = None,
    source: SourceOption = None,
    predictor: Annotated[str, typer.Option(help=f"Kind of predictor: {PREDICTOR_KINDS}.")] = "stack",
    embedder: EmbedderOption = DEFAULT_EMBEDDER,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of splits in the evaluation that is logged with the router.")
    ] = 5,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    traffic: Annotated[
        bool,
        typer.Option(
            "--traffic",
            help="Also learn from labels and bills of recorded requests, if earlier ones predict later ones.",
        ),
    ] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Train a router on the warehouse's outcomes and register it; the first one becomes champion at once."""
    from orchestrator.text.registry import load_embedder
    from orchestrator.traffic.read import read_bills, read_labels
    from orchestrator.train import check_router_settings
    from orchestrator.versions.mlflow_registry import champion_version
    from orchestrator.versions.promotion import crown_first
    from pipelines.commands.screen import print_training
    from pipelines.commands.terminal.console import Terminal
    from pipelines.commands.terminal.progress import working
    from pipelines.learning.pool_outcomes import load_pool_outcomes
    from pipelines.learning.training import train_version

    place = Home.open(home)
    check_router_settings([predictor], embedder)
    outcomes = load_pool_outcomes(place, pool, experts, source)
    labels = bills = None
    if traffic:
        reader = load_embedder(embedder)
        labels = read_labels(place.warehouse(), outcomes.experts, reader)
        bills = read_bills(place.warehouse(), outcomes.experts, reader)
    size = f"{len(outcomes):,} questions x {len(outcomes.experts)} experts"
    with working(f"training on {size}") as tell:
        trained = train_version(
            outcomes,
            place,
            predictor=predictor,
            embedder=embedder,
            seeds=seeds,
            seed=seed,
            traffic=labels,
            bills=bills,
            on_progress=tell,
        )
    version = trained.version
    print_training(trained)
    console = Terminal()
    if trained.is_new:
        console.print(
            f"router version {version}: {predictor} over {len(outcomes.experts)} experts, "
            f"{len(outcomes):,} questions"
            + ("; its evaluation is logged with it" if trained.report else "; too few answers to evaluate it")
        )
    if crown_first(place.mlflow_uri, version):
        console.print(f"version {version} is champion: there was none before")
    elif champion_version(place.mlflow_uri) == version:
        console.print(f"version {version} is champion already")
    else:
        console.print(f"version {version} is challenger: `leeroo promote {version}` puts it to the test")


def evaluate(
    pool: PoolOption = None,
    experts: ExpertsOption = None,
    source: SourceOption = None,
    predictors: Annotated[
        str, typer.Option(help=f"Predictors to compare, comma-separated: {PREDICTOR_KINDS}.")
    ] = "knn,cluster,ridge,stack",
    versions: Annotated[
        str | None,
        typer.Option(help="Router versions or aliases to compare pairwise instead: 'champion,7'."),
    ] = None,
    embedder: EmbedderOption = DEFAULT_EMBEDDER,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of splits; five of them test every question once.")
    ] = 5,
    price_basis: Annotated[
        str, typer.Option(help="Cost of an answer: actual, or flat (each expert's mean).")
    ] = "actual",
    cascades: Annotated[
        bool,
        typer.Option(
            "--cascades",
            help="Add cascades: escalate when two experts disagree, or an answer is unsure or long.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for JSON and figures; HOME/evaluations/latest by default.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Compare routing policies, or trained versions, on the warehouse's outcomes: a table with intervals,
    JSON and figures, logged to MLflow as well.
    """
    from orchestrator.evaluation.benchmark_table import render_details
    from orchestrator.evaluation.evaluate import evaluate_router
    from orchestrator.evaluation.report_files import write_report
    from orchestrator.evaluation.report_tables import render_pairs, render_report
    from orchestrator.train import check_router_settings
    from orchestrator.versions.mlflow_registry import log_evaluation
    from pipelines.commands.terminal.console import Terminal
    from pipelines.commands.terminal.progress import working
    from pipelines.commands.terminal.query_output import write_records
    from pipelines.learning.pool_outcomes import load_pool_outcomes, load_readings
    from warehouse import InputError, split_names
    from warehouse.mlflow_store import open_store

    kinds = split_names(predictors) or ["knn"]
    if not versions:
        check_router_settings(kinds, embedder)
    if price_basis not in ("actual", "flat"):
        raise InputError(
            f"unknown price basis {price_basis!r}", where="--price-basis", fix="use actual or flat"
        )
    if cascades and versions:
        raise InputError("versions are compared without cascades", where="--cascades", fix="leave out one")
    place = Home.open(home)
    if versions:
        with working(f"comparing versions {versions}"):
            report = _compare_versions(place, split_names(versions), source)
    else:
        outcomes = load_pool_outcomes(place, pool, experts, source)
        open_store(place.mlflow_uri)  # no hour of work for a result that cannot be kept
        size = f"{len(outcomes):,} questions x {len(outcomes.experts)} experts"
        with working(f"evaluating {', '.join(kinds)} on {size}") as tell:
            report = evaluate_router(
                outcomes,
                predictors=kinds,
                embedder=embedder,
                seeds=seeds,
                price_basis="flat" if price_basis == "flat" else "actual",
                cache_dir=place.embeddings,
                signals=_find_signals(place, outcomes) if cascades else (),
                readings=load_readings(place, outcomes),
                on_progress=tell,
            )
    console = Terminal(stderr=as_json or as_csv)
    if as_json or as_csv:
        write_records(_measures(report), sys.stdout, as_csv=as_csv)
    else:
        for rendered in (render_report(report), render_details(report), render_pairs(report)):
            console.print(rendered)
    with working("drawing figures, and logging them"):
        written = write_report(report, out or place.path / "evaluations" / "latest")
        run_id = log_evaluation(report, tracking_uri=place.mlflow_uri)
    console.print(
        f"wrote {', '.join(path.name for path in written)} to {written[0].parent}; MLflow run {run_id}"
    )


def _measures(report: EvaluationReport) -> list[dict[str, Any]]:
    """A row for each measure of each policy."""
    return [
        {"policy": row.name, "measure": name} | asdict(measure)
        for row in report.rows
        for name, measure in row.measures.items()
    ]


def promote(
    version: Annotated[str, typer.Argument(help="Version or alias.")] = "challenger",
    source: SourceOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote whatever the test says; the version keeps a note.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Reason to record in the note.")] = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a version champion if it beats the champion on held-out questions or on served traffic, and is
    worse on neither; exit code 1 if it does not.
    """
    from orchestrator.versions.mlflow_registry import CHALLENGER, load_version
    from orchestrator.versions.mlflow_registry import versions as list_versions
    from orchestrator.versions.promotion import challenge_champion
    from pipelines.commands.terminal.console import Terminal
    from pipelines.commands.terminal.progress import working
    from pipelines.learning.pool_outcomes import champion_pool, load_pool_outcomes
    from warehouse import InputError, TooFewError

    place = Home.open(home)
    if version == CHALLENGER and not any(CHALLENGER in v.aliases for v in list_versions(place.mlflow_uri)):
        raise InputError(
            "no version waits to be promoted",
            where=place.mlflow_uri,
            fix="`leeroo train` makes one; `leeroo versions` lists what there is",
        )
    pool = load_version(place.mlflow_uri, version).info
    names = champion_pool(place, pool["experts"])
    outcomes = load_pool_outcomes(place, None, ",".join(names), source or ",".join(pool["sources"]))
    with working(f"putting version {version} to the test"):
        standing = challenge_champion(
            place.mlflow_uri,
            version,
            outcomes,
            traffic=place.warehouse(),
            force=force,
            reason=reason,
            cache_dir=place.embeddings,
        )
    console = Terminal()
    if standing.test is None and standing.traffic is None:
        if not standing.promoted:
            raise TooFewError(f"version {standing.version} {standing.verdict}")
        console.print(f"version {standing.version} {standing.verdict}")
        return
    untested = "no test on held-out questions"
    console.print(
        f"version {standing.version} against champion {standing.former}: {standing.test or untested}"
    )
    if standing.traffic:
        console.print(standing.traffic)
    if not standing.promoted:
        console.print(
            "refused: no interval is above 0, or one is below. --force promotes it all the same and leaves "
            "a note"
        )
        raise typer.Exit(1)
    console.print(f"version {standing.version} is champion" + (" (forced)" if standing.forced else ""))


def rollback(home: HomeOption = DEFAULT_HOME) -> None:
    """Make the former champion champion again."""
    from orchestrator.versions.mlflow_registry import rollback as restore_former
    from pipelines.commands.terminal.console import print_line

    restored, replaced = restore_former(Home.open(home).mlflow_uri)
    print_line(f"version {restored} is champion again; version {replaced} is set aside")


def versions(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """List the router versions."""
    from orchestrator.versions.mlflow_registry import versions as list_versions
    from pipelines.commands.terminal.console import Terminal

    found = list_versions(Home.open(home).mlflow_uri)
    if as_json or as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records([_as_record(asdict(v)) for v in found], sys.stdout, as_csv=as_csv)
        return
    console = Terminal()
    if not found:
        console.print("no router has been trained yet: `leeroo selfplay` or `leeroo train`")
        return
    console.print(version_table(found))


def version_table(found: Sequence[Version]) -> Table:
    """Lay router versions out, the newest as they come."""
    from rich.table import Table

    table = Table()
    for column in ("version", "alias", "made (UTC)", "predictor", "pool", "accuracy", "USD/1k"):
        table.add_column(column)
    table.add_column("note")
    for v in found:
        table.add_row(
            v.version,
            ", ".join(v.aliases),
            f"{v.created_at:%Y-%m-%d %H:%M}",
            v.predictor,
            str(len(v.pool)),
            f"{v.metrics['validation_accuracy']:.4f}" if "validation_accuracy" in v.metrics else "-",
            f"{v.metrics['validation_cost_usd'] * 1000:.3g}" if "validation_cost_usd" in v.metrics else "-",
            v.note,
        )
    return table


def _as_record(version: dict[str, Any]) -> dict[str, Any]:
    """A version without the hundreds of figures of its evaluation; they are in `leeroo report` and MLflow."""
    metrics = version.pop("metrics")
    return version | {name: metrics.get(f"validation_{name}") for name in ("accuracy", "cost_usd")}


def _compare_versions(place: Home, wanted: list[str], source: str | None) -> EvaluationReport:
    from orchestrator.evaluation.compare import compare_routers
    from orchestrator.versions.mlflow_registry import find_version, load_version
    from pipelines.learning.pool_outcomes import load_pool_outcomes

    numbers = dict.fromkeys(find_version(place.mlflow_uri, version) for version in wanted)
    routers = {f"version {number}": load_version(place.mlflow_uri, number) for number in numbers}
    names = dict.fromkeys(name for router in routers.values() for name in router.experts)
    sources = dict.fromkeys(name for router in routers.values() for name in router.info["sources"])
    outcomes = load_pool_outcomes(place, None, ",".join(names), source or ",".join(sources))
    return compare_routers(routers, outcomes, cache_dir=place.embeddings)


def _find_signals(place: Home, outcomes: Outcomes) -> list[Signal]:
    """What in the replies can tell a cascade when to escalate.

    Raises:
        InputError: nothing can.
    """
    from experts.grading.replies import load_replies
    from orchestrator.selection.cascade import agreements, brevities, confidences
    from warehouse import InputError

    replies = load_replies(place.warehouse(), outcomes.question_ids.tolist(), outcomes.experts)
    signals = [
        *confidences(replies.confidence),
        *agreements(replies.answer),
        *brevities(outcomes.completion_tokens),
    ]
    if not signals:
        raise InputError(
            "neither replies, nor how sure or how long they are, is recorded of these experts",
            where="--cascades",
            fix="leave it out",
        )
    return signals
