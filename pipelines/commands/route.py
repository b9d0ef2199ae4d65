"""``leeroo route``: who should answer which query of a file, within one budget for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from orchestrator import Orchestrator
    from orchestrator.predictors.base import Prediction
    from orchestrator.selection.selector import BatchSelection
    from pipelines.query_file import QueryFile

    Payments = tuple[NDArray[np.intp], NDArray[np.float64]]  # column of who answered, else -1; what it cost

BLOCK = 512  # queries predicted at once


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("route")(route)


def route(
    queries: Annotated[
        Path,
        typer.Argument(help="JSONL (OpenAI's batch format too), Parquet, or text with one query a line."),
    ],
    budget_usd: Annotated[
        float | None,
        typer.Option(
            min=0, help="Budget for all queries together; without it the router's own multiplier applies."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSONL or Parquet file to write; QUERIES.routed.jsonl by default.")
    ] = None,
    version: Annotated[str, typer.Option(help="Router version or alias.")] = "champion",
    experts: Annotated[
        str | None, typer.Option(help="Route to these experts only: names or globs, comma-separated.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Assign an expert to each query of a file within one budget for all of them, without asking any.

    The most success that the budget can buy is chosen jointly, and how near it comes to that is proven. Costs
    are forecasts. To hold a budget in dollars ask in parts: records with an `expert` and what its answer
    cost, `paid_usd`, stay as they are, and the others are decided anew within what is left.
    """
    from orchestrator.evaluation.report_tables import render_presets
    from orchestrator.versions.mlflow_registry import load_version
    from pipelines.commands.terminal.console import Terminal
    from pipelines.query_file import Routing, read_query_file, write_routing

    place = Home.open(home)
    found = read_query_file(queries)
    target = out or queries.with_suffix(".routed.jsonl")
    router = load_version(place.mlflow_uri, version)
    prediction = _predict(router, found.texts, experts, place.embeddings)
    payments = _read_payments(found, prediction)
    selection = _select(prediction, budget_usd, router.multiplier, payments)
    routing = [
        Routing(prediction.experts[j], float(prediction.success[i, j]), float(prediction.cost_usd[i, j]))
        for i, j in enumerate(selection.choice)
    ]
    write_routing(target, found, routing)
    console = Terminal()
    console.print(routing_table(prediction, selection, budget_usd))
    if budget_usd is None:
        console.print(render_presets(router.presets))
    console.print(f"wrote {len(routing):,} decisions to {target}; costs and success are forecasts")
    if budget_usd is not None:
        console.print(_promise(payments))


def _predict(
    router: Orchestrator, texts: tuple[str, ...], experts: str | None, cache_dir: Path
) -> Prediction:
    """Success and cost of the experts wanted, block by block; embeddings are kept for another run."""
    import numpy as np

    from orchestrator import load_embedder, read_queries
    from orchestrator.predictors.base import Prediction
    from pipelines.commands.terminal.progress import working
    from warehouse import match_names, split_names

    names = match_names(router.experts, split_names(experts)) if experts else router.experts
    columns = [router.experts.index(name) for name in names]
    reader = load_embedder(router.embedder.name, cache_dir=cache_dir)
    success = np.empty((len(texts), len(names)), np.float32)
    cost_usd = np.empty((len(texts), len(names)))
    with working(f"forecasting {len(texts):,} queries") as tell:
        for start in range(0, len(texts), BLOCK):
            tell("", start / len(texts))
            part = slice(start, start + BLOCK)
            read = read_queries(texts[part], reader)
            success[part] = router.predictor.predict(read)[:, columns]
            cost_usd[part] = router.cost.predict(read)[:, columns]
    return Prediction(names, success, cost_usd)


def _read_payments(found: QueryFile, prediction: Prediction) -> Payments:
    """Who answered which queries already, and at what cost.

    Raises:
        InputError: an answer of an expert that is not among those to choose from.
    """
    import numpy as np

    from warehouse import InputError

    answered_by, paid_usd = np.full(len(found.texts), -1), np.zeros(len(found.texts))
    for i, payment in enumerate(found.paid):
        if payment is None:
            continue
        expert, paid_usd[i] = payment
        if expert not in prediction.experts:
            raise InputError(
                f"query {i + 1} was answered by {expert!r}, which is not among the experts",
                fix=f"answers may be of {', '.join(prediction.experts)}; leave out --experts",
            )
        answered_by[i] = prediction.experts.index(expert)
    return answered_by, paid_usd


def _promise(payments: Payments) -> str:
    """What a budget is worth that was kept by forecasts."""
    answered_by, paid_usd = payments
    answered = int((answered_by >= 0).sum())
    if answered:
        return (
            f"{answered:,} are answered, for ${paid_usd.sum():.6g}; the others are expected to keep to what"
            " is left, by forecasts that these answers have corrected"
        )
    return (
        "nothing holds the answers to these forecasts: ask a part, write `paid_usd` beside each `expert` that"
        " answered, and route the file again for the rest"
    )


def _select(
    prediction: Prediction, budget_usd: float | None, multiplier: float, payments: Payments
) -> BatchSelection:
    import numpy as np

    from orchestrator.selection.selector import BatchSelection, select_again, select_at_multiplier

    answered_by, paid_usd = payments
    if budget_usd is not None:
        return select_again(prediction, budget_usd, answered_by=answered_by, paid_usd=paid_usd)
    choice = select_at_multiplier(prediction.success, prediction.cost_usd, multiplier)
    choice = np.where(answered_by >= 0, answered_by, choice)
    rows = np.arange(len(choice))
    success = float(prediction.success[rows, choice].sum())
    cost_usd = float(prediction.cost_usd[rows, choice].sum())
    return BatchSelection(choice, success, cost_usd, multiplier, success, 0.0)


def routing_table(prediction: Prediction, selection: BatchSelection, budget_usd: float | None) -> Table:
    """What the choice is expected to come to, beside sending everything to one expert."""
    import numpy as np
    from rich.table import Table

    n = len(selection.choice)
    table = Table(title=f"{n:,} queries")
    for column in ("expert", "share", "success, if it answers all", "cost, if it answers all, $"):
        table.add_column(column, justify="left" if column == "expert" else "right")
    share = np.bincount(selection.choice, minlength=len(prediction.experts)) / n
    table.add_row(
        "routed", "100.0%", f"{selection.success / n:.4f}", f"{selection.cost_usd:.6g}", style="bold"
    )
    total_usd = prediction.cost_usd.sum(axis=0)
    for j in np.argsort(-share, kind="stable"):
        beyond = budget_usd is not None and total_usd[j] > budget_usd
        table.add_row(
            prediction.experts[j],
            f"{share[j]:.1%}",
            f"{prediction.success[:, j].mean():.4f}",
            f"{total_usd[j]:.6g}{' (beyond)' if beyond else ''}",
        )
    if budget_usd is not None:
        table.caption = (
            f"budget ${budget_usd:.6g}; no choice within it has more expected success than"
            f" {selection.bound / n:.6f}: proven gap {selection.gap:.1e}; one dollar more buys"
            f" {selection.multiplier:.4g} right answers"
        )
    return table
