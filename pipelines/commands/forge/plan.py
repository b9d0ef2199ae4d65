"""``leeroo forge plan``: whether closing a gap pays."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, CatalogueOption, HomeOption, JsonOption
from warehouse.home import Home

MachinePrice = Annotated[float, typer.Option(min=0, help="Price of the machine that trains, USD an hour.")]
HostingPrice = Annotated[
    float, typer.Option(min=0, help="What hosting the adapter adds; beside its base it adds nothing.")
]
ScorePrice = Annotated[float, typer.Option(min=0, help="What one right answer more is worth, in USD.")]
QueriesPerMonth = Annotated[float, typer.Option(min=0, help="Queries of all kinds in a month.")]
Months = Annotated[float, typer.Option(min=0, help="Months in which it has to pay for itself.")]


def register(group: typer.Typer) -> None:
    """Add the command to ``leeroo forge``."""
    group.command("plan")(plan)


def plan(
    gap: Annotated[
        str | None,
        typer.Argument(help="Domain or generator; by default the gap that holds most of the traffic."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Expert whose model is tuned; the cheapest by default.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the whole training.")] = 256,
    batch: Annotated[int, typer.Option(min=1, help="Questions of a step.")] = 48,
    probe_steps: Annotated[int, typer.Option(min=4, help="Steps of the probe.")] = 24,
    validation: Annotated[int, typer.Option(min=10, help="Questions that the probe is measured on.")] = 60,
    usd_per_hour: MachinePrice = 0.10,
    hosting_usd_per_hour: HostingPrice = 0.0,
    score_price_usd: ScorePrice = 0.001,
    queries_per_month: QueriesPerMonth = 100_000,
    months: Months = 6.0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch decides.")] = 0,
    licence: Annotated[str | None, typer.Option(help="Licence of the base, if its card is silent.")] = None,
    catalogue: CatalogueOption = None,
    as_json: JsonOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Probe a gap with a short training, and say whether closing it pays; exit code 1 if not."""
    import sys
    from dataclasses import asdict

    from experts import load_catalogue
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.query_output import write_records
    from pipelines.forge.base import cheapest_base
    from pipelines.forge.closing.gaps import choose_gap
    from pipelines.forge.closing.plan import Prices
    from pipelines.forge.closing.propose import keep_plan, propose_plan
    from pipelines.forge.closing.traffic_share import read_traffic_shares
    from pipelines.forge.gap import find_target
    from pipelines.forge.recipe import TrainRecipe
    from pipelines.forge.run import ForgeSettings

    place, known = Home.open(home), load_catalogue(catalogue)
    gap = gap or choose_gap(place)
    by_domain = read_traffic_shares(place)
    recipe = TrainRecipe(steps=steps, batch_size=batch, rank=16, alpha=16.0, threads=threads)
    settings = ForgeSettings(
        base or cheapest_base(known), validation=validation, licence=licence, recipe=recipe
    )
    prices = Prices(usd_per_hour, hosting_usd_per_hour, score_price_usd, queries_per_month, months)
    made = propose_plan(
        place, find_target(gap), known, settings, prices, probe_steps=probe_steps,
        by_domain=by_domain, tell=(lambda line: None) if as_json else print_line,
    )  # fmt: skip
    keep_plan(place, find_target(gap), made)
    if as_json:
        write_records([asdict(made) | {"pays": made.pays, "reason": made.reason}], sys.stdout, as_csv=False)
    else:
        value = made.value
        of = "traffic" if by_domain else "questions"
        for what, said in (
            (
                "gap",
                f"{made.gap}, {made.share:.1%} of the {of}, best expert there {made.now:.3f}",
            ),
            ("specialist", f"of {made.base}, {made.questions:,} questions, expected {made.expected}"),
            ("training", f"{60 * made.training_hours:.0f} minutes, {made.training_usd:.4f} USD"),
            ("hosting", f"{made.hosting_usd_per_month:.4f} USD a month"),
            ("worth", f"{made.worth_usd_per_month} USD a month"),
            ("universe", f"takes it up to {1000 * value.break_even_usd:.6f} USD per 1,000 queries"),
            ("pays", made.reason),
        ):
            print_line(f"{what:<11}{said}")
    if not made.pays:
        raise typer.Exit(1)
