"""``leeroo forge close``: all of it, under one cap."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from pipelines.commands.forge.plan import HostingPrice, MachinePrice, Months, QueriesPerMonth, ScorePrice
from pipelines.commands.forge.specialists import (
    Base,
    Batch,
    Dtype,
    Levels,
    LicenceOption,
    Questions,
    Rank,
    Rate,
    RecipeFile,
    Seed,
    Steps,
    Threads,
    Validation,
    Weights,
    Workers,
    follow_recipe,
    read_settings,
    tell_measured,
)
from pipelines.commands.options import DEFAULT_HOME, AddressOption, CatalogueOption, HomeOption
from warehouse.home import Home


def register(group: typer.Typer) -> None:
    """Add the command to ``leeroo forge``."""
    group.command("close")(close)


def close(
    context: typer.Context,
    gap: Annotated[
        str | None,
        typer.Argument(help="Domain or generator; by default the gap that holds most of the traffic."),
    ] = None,
    base: Base = None,
    levels: Levels = None,
    weights: Weights = None,
    questions: Questions = 8_000,
    validation: Validation = 90,
    steps: Steps = 256,
    batch: Batch = 48,
    rank: Rank = 16,
    learning_rate: Rate = 2e-3,
    dtype: Dtype = "float32",
    threads: Threads = 0,
    seed: Seed = 0,
    workers: Workers = 0,
    recipe: RecipeFile = None,
    licence: LicenceOption = None,
    held_out: Annotated[int, typer.Option(min=20, help="Held-out questions of the gap.")] = 120,
    elsewhere: Annotated[int, typer.Option(min=20, help="Questions of other domains.")] = 140,
    judged_on: Annotated[
        int,
        typer.Option(
            min=0, help="Frozen questions beyond the home's to judge the router by, as the traffic has them."
        ),
    ] = 480,
    plan: Annotated[bool, typer.Option(help="Stop after a probe if closing the gap does not pay.")] = True,
    probe_steps: Annotated[
        int, typer.Option(min=4, help="Steps after which the plan is made; training goes on from there.")
    ] = 32,
    budget_usd: Annotated[
        float | None,
        typer.Option(min=0, help="Cap on all of it: the machine's hours and answers, earlier runs included."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Cap on the time of all of it, earlier runs included.")
    ] = None,
    usd_per_hour: MachinePrice = 0.10,
    hosting_usd_per_hour: HostingPrice = 0.0,
    score_price_usd: ScorePrice = 0.001,
    queries_per_month: QueriesPerMonth = 100_000,
    months: Months = 6.0,
    price_weight: Annotated[
        float, typer.Option(min=0, help="Weight of cost: the score that one USD per query has to buy.")
    ] = 0.0,
    catalogue: CatalogueOption = None,
    address: AddressOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Plan a specialist, make it, test it, and put a router with it to the test; goes on after a kill.

    It goes no further than its plan if it does not pay, than its test if it does not reach 0.60 in the gap or
    loses more than 0.03 elsewhere, and than the universe if that does not take it at its price. Exit code 1
    then.
    """
    from orchestrator.versions.mlflow_registry import load_champion
    from pipelines.commands.terminal.console import print_line
    from pipelines.forge.closing.cap import Cap
    from pipelines.forge.closing.close import close_gap
    from pipelines.forge.closing.gaps import choose_gap
    from pipelines.forge.closing.plan import Prices
    from pipelines.forge.closing.settings import CloseSettings, watch_probe
    from pipelines.ray_session import Connection

    place = Home.open(home)
    if gap is None:
        gap = choose_gap(place)
        print_line(f"the gap that holds most: {gap}")
    target, known, settings = read_settings(
        gap, catalogue, base=base, levels=levels, weights=weights, questions=questions, validation=validation,
        steps=steps, batch=batch, rank=rank, learning_rate=learning_rate, dtype=dtype, threads=threads,
        minutes=float(10**6) if minutes is None else max(minutes, 1e-9), seed=seed, licence=licence,
    )  # fmt: skip
    settings = watch_probe(follow_recipe(context, settings, recipe, workers), probe_steps)
    how = CloseSettings(
        settings, held_out=held_out, elsewhere=elsewhere, judged_on=judged_on,
        cap=Cap(budget_usd, minutes, usd_per_hour), probe_steps=probe_steps, price_weight=price_weight,
        prices=Prices(usd_per_hour, hosting_usd_per_hour, score_price_usd, queries_per_month, months)
        if plan else None,
    )  # fmt: skip
    answered: Counter[str] = Counter()

    def advance(expert: str, count: int) -> None:
        answered[expert] += count
        print_line(f"  {expert}: {answered[expert]:,} answered")

    with Connection(address) as connection:
        closed = close_gap(
            place, target, known, how, connect=connection.ensure, tell=print_line,
            on_measured=tell_measured, on_progress=advance,
        )  # fmt: skip
    if closed.refused or not (closed.promotion and closed.promotion["promoted"]):
        print_line(f"not closed: {closed.refused or 'the router with it is not promoted'}")
        raise typer.Exit(1)
    assert closed.forged is not None
    made = closed.forged.specialist
    named = " ".join(f"--expert {name}" for name in load_champion(place.mlflow_uri)[0].experts)
    print_line(f"closed: {made.name} is in the champion's pool. `leeroo serve` starts it too with:")
    print_line(f"  leeroo serve --home {place.path} --catalogue {made.catalogue} {named}")
