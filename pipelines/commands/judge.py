"""``leeroo judge``: have an expert read the answers that no rule can grade."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("judge")(judge)


def judge(
    expert: Annotated[str, typer.Argument(help="The expert that judges, by its name in the catalogue.")],
    home: HomeOption = DEFAULT_HOME,
    catalogue: Annotated[
        str | None, typer.Option(help="YAML file of experts; small real models by default.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Compare, in both orders, with `reference` or an expert, instead of grading."),
    ] = None,
    criteria: Annotated[str | None, typer.Option(help="What the judge is told to look at.")] = None,
    round: Annotated[str, typer.Option(help="Name under which the judgements are kept.")] = "judged",
    budget_usd: Annotated[float | None, typer.Option(help="What the judge may cost at most, in USD.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster; a local one by default.")] = None,
) -> None:
    """Judge unscored answers to `judged` questions, and to choices whose right option nobody knows."""
    from experts import Rubric, load_catalogue
    from pipelines.answering.judging import judge_answers
    from pipelines.commands.terminal.console import print_line
    from pipelines.ray_session import ray_session

    spec = load_catalogue(catalogue).get(expert)
    rubric = Rubric(name="custom", criteria=criteria) if criteria else Rubric()
    with ray_session(address):
        receipt = judge_answers(
            Home.open(home).warehouse(),
            spec,
            round=round,
            run_id="",
            rubric=rubric,
            against=against,
            budget_usd=budget_usd,
        )
    print_line(
        f"{receipt.judged} answers judged by {expert} for {receipt.judge.cost_usd:.6f} USD, "
        f"{receipt.reused} had been, {receipt.unscored} have no score"
    )
    if receipt.judge.problem:
        print_line(f"{receipt.judge.unasked} questions to the judge stay open: {receipt.judge.problem}")
