"""``leeroo learn``: a round of learning from the traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import (
    DEFAULT_HOME,
    PREDICTOR_KINDS,
    AddressOption,
    HomeOption,
)
from warehouse.home import Home

if TYPE_CHECKING:
    from pipelines.traffic.events import Event


def learn(
    budget_usd: Annotated[
        float, typer.Option(min=0, help="Maximum cost of shadow answers and the judge; never exceeded.")
    ] = 1.0,
    requests: Annotated[
        int, typer.Option(min=0, help="Maximum number of requests to ask other experts.")
    ] = 200,
    judge: Annotated[
        str | None, typer.Option(help="Expert that grades what no rule can grade; it answers nothing itself.")
    ] = None,
    judge_by: Annotated[
        str,
        typer.Option(help="rubric: grade each answer; pairs: compare with the served one, in both orders."),
    ] = "rubric",
    if_needed: Annotated[
        bool, typer.Option("--if-needed", help="Ask nothing again while nothing speaks for drift.")
    ] = False,
    days: Annotated[float | None, typer.Option(help="Use requests of the last DAYS days only.")] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(help="KEY=NUMBER: weight of a key's requests; may be repeated."),
    ] = None,
    round: Annotated[
        str | None,
        typer.Option(help="Name of the round; the unfinished one, or the next number, by default."),
    ] = None,
    catalogue: Annotated[
        str | None, typer.Option(help="YAML file of experts; small real models by default.")
    ] = None,
    predictor: Annotated[
        str | None, typer.Option(help=f"Kind of predictor, the champion's by default: {PREDICTOR_KINDS}.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Embedder of the router; the champion's by default.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of splits in the evaluation that is logged with the router.")
    ] = 5,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    address: AddressOption = None,
    home: HomeOption = DEFAULT_HOME,
    warehouse: Annotated[
        str | None, typer.Option(help="URL of the warehouse, if outside the home (or LEEROO_WAREHOUSE).")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="URI of MLflow, if outside the home (or MLFLOW_TRACKING_URI).")
    ] = None,
) -> None:
    """Ask other experts recorded requests, grade the answers, train a challenger and test it.

    Run again to resume. Asking again needs texts (`leeroo serve --record texts`); of features alone it learns
    what feedback says.
    """
    from pipelines.commands.terminal.progress import working
    from pipelines.traffic.learn import run_learn
    from pipelines.traffic.settings import LearnSettings, ShadowSettings, read_weights

    settings = LearnSettings(
        round=round, budget_usd=budget_usd, catalogue=catalogue, predictor=predictor, embedder=embedder,
        seeds=seeds, seed=seed, address=address,
        shadow=ShadowSettings(requests, days, read_weights(weight), judge, judge_by, if_needed),  # type: ignore[arg-type]
    )  # fmt: skip
    place = Home.open(home, warehouse_url=warehouse, mlflow_uri=mlflow)
    with working("learning from the traffic") as tell:

        def show_and_go_on(event: Event) -> None:
            show(event)
            tell(_NEXT.get(type(event).__name__, ""), None)

        run_learn(settings, place, show_and_go_on)


#: What is done after an event, by its name: the events load what `--help` does without.
_NEXT = {
    "TrafficRead": "choosing requests to ask again",
    "Sampled": "asking other experts",
    "ShadowsCame": "grading answers",
    "Graded": "comparing judge and users",
    "Calibrated": "training a challenger",
    "ChallengerTrained": "putting the challenger to the test",
}


def show(event: Event) -> None:
    """Print what a step found."""
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.traffic.learn_lines import lines_of

    for line in lines_of(event):
        print_line(line)
