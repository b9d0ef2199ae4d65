"""The router from outcomes to champion: ``leeroo train``, ``evaluate``, ``promote``, ``rollback``, ..."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.predictors.registry import describe_predictors
from orchestrator.text.registry import DEFAULT_EMBEDDER, describe_embedders
from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home

if TYPE_CHECKING:
    from orchestrator.evaluation.report import EvaluationReport
    from orchestrator.selection.cascade import Signal
    from warehouse import Outcomes

PoolOption = Annotated[
    str | None, typer.Option(help="A pool in a YAML file, as FILE or FILE:NAME (needs a list `experts`).")
]
ExpertsOption = Annotated[str | None, typer.Option(help="Experts or globs, by commas: 'helm/*,gpt-4*'.")]
SourceOption = Annotated[
    str | None, typer.Option(help="Question sources to use, by commas, for example mmlu.")
]
EmbedderOption = Annotated[str, typer.Option(help=f"{describe_embedders()}, or several joined by +.")]
#: What a predictor may be called, for the help of options.
PREDICTOR_KINDS = describe_predictors()


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(train)
    app.command()(evaluate)
    app.command()(promote)
    app.command()(rollback)
    app.command()(versions)
    experts = typer.Typer(help="Change the champion's pool without retraining.", no_args_is_help=True)
    experts.command("add")(add_expert)
    experts.command("retire")(retire_expert)
    app.add_typer(experts, name="experts")


def train(
    pool: PoolOption = None,
    experts: ExpertsOption = None,
    source: SourceOption = None,
    predictor: Annotated[str, typer.Option(help=f"Kind of predictor: {PREDICTOR_KINDS}.")] = "stack",
    embedder: EmbedderOption = DEFAULT_EMBEDDER,
    seeds: Annotated[int, typer.Option(min=1, help="Splits of the evaluation logged with it.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Train a router on the warehouse's outcomes and register it; the first one becomes champion at once."""
    from rich.console import Console

    from orchestrator.versions.mlflow_registry import champion_version, crown_first
    from pipelines.learning.training import check_router_settings, train_version

    place = Home.open(home)
    check_router_settings([predictor], embedder)
    outcomes = load_pool_outcomes(place, pool, experts, source)
    trained = train_version(outcomes, place, predictor=predictor, embedder=embedder, seeds=seeds, seed=seed)
    version = trained.version
    console = Console()
    if trained.is_new:
        console.print(
            f"router version [bold]{version}[/bold]: {predictor} over {len(outcomes.experts)} experts, "
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
        str, typer.Option(help=f"Kinds of predictor to compare, by commas: {PREDICTOR_KINDS}.")
    ] = "knn,cluster,ridge,stack",
    versions: Annotated[
        str | None,
        typer.Option(help="Router versions or aliases to compare pair by pair instead: 'champion,7'."),
    ] = None,
    embedder: EmbedderOption = DEFAULT_EMBEDDER,
    seeds: Annotated[int, typer.Option(min=1, help="Splits; five of them test every question once.")] = 5,
    price_basis: Annotated[
        str, typer.Option(help="actual costs, or flat: each expert at its mean.")
    ] = "actual",
    cascades: Annotated[
        bool,
        typer.Option(
            "--cascades",
            help="Add a row with cascades: two experts that disagree, an unsure or a long answer escalate.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for JSON and figures (HOME/evaluations/latest).")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Compare routing policies, or trained versions, on the warehouse's outcomes: a table with intervals,
    JSON and figures, logged to MLflow as well.
    """
    from rich.console import Console

    from orchestrator.evaluation.benchmark_table import render_details
    from orchestrator.evaluation.evaluate import evaluate_router
    from orchestrator.evaluation.report_files import write_report
    from orchestrator.evaluation.report_tables import render_pairs, render_report
    from orchestrator.versions.mlflow_registry import log_evaluation
    from pipelines.learning.training import check_router_settings
    from warehouse import InputError

    kinds = _commas(predictors) or ["knn"]
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
        report = _compare_versions(place, _commas(versions), source)
    else:
        outcomes = load_pool_outcomes(place, pool, experts, source)
        report = evaluate_router(
            outcomes,
            predictors=kinds,
            embedder=embedder,
            seeds=seeds,
            price_basis="flat" if price_basis == "flat" else "actual",
            cache_dir=place.embeddings,
            signals=_find_signals(place, outcomes) if cascades else (),
        )
    console = Console(width=None if Console().is_terminal else 160)
    console.print(render_report(report))
    console.print(render_details(report))
    console.print(render_pairs(report))
    written = write_report(report, out or place.path / "evaluations" / "latest")
    run_id = log_evaluation(report, tracking_uri=place.mlflow_uri)
    console.print(
        f"wrote {', '.join(path.name for path in written)} to {written[0].parent}; MLflow run {run_id}"
    )


def promote(
    version: Annotated[str, typer.Argument(help="Version or alias.")] = "challenger",
    source: SourceOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote whatever the test says; leaves a note.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the note.")] = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a version champion if it beats the champion on held-out questions; exit code 1 if it does not."""
    from rich.console import Console

    from orchestrator.versions.mlflow_registry import CHALLENGER, load_version
    from orchestrator.versions.mlflow_registry import versions as list_versions
    from orchestrator.versions.promotion import challenge_champion
    from warehouse import InputError, TooFewError

    place = Home.open(home)
    if version == CHALLENGER and not any(CHALLENGER in v.aliases for v in list_versions(place.mlflow_uri)):
        raise InputError(
            "no version waits to be promoted",
            where=place.mlflow_uri,
            fix="`leeroo train` makes one; `leeroo versions` lists what there is",
        )
    pool = load_version(place.mlflow_uri, version).info
    names = _pool_names(place, pool["experts"])
    outcomes = load_pool_outcomes(place, None, ",".join(names), source or ",".join(pool["sources"]))
    standing = challenge_champion(
        place.mlflow_uri, version, outcomes, force=force, reason=reason, cache_dir=place.embeddings
    )
    console = Console()
    if standing.test is None:
        if not standing.promoted:
            raise TooFewError(f"version {standing.version} {standing.verdict}")
        console.print(f"version {standing.version} {standing.verdict}")
        return
    console.print(
        f"version {standing.version} against champion {standing.former}: {standing.test}", highlight=False
    )
    if not standing.promoted:
        console.print(
            "refused: the interval is not above 0. --force promotes it all the same and leaves a note"
        )
        raise typer.Exit(1)
    console.print(f"version {standing.version} is champion" + (" (forced)" if standing.forced else ""))


def rollback(home: HomeOption = DEFAULT_HOME) -> None:
    """Make the former champion champion again."""
    from rich.console import Console

    from orchestrator.versions.mlflow_registry import rollback as restore_former

    restored, replaced = restore_former(Home.open(home).mlflow_uri)
    Console().print(f"version {restored} is champion again; version {replaced} is set aside")


def versions(home: HomeOption = DEFAULT_HOME) -> None:
    """List the router versions."""
    from rich.console import Console
    from rich.table import Table

    from orchestrator.versions.mlflow_registry import versions as list_versions

    found = list_versions(Home.open(home).mlflow_uri)
    console = Console(width=None if Console().is_terminal else 160)
    if not found:
        console.print("no router has been trained yet: `leeroo selfplay` or `leeroo train`")
        return
    table = Table()
    for column in ("version", "alias", "made (UTC)", "predictor", "experts", "accuracy", "$ / 1k"):
        table.add_column(column, no_wrap=True)
    table.add_column("note", overflow="fold", ratio=1)
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
    console.print(table)


def add_expert(
    name: Annotated[str, typer.Argument(help="An expert of the catalogue, or one with recorded answers.")],
    probes: Annotated[int, typer.Option(min=10, help="How many questions to ask it.")] = 200,
    test_questions: Annotated[
        int,
        typer.Option(min=0, help="How many held-out questions to ask it too, for `leeroo promote` alone."),
    ] = 200,
    catalogue: Annotated[
        Path | None, typer.Option(help="Catalogue of experts; the default one if not given.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Add an expert to the champion's pool: ask it the most telling questions, retrain nothing."""
    import numpy as np
    from rich.console import Console

    from orchestrator.evaluation.compare import MIN_QUESTIONS
    from orchestrator.pool_changes import add_expert as place_expert
    from orchestrator.pool_changes import choose_probes, choose_test_questions
    from orchestrator.versions.mlflow_registry import load_champion, log_version
    from warehouse import InputError

    place, console = Home.open(home), Console()
    champion, champion_version = load_champion(place.mlflow_uri)
    if name in champion.experts:
        raise InputError(f"{name!r} is in the pool already", fix=f"`leeroo experts retire {name}` first")
    names, sources = [*champion.info["mean_score"], *champion.experts], ",".join(champion.info["sources"])
    known = load_pool_outcomes(place, None, ",".join(names), sources)
    chosen = known.question_ids[choose_probes(champion, known, probes)]
    test = known.question_ids[choose_test_questions(champion, known, test_questions)]
    if len(test) < MIN_QUESTIONS:
        console.print(
            f"{len(test)} held-out questions for the test against champion {champion_version}, which needs "
            f"{MIN_QUESTIONS}: only --force will promote this version"
        )
    asked = _ask(place, name, [*chosen, *test], catalogue)
    answers = load_pool_outcomes(place, None, ",".join([*names, name]), sources)
    probed = answers.take(np.isin(answers.question_ids, chosen))
    extended = place_expert(champion, name, probed)
    version = log_version(extended, tracking_uri=place.mlflow_uri)
    held_out = answers.only([*champion.experts, name]).take(np.isin(answers.question_ids, test))
    complete = int(np.isfinite(held_out.score + held_out.cost_usd).all(axis=1).sum())
    console.print(
        f"{name} placed from {len(probed)} probes ({asked} questions asked now): version {version} is "
        f"challenger to champion {champion_version}; "
        + (
            f"`leeroo promote {version}` puts it to the test"
            if complete >= MIN_QUESTIONS
            else f"{complete} held-out questions are too few for a test: `leeroo promote {version} --force`"
        )
    )


def retire_expert(
    name: Annotated[str, typer.Argument(help="An expert of the champion's pool.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Take an expert out of the champion's pool at once; the version without it becomes champion."""
    from rich.console import Console

    from orchestrator.pool_changes import retire_expert as remove
    from orchestrator.versions.mlflow_registry import load_champion, log_version, set_champion

    place = Home.open(home)
    champion, former = load_champion(place.mlflow_uri)
    version = log_version(remove(champion, name), tracking_uri=place.mlflow_uri, alias=None)
    set_champion(place.mlflow_uri, version, note=f"retired {name}")
    Console().print(f"version {version} is champion, without {name} (before: version {former})")


def _ask(place: Home, name: str, question_ids: list[str], catalogue: Path | None) -> int:
    """Have the expert answer the questions that it has no answer to yet; return how many those were."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from experts import answer_and_grade, build_backend, load_catalogue
    from warehouse import InputError

    warehouse = place.warehouse()
    wanted = pa.array(question_ids)
    rows = warehouse.scan("answers", columns=["question_id", "expert"])
    done = rows.filter(pc.equal(rows["expert"], name))["question_id"]
    todo = wanted.filter(pc.invert(pc.is_in(wanted, value_set=done.combine_chunks())))
    known = load_catalogue(catalogue)
    if not len(todo) or (len(done) and name not in [spec.name for spec in known.experts]):
        return 0
    if name not in [spec.name for spec in known.experts]:
        raise InputError(
            f"no expert is called {name!r} and no answers of it are recorded", fix="add it to the catalogue"
        )
    spec = known.get(name)
    questions = warehouse.scan("questions")
    questions = questions.filter(pc.is_in(questions["question_id"], value_set=todo))
    answers = answer_and_grade(build_backend(spec), spec, questions, round="probes", run_id="")
    return int(warehouse.append("answers", answers, round="probes", expert=name))


def _compare_versions(place: Home, wanted: list[str], source: str | None) -> EvaluationReport:
    from orchestrator.evaluation.compare import compare_routers
    from orchestrator.versions.mlflow_registry import find_version, load_version

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


def _pool_names(place: Home, experts: list[str]) -> list[str]:
    """The experts of a version and of the champion it will be compared with."""
    from orchestrator.versions.mlflow_registry import champion_version, load_version

    former = champion_version(place.mlflow_uri)
    champion = load_version(place.mlflow_uri, former).info["experts"] if former else []
    return list(dict.fromkeys([*champion, *experts]))


def load_pool_outcomes(place: Home, pool: str | None, experts: str | None, source: str | None) -> Outcomes:
    """Load the outcomes that the options ask for.

    Raises:
        InputError: no such pool file or name, experts named in both ways, or no outcomes.
    """
    from warehouse import InputError, load_outcomes

    if pool and experts:
        raise InputError("--pool and --experts both name the experts", fix="give one of them")
    wanted, sources = (_commas(experts) or None), (_commas(source) or None)
    if pool:
        wanted, benchmark = _read_pool(pool)
        sources = sources or ([benchmark] if benchmark else None)
    return load_outcomes(place.warehouse(), experts=wanted, sources=sources)


def _read_pool(pool: str) -> tuple[list[str], str | None]:
    import yaml

    from warehouse import InputError

    name: str | None = None
    path = Path(pool)
    if not path.is_file() and ":" in pool:
        file, _, name = pool.rpartition(":")
        path = Path(file)
    if not path.is_file():
        raise InputError("there is no such pool file", where=str(path), fix="give --pool FILE or FILE:NAME")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {str(error).splitlines()[0]}", where=str(path)) from error
    if name is not None:
        if not isinstance(content, dict) or name not in content:
            known = ", ".join(map(str, content)) if isinstance(content, dict) else "none"
            raise InputError(f"there is no pool {name!r}", where=str(path), fix=f"use one of: {known}")
        content = content[name]
    listed = content.get("experts") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed:
        raise InputError(
            "no list `experts`",
            where=str(path),
            fix="name a pool as FILE:NAME, or add a list of expert names",
        )
    names = [str(item["name"] if isinstance(item, dict) and "name" in item else item) for item in listed]
    benchmark = content.get("benchmark")
    return names, str(benchmark) if benchmark else None


def _commas(listed: str | None) -> list[str]:
    return [name.strip() for name in (listed or "").split(",") if name.strip()]
