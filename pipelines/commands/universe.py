"""``leeroo universe``: which experts to keep."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.text.registry import FAST_EMBEDDER
from pipelines.commands.options import (
    DEFAULT_HOME,
    CsvOption,
    EmbedderOption,
    ExpertsLists,
    HomeOption,
    JsonOption,
    Lists,
    SourcesLists,
    TrackOption,
    split_lists,
)
from pipelines.learning.cross_fitted import expected_success, held_out
from pipelines.learning.pool_outcomes import load_named
from warehouse.home import Home

if TYPE_CHECKING:
    from universe.analysis.alternatives import SetByPolicy
    from universe.analysis.frontier import Budget
    from universe.analysis.held_out import HeldOutValue


SETS_BY_POLICY = 6  # that are valued where one is chosen by it, if no number is given


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(help="Choose which experts to keep.", invoke_without_command=True)
    group.callback()(choose)
    group.command("apply")(apply)
    app.add_typer(group, name="universe")


def choose(
    context: typer.Context,
    home: HomeOption = DEFAULT_HOME,
    max_experts: Annotated[int | None, typer.Option(help="Maximum number of experts to keep.")] = None,
    max_usd_per_1k: Annotated[
        float | None, typer.Option(help="Maximum mean cost in USD per 1,000 queries, as --frontier shows it.")
    ] = None,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(help="Maximum mean cost in USD per query; alternative to --max-usd-per-1k."),
    ] = None,
    max_usd_per_hour: Annotated[
        float | None, typer.Option(help="Maximum hosting cost in USD per hour.")
    ] = None,
    price_weight: Annotated[
        float, typer.Option(help="Weight of cost: the score that one USD per query has to buy.")
    ] = 0.0,
    must_have: Annotated[Lists, typer.Option(help="Experts that must be kept, comma-separated.")] = None,
    must_not: Annotated[Lists, typer.Option(help="Experts that must be left out, comma-separated.")] = None,
    min_score: Annotated[
        Lists, typer.Option(help="Minimum score by domain: DOMAIN=SCORE, comma-separated.")
    ] = None,
    hosting: Annotated[
        Path | None,
        typer.Option(help="YAML file with hosting cost and memory of each expert, and the nodes."),
    ] = None,
    queries_per_s: Annotated[
        float | None, typer.Option(help="Load in queries per second; adds replicas until it is carried.")
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(help="Keep only one of several experts that agree on this share of the questions."),
    ] = None,
    experts: ExpertsLists = None,
    source: SourcesLists = None,
    raw: Annotated[bool, typer.Option(help="Choose by raw outcomes instead of expected success.")] = False,
    embedder: EmbedderOption = FAST_EMBEDDER,
    explain: Annotated[
        bool, typer.Option(help="Show the value of each expert and which limits bind.")
    ] = True,
    frontier: Annotated[
        str | None, typer.Option(help="Trace the best set over a range of budgets: cost, hosting or experts.")
    ] = None,
    points: Annotated[int, typer.Option(help="Number of points on the frontier.")] = 20,
    candidate: Annotated[
        str | None, typer.Option(help="Show what adding this expert would gain, and up to which price.")
    ] = None,
    robust: Annotated[
        bool, typer.Option(help="Also choose a set that is robust to changing prices and traffic.")
    ] = False,
    price_spread: Annotated[float, typer.Option(help="--robust: standard deviation of log prices.")] = 0.5,
    traffic_spread: Annotated[
        float, typer.Option(help="--robust: standard deviation of log domain shares.")
    ] = 0.3,
    risk_weight: Annotated[
        float,
        typer.Option(help="--robust: weight of the worst scenarios; 1 counts them only, 0 the mean of all."),
    ] = 1.0,
    risk_tail: Annotated[
        float,
        typer.Option(help="--robust: share of scenarios that count as worst; 0 is the single worst one."),
    ] = 0.0,
    by_policy: Annotated[
        int,
        typer.Option(
            min=0, help="Show what the policy, asking several, reaches with so many of the best sets."
        ),
    ] = 0,
    choose_by_policy: Annotated[
        bool, typer.Option(help="Keep the one of these sets with which the policy reaches most.")
    ] = False,
    judge: Annotated[bool, typer.Option(help="Evaluate the choice on held-out questions.")] = True,
    sample: Annotated[int | None, typer.Option(help="Solve on samples of this many questions.")] = None,
    time_limit_s: Annotated[
        float, typer.Option(help="Seconds after which the best set found so far is returned.")
    ] = 60.0,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    track: TrackOption = True,
) -> None:
    """Choose the best set of experts within the limits, with a proof, and keep it for `universe apply`.

    With --json or --csv, print one row per expert; per set with --by-policy, per budget with --frontier.
    """
    if context.invoked_subcommand:
        return
    from pipelines.commands.terminal.console import Terminal
    from pipelines.commands.terminal.progress import working
    from pipelines.commands.terminal.query_output import write_records
    from universe.analysis.alternatives import keep_set, nearest_sets
    from universe.analysis.explain import binding_limits, marginal_values, reasons_to_keep
    from universe.analysis.frontier import cost_points, trace_frontier
    from universe.analysis.robust import select_robust, uncertain_world
    from universe.model.hosting_file import HostingFile, read_hosting
    from universe.model.limits import Limits
    from universe.model.program import near_identical
    from universe.model.risk import Risk
    from universe.pool_file import write_plan
    from universe.report.figures import draw_frontier, draw_marginal_values, draw_robustness
    from universe.report.records import candidate_record, frontier_records, set_records, universe_records
    from universe.report.tables import (
        describe_search,
        render_binding,
        render_candidate,
        render_frontier,
        render_held_out,
        render_judged_sets,
        render_marginal_values,
        render_robust,
        render_sets,
        render_universe,
    )
    from universe.solver.select import select_universe, universe_program
    from warehouse import InfeasibleError, InputError, TooFewError

    for_programs = as_json or as_csv
    count = by_policy or (SETS_BY_POLICY if choose_by_policy else 0)
    if count and (raw or candidate):
        raise InputError(
            "a set is valued by policy on forecasts, and alone",
            where="--by-policy",
            fix="leave out --raw and --candidate",
        )
    console = Terminal(quiet=for_programs)
    here = Home.open(home)
    traced_budget = _frontier_budget(frontier) if frontier else None
    file = read_hosting(hosting) if hosting else HostingFile()
    floors = dict(_floor(text) for text in split_lists(min_score))
    risk = Risk(risk_weight, risk_tail)
    limits = Limits(
        max_experts=max_experts,
        max_cost_usd=_cost_limit(max_usd_per_1k, max_cost_usd),
        max_usd_per_hour=max_usd_per_hour,
        nodes=file.nodes,
        must_have=split_lists(must_have),
        must_not=split_lists(must_not),
        min_score=floors,
        queries_per_s=queries_per_s,
    )
    outcomes = load_named(here, split_lists(experts), split_lists(source))
    if agreement is not None:
        alike = near_identical(outcomes.experts, outcomes.score, agreement=agreement)
        limits = replace(limits, exclusive=alike)
    costs = {name: entry for name, entry in file.experts.items() if name in outcomes.experts}
    size = f"{len(outcomes):,} questions x {len(outcomes.experts)} experts"
    with working(f"expecting success and cost on {size}") as tell:
        expected = (
            None
            if raw
            else expected_success(outcomes, embedder=embedder, cache_dir=here.embeddings, on_progress=tell)
        )
    settings: dict[str, Any] = {"expected": expected, "hosting": costs, "price_weight": price_weight}
    program = universe_program(outcomes, limits=limits, **settings)
    figures: dict[str, Any] = {}
    if candidate:
        from universe.analysis.candidate import value_candidate

        with working(f"choosing experts for {size}, with and without {candidate}"):
            worth = value_candidate(program, candidate, time_limit_s=time_limit_s)
        console.print(render_candidate(worth))
        if for_programs:
            write_records([candidate_record(worth)], sys.stdout, as_csv=as_csv)
        return
    with working(f"choosing experts for {size}") as tell:
        universe = select_universe(
            outcomes,
            limits=limits,
            time_limit_s=time_limit_s,
            sample=sample,
            on_progress=lambda progress: tell(describe_search(progress), None),
            **settings,
        )
    if count and expected is not None:
        from pipelines.learning.policy_value import Answered, best_by_policy, judge_choice, value_sets
        from pipelines.learning.pool_outcomes import load_readings

        readings = load_readings(here, outcomes)
        ranked = nearest_sets(program, universe.experts, count)
        with working("asking as the policy does, with each of the best sets") as tell:
            reached = value_sets(
                Answered(outcomes, expected, readings),
                [one.experts for one in ranked],
                max_cost_usd=limits.max_cost_usd,
                price_weight=price_weight,
                on_set=lambda done, total: tell(f"{done} of {total} sets", done / total),
            )
        if choose_by_policy:
            universe = keep_set(program, best_by_policy(reached).experts, universe)
    console.print(render_universe(universe))
    if count:
        console.print(render_sets(ranked, reached, universe.experts))
    metrics: dict[str, float] = {}
    if judge:
        try:
            with working("judging this way of choosing on held-out questions"):
                value: HeldOutValue | SetByPolicy
                if choose_by_policy:
                    own, value = judge_choice(
                        outcomes,
                        readings,
                        limits,
                        settings,
                        count=count,
                        embedder=embedder,
                        cache_dir=here.embeddings,
                    )
                    told = render_judged_sets(own, value)
                else:
                    value = held_out(outcomes, limits, settings, embedder=embedder, cache_dir=here.embeddings)
                    told = render_held_out(value)
        except (TooFewError, InfeasibleError) as error:  # of a part of the questions; the choice stands
            console.print(f"This way of choosing could not be judged on held-out questions: {error}")
        else:
            console.print(told)
            metrics = {"held_out_score": value.score, "held_out_low": value.interval[0],
                       "held_out_high": value.interval[1], "held_out_cost_usd": value.cost_usd}  # fmt: skip
    with working("telling what each expert is worth"):
        values = marginal_values(program, universe.experts)
    figures["marginal_values"] = draw_marginal_values(values)
    if explain:
        console.print(render_marginal_values(values))
        with working("looking for the limits that bind"):
            binding = binding_limits(program, universe.objective)
        console.print(render_binding(binding))
    if traced_budget:
        with working("tracing the frontier") as tell:
            traced = trace_frontier(
                program,
                traced_budget,
                points=points,
                time_limit_s=time_limit_s,
                on_point=lambda done, total: tell(f"{done} of {total} points", done / total),
            )
        console.print(render_frontier(traced))
        figures["frontier"] = draw_frontier(traced)
    if robust:
        worlds = uncertain_world(program, price_spread=price_spread, traffic_spread=traffic_spread)
        with working("choosing for prices and traffic that move"):
            choice = select_robust(program, worlds, risk=risk, time_limit_s=time_limit_s)
        console.print(render_robust(choice))
        figures["robustness"] = draw_robustness(choice)
    traced_points = cost_points(traced) if traced_budget else ()
    reasons = reasons_to_keep(universe, values)
    path = write_plan(here.path, universe, reasons, traced_points)
    if for_programs:
        rows = (
            frontier_records(traced)
            if traced_budget
            else set_records(ranked, reached, universe.experts)
            if count
            else universe_records(universe, values, reasons)
        )
        write_records(rows, sys.stdout, as_csv=as_csv)
    console.print(f"Kept in {path}; `leeroo universe apply` makes it the pool that is served.")
    if track:
        from universe.report.mlflow_runs import log_universe

        run = log_universe(universe, tracking_uri=here.mlflow_uri,
                           fingerprint=outcomes.fingerprint(), figures=figures, metrics=metrics)  # fmt: skip
        console.print(f"MLflow run {run} holds the figures: `leeroo ui`.")


def apply(home: HomeOption = DEFAULT_HOME) -> None:
    """Make the last chosen universe the pool that is served and that `gaps` examines.

    To train a router on it: `leeroo train --pool HOME/pool.yaml`.
    """
    from universe.pool_file import apply_plan

    path, experts = apply_plan(Home.open(home).path)
    typer.echo(f"{path}: {', '.join(experts)}")


def _cost_limit(usd_per_1k: float | None, usd: float | None) -> float | None:
    from warehouse import InputError

    if usd_per_1k is None:
        return usd
    if usd is not None:
        raise InputError("--max-usd-per-1k and --max-cost-usd are one limit", fix="give one of them")
    return usd_per_1k / 1000


def _floor(text: str) -> tuple[str, float]:
    from warehouse import InputError

    domain, _, number = text.rpartition("=")
    try:
        return domain, float(number)
    except ValueError as error:
        raise InputError(f"{text!r} is not DOMAIN=SCORE", where="--min-score", fix="e.g. math=0.6") from error


def _frontier_budget(name: str) -> Budget:
    from warehouse import InputError

    names: dict[str, Budget] = {
        "cost": "max_cost_usd",
        "hosting": "max_usd_per_hour",
        "experts": "max_experts",
    }
    if name not in names:
        raise InputError(f"no budget {name!r}", where="--frontier", fix="use cost, hosting or experts")
    return names[name]
