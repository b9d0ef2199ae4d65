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
    expert: Annotated[str, typer.Argument(help="Name of the judging expert in the catalogue.")],
    home: HomeOption = DEFAULT_HOME,
    catalogue: Annotated[
        str | None, typer.Option(help="YAML file of experts; small real models by default.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Compare with `reference` or an expert, in both orders, instead of grading."),
    ] = None,
    criteria: Annotated[str | None, typer.Option(help="Criteria that the judge is given.")] = None,
    round: Annotated[str, typer.Option(help="Name under which the judgements are kept.")] = "judged",
    budget_usd: Annotated[float | None, typer.Option(help="Maximum cost of the judge, in USD.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; starts a small one by default.")
    ] = None,
) -> None:
    """Have an expert grade answers to `judged` questions, and choices without a known right option."""
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
