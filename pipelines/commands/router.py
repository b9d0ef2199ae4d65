"""The router from outcomes to champion: ``leeroo train``, ``evaluate``, ``promote``, ``rollback``, ..."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.home import DEFAULT_HOME, Home, HomeOption

if TYPE_CHECKING:
    from warehouse import Outcomes

PoolOption = Annotated[
    str | None, typer.Option(help="A pool in a YAML file, as FILE or FILE:NAME (needs a list `experts`).")
]
ExpertsOption = Annotated[str | None, typer.Option(help="Experts or globs, by commas: 'helm/*,gpt-4*'.")]
SourceOption = Annotated[
    str | None, typer.Option(help="Question sources to use, by commas, for example mmlu.")
]
EmbedderOption = Annotated[
    str, typer.Option(help="minilm-int8 (contextual), wordllama (static, fast), or both joined by +.")
]
DEFAULT_EMBEDDER = "minilm-int8+wordllama"


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
    predictor: Annotated[str, typer.Option(help="Kind of predictor.")] = "knn",
    embedder: EmbedderOption = DEFAULT_EMBEDDER,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Train a router on the warehouse's outcomes and register it; the first one becomes champion at once."""
    from rich.console import Console

    from orchestrator.registry import champion_version, log_version, set_champion
    from orchestrator.train import train_router

    place = Home.open(home)
    outcomes = load_pool_outcomes(place, pool, experts, source)
    trained = train_router(
        outcomes, embedder=embedder, predictor=predictor, seed=seed, cache_dir=place.embeddings
    )
    version = log_version(
        trained.orchestrator,
        tracking_uri=place.mlflow_uri,
        metrics=trained.metrics,
        artifact_root=place.artifacts,
    )
    console = Console()
    console.print(
        f"router version [bold]{version}[/bold]: {predictor} over {len(outcomes.experts)} experts, "
        f"{len(outcomes):,} questions; validation accuracy {trained.metrics['validation_accuracy']:.4f} at "
        f"${trained.metrics['validation_cost_usd'] * 1000:.3g} per 1,000 queries (best single "
        f"{trained.metrics['validation_best_single_accuracy']:.4f} at "
        f"${trained.metrics['validation_best_single_cost_usd'] * 1000:.3g})"
    )
    if champion_version(place.mlflow_uri) is None:
        set_champion(place.mlflow_uri, version, note="first version")
        console.print(f"version {version} is champion: there was none before")
    else:
        console.print(f"version {version} is challenger: `leeroo promote {version}` puts it to the test")


def evaluate(
    pool: PoolOption = None,
    experts: ExpertsOption = None,
    source: SourceOption = None,
    predictors: Annotated[str, typer.Option(help="Kinds of predictor to compare, by commas.")] = "knn",
    embedder: EmbedderOption = DEFAULT_EMBEDDER,
    seeds: Annotated[int, typer.Option(min=1, help="Splits; five of them test every question once.")] = 5,
    price_basis: Annotated[
        str, typer.Option(help="actual costs, or flat: each expert at its mean.")
    ] = "actual",
    out: Annotated[
        Path | None, typer.Option(help="Folder for JSON and figures [HOME/evaluations/latest].")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Compare routing policies on the warehouse's outcomes: a table with intervals, JSON and figures."""
    from rich.console import Console

    from orchestrator.evaluate import evaluate_router
    from warehouse import InputError

    if price_basis not in ("actual", "flat"):
        raise InputError(
            f"unknown price basis {price_basis!r}", where="--price-basis", fix="use actual or flat"
        )
    place = Home.open(home)
    outcomes = load_pool_outcomes(place, pool, experts, source)
    report = evaluate_router(
        outcomes,
        predictors=_commas(predictors) or ("knn",),
        embedder=embedder,
        seeds=seeds,
        price_basis="flat" if price_basis == "flat" else "actual",
        cache_dir=place.embeddings,
    )
    console = Console(width=None if Console().is_terminal else 160)
    console.print(report.table())
    written = report.write(out or place.path / "evaluations" / "latest")
    console.print(f"wrote {', '.join(path.name for path in written)} to {written[0].parent}")


def promote(
    version: Annotated[str, typer.Argument(help="Version or alias.")] = "challenger",
    force: Annotated[bool, typer.Option("--force", help="Promote without a test; leaves a note.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the note.")] = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a version champion."""
    from rich.console import Console

    from orchestrator.registry import set_champion

    place = Home.open(home)
    set_champion(place.mlflow_uri, version, note=f"forced: {reason}" if force else reason)
    Console().print(f"version {version} is champion")


def rollback(home: HomeOption = DEFAULT_HOME) -> None:
    """Make the former champion champion again."""
    from rich.console import Console

    from orchestrator.registry import rollback as restore_former

    restored, replaced = restore_former(Home.open(home).mlflow_uri)
    Console().print(f"version {restored} is champion again; version {replaced} is set aside")


def versions(home: HomeOption = DEFAULT_HOME) -> None:
    """List the router versions."""
    from rich.console import Console
    from rich.table import Table

    from orchestrator.registry import versions as list_versions

    found = list_versions(Home.open(home).mlflow_uri)
    console = Console()
    if not found:
        console.print("no router has been trained yet: `leeroo train`")
        return
    table = Table("version", "alias", "made (UTC)", "predictor", "experts", "accuracy", "$ / 1k", "note")
    for v in found:
        table.add_row(
            v.version,
            ", ".join(v.aliases),
            f"{v.created_at:%Y-%m-%d %H:%M}",
            v.predictor,
            str(len(v.pool)),
            f"{v.metrics.get('validation_accuracy', float('nan')):.4f}",
            f"{v.metrics.get('validation_cost_usd', float('nan')) * 1000:.3g}",
            v.note,
        )
    console.print(table)


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
