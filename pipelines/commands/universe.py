"""``leeroo universe``: which experts to keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from universe.expected import Expected, Rows
    from warehouse import Outcomes

Home = Annotated[Path, typer.Option(envvar="LEEROO_HOME", help="Where this installation keeps its state.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(help="Choose which experts to keep.", invoke_without_command=True)
    group.callback()(choose)
    group.command("apply")(apply)
    app.add_typer(group, name="universe")


def choose(
    context: typer.Context,
    home: Home = Path(".leeroo"),
    max_experts: Annotated[int | None, typer.Option(help="Experts to keep at most.")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="Mean cost of a query at most, in USD.")] = None,
    price_weight: Annotated[float, typer.Option(help="Score that one USD per query is worth.")] = 0.0,
    must_have: Annotated[
        list[str] | None, typer.Option(help="Expert that must be kept; may be repeated.")
    ] = None,
    must_not: Annotated[list[str] | None, typer.Option(help="Expert that must be left out.")] = None,
    experts: Annotated[
        list[str] | None, typer.Option(help="Names or globs of the experts to consider.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Question source to count; all by default.")
    ] = None,
    raw: Annotated[
        bool, typer.Option(help="Choose on the outcomes themselves, not on expected success.")
    ] = False,
    embedder: Annotated[str, typer.Option(help="Embedding behind the expected success.")] = "wordllama",
    time_limit_s: Annotated[
        float, typer.Option(help="Seconds after which the best set so far is given.")
    ] = 60.0,
) -> None:
    """Choose the best set of experts within the limits, with a proof, and keep it for `universe apply`."""
    if context.invoked_subcommand:
        return
    from rich.console import Console

    from universe.pool import write_plan
    from universe.report import render_universe, search_progress
    from universe.select import select_universe

    console = Console()
    outcomes = _outcomes(home, experts, source)
    expected = (
        None
        if raw
        else expected_success(outcomes, embedder=embedder, cache_dir=home / "cache" / "embeddings")
    )
    with search_progress(console) as on_progress:
        universe = select_universe(
            outcomes,
            expected=expected,
            max_experts=max_experts,
            max_cost_usd=max_cost_usd,
            price_weight=price_weight,
            must_have=must_have or (),
            must_not=must_not or (),
            time_limit_s=time_limit_s,
            on_progress=on_progress,
        )
    console.print(render_universe(universe))
    reasons = {name: f"carries {share:.1%} of the queries" for name, share in universe.share.items()}
    path = write_plan(home, universe, reasons)
    console.print(f"Kept in {path}; `leeroo universe apply` makes it the pool that training and serving use.")


def apply(home: Home = Path(".leeroo")) -> None:
    """Make the last universe chosen the pool that training and serving use."""
    from universe.pool import apply_plan

    path, experts = apply_plan(home)
    typer.echo(f"{path}: {', '.join(experts)}")


def _outcomes(home: Path, experts: list[str] | None, source: list[str] | None) -> Outcomes:
    from warehouse import Warehouse, load_outcomes

    return load_outcomes(Warehouse(str(home / "warehouse")), experts=experts, sources=source)


def expected_success(
    outcomes: Outcomes,
    *,
    embedder: str = "wordllama",
    folds: int = 5,
    seed: int = 0,
    cache_dir: Path | None = None,
) -> Expected:
    """Cross-fitted success of a tuned kNN and cost of a ridge, for every question and expert."""
    import numpy as np

    from orchestrator.cost import CostPredictor
    from orchestrator.embedding import load_embedder
    from orchestrator.knn import KnnPredictor
    from orchestrator.queries import Examples, read_queries
    from universe.expected import cross_fit

    examples = Examples(read_queries(outcomes.texts, load_embedder(embedder, cache_dir=cache_dir)), outcomes)

    def fit_predict(train: Rows, test: Rows) -> tuple[np.ndarray, np.ndarray]:
        shuffled = np.random.default_rng(seed).permutation(train)
        tune = max(1, len(shuffled) // 5)
        fit, validation = examples.take(shuffled[tune:]), examples.take(shuffled[:tune])
        queries = examples.queries.take(test)
        success = KnnPredictor().fit(fit, validation, seed=seed).predict(queries)
        return success, CostPredictor().fit(fit, validation).predict(queries)

    return cross_fit(outcomes, fit_predict, folds=folds, seed=seed)
