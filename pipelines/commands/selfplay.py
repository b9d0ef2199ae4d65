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
    typer.Option(
        min=1, help="Mean number of questions per domain and round; later rounds shift them to open domains."
    ),
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
    """Run the whole loop with two small real models: a round, a universe, a router, a served answer."""
    from pipelines.commands.demo import run_demo

    run_demo(Home.open(home), per_domain=per_domain, port=port)


def selfplay(
    home: HomeOption = DEFAULT_HOME,
    warehouse: Annotated[
        str | None, typer.Option(help="URL of the warehouse, if outside the home (or LEEROO_WAREHOUSE).")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="URI of MLflow, if outside the home (or MLFLOW_TRACKING_URI).")
    ] = None,
    catalogue: CatalogueOption = None,
    questions: Annotated[
        str | None,
        typer.Option(help="JSONL or Parquet file, folder or data set; question generators by default."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of questions to take from --questions.")
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(help="Domain or generator to use when --questions is not given; may be repeated."),
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
        int, typer.Option(min=1, help="Size of the frozen evaluation set, which is made once.")
    ] = 80,
    round: Annotated[
        str, typer.Option(help="Name of the first round; the name of an unfinished round resumes it.")
    ] = "r000",
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds to run.")] = 1,
    budget_usd: Annotated[
        float | None, typer.Option(help="Maximum cost of all rounds and the frozen set; never exceeded.")
    ] = None,
    explore: Annotated[
        float,
        typer.Option(help="Maximum spend of a round, as a share of asking all experts everything."),
    ] = 1.0,
    min_points_per_usd: Annotated[
        float | None,
        typer.Option(help="Stop after a round that gains fewer points of accuracy per USD."),
    ] = None,
    writer: Annotated[
        str | None,
        typer.Option(help="Expert that writes questions for the gaps; the other experts validate them."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Expert that grades `judged` questions and answers none itself; its cost counts."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the questions.")] = 0,
    max_experts: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of experts in the universe.")
    ] = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(help="Maximum mean cost of a query in the universe, in USD.")
    ] = None,
    predictor: Annotated[str, typer.Option(help=f"Kind of predictor: {PREDICTOR_KINDS}.")] = "knn",
    embedder: EmbedderOption = DEFAULT_EMBEDDER,
    address: AddressOption = None,
) -> None:
    """Run rounds of self-play: questions, answers, universe, router, test, gaps. Run again to resume."""
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
