"""``leeroo demo`` and ``leeroo selfplay``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.text.registry import DEFAULT_EMBEDDER
from pipelines.commands.options import (
    DEFAULT_HOME,
    PREDICTOR_KINDS,
    AddressOption,
    EmbedderOption,
    HomeOption,
)
from warehouse.home import Home

CatalogueOption = Annotated[
    str | None, typer.Option(help="YAML file of experts; small real models by default.")
]
PerDomain = Annotated[
    int,
    typer.Option(min=1, help="Questions of a round for each domain, on average: rounds learn where to aim."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("demo")(demo)
    app.command("selfplay")(selfplay)


def demo(
    home: HomeOption = DEFAULT_HOME,
    per_domain: PerDomain = 20,
    port: Annotated[int, typer.Option(help="Port of the endpoint; 0 takes a free one.")] = 0,
) -> None:
    """Run the whole loop, small and real: two models, one round, a universe, a router, a served answer."""
    from pipelines.commands.demo import run_demo

    run_demo(Home.open(home), per_domain=per_domain, port=port)


def selfplay(
    home: HomeOption = DEFAULT_HOME,
    warehouse: Annotated[
        str | None, typer.Option(help="URL of the warehouse, if not in the home; or set LEEROO_WAREHOUSE.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="URI of MLflow, if not in the home; or set MLFLOW_TRACKING_URI.")
    ] = None,
    catalogue: CatalogueOption = None,
    questions: Annotated[
        str | None, typer.Option(help="JSONL, Parquet, folder or data set; made by generators by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions of --questions to use at most.")] = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="Domain or generator, without --questions; may be repeated.")
    ] = None,
    per_domain: PerDomain = 40,
    frozen: Annotated[
        str | None,
        typer.Option(
            help="JSONL, Parquet, folder or data set of the frozen evaluation set; as the others by default. "
            "Of its questions the fifth is used, by a hash of the prompt, that is never learned from."
        ),
    ] = None,
    frozen_questions: Annotated[
        int, typer.Option(min=1, help="Questions of the frozen evaluation set, made once.")
    ] = 80,
    round: Annotated[str, typer.Option(help="Name of the first round: resume one by its name.")] = "r000",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to run, counted on from the first.")] = 1,
    budget_usd: Annotated[
        float | None, typer.Option(help="What all rounds and the frozen set may cost; never passed.")
    ] = None,
    explore: Annotated[
        float,
        typer.Option(
            help="What a round may spend, as a share of asking everyone everything; it chooses whom to ask."
        ),
    ] = 1.0,
    min_points_per_usd: Annotated[
        float | None,
        typer.Option(help="Stop after a round that gains fewer points of accuracy for a dollar."),
    ] = None,
    writer: Annotated[
        str | None, typer.Option(help="Expert that writes questions for the gaps; the others validate them.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Expert that grades `judged` questions, at its own cost, and answers none itself."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which questions are made.")] = 0,
    max_experts: Annotated[int | None, typer.Option(min=1, help="Experts the universe may keep.")] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(help="Mean cost of a query that the universe may have, in USD.")
    ] = None,
    predictor: Annotated[str, typer.Option(help=f"Kind of predictor: {PREDICTOR_KINDS}.")] = "knn",
    embedder: EmbedderOption = DEFAULT_EMBEDDER,
    address: AddressOption = None,
) -> None:
    """Run self-play rounds: questions, answers, universe, router, test, gaps. Run again to resume."""
    from pipelines.commands.screen import Screen
    from pipelines.questions.sources.base import QuestionSettings
    from pipelines.selfplay.run import run_selfplay
    from pipelines.selfplay.settings import (
        AskingSettings,
        RoundPlan,
        RouterSettings,
        SelfplaySettings,
        UniverseSettings,
    )

    settings = SelfplaySettings(
        rounds=RoundPlan(round, rounds, budget_usd, min_points_per_usd),
        questions=QuestionSettings(
            source=questions, limit=limit, frozen=frozen, frozen_count=frozen_questions,
            domains=tuple(domain) if domain else None, per_domain=per_domain, writer=writer, seed=seed,
        ),
        asking=AskingSettings(explore=explore, judge=judge),
        universe=UniverseSettings(max_experts=max_experts, max_cost_usd=max_cost_usd),
        router=RouterSettings(predictor=predictor, embedder=embedder),
        catalogue=catalogue,
        address=address,
    )  # fmt: skip
    with Screen() as screen:
        run_selfplay(settings, Home.open(home, warehouse_url=warehouse, mlflow_uri=mlflow), screen.show)
