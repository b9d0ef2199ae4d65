"""Universes as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from universe.analysis.alternatives import RankedSet, SetByPolicy
from universe.analysis.candidate import CandidateValue
from universe.analysis.explain import BindingLimit, MarginalValue
from universe.analysis.frontier import Frontier
from universe.analysis.gaps import GapReport
from universe.analysis.held_out import HeldOutValue
from universe.analysis.robust import RobustChoice
from universe.model.universe import Universe
from universe.solver.search import Progress


def render_universe(universe: Universe) -> RenderableType:
    """The chosen experts with their share of the traffic, then what is expected and proven."""
    table = Table(title="Universe", title_justify="left")
    table.add_column("expert")
    table.add_column("share of queries", justify="right")
    table.add_column("replicas", justify="right")
    for name in universe.experts:
        table.add_row(name, f"{universe.share[name]:.1%}", str(universe.replicas[name]))
    proof = (
        f"proven optimal: no other set is better by more than {max(universe.gap, 1e-6):.0e}"
        if universe.status == "optimal"
        else f"sampled: with 95% confidence at most {universe.gap:.4f} below the best possible"
        if universe.status == "sampled"
        else f"{universe.status}: at most {universe.gap:.4f} below the best possible"
    )
    lines = [
        f"expected score {universe.expected_score:.4f} at {universe.expected_cost_usd * 1000:.4g} USD per"
        f" 1,000 queries on {universe.questions:,} distinct questions",
        f"{proof} ({universe.wall_s:.1f} s, {len(universe.left_out)} experts left out)",
    ]
    if universe.usd_per_hour:
        lines.append(f"hosting {universe.usd_per_hour:.2f} USD per hour")
    if universe.cost_multiplier:
        lines.append(
            f"shadow price of the query budget: one more USD per 1,000 queries adds"
            f" {universe.cost_multiplier / 1000:.4f} of score"
        )
    return Group(table, Text("\n".join(lines)))


def describe_search(progress: Progress) -> str:
    """Value, bound and time of a search that runs."""
    found = f"best {progress.value:.4f}" if math.isfinite(progress.value) else "no set yet"
    return f"{found}, at most {progress.bound:.4f}; Ctrl-C keeps the best so far"


def render_marginal_values(values: Sequence[MarginalValue], *, show_left_out: int = 6) -> Table:
    """The value of each kept expert, and of the best of those left out."""
    table = Table(title="What each expert is worth (score)", title_justify="left")
    table.add_column("expert")
    table.add_column("lost without it", justify="right")
    table.add_column("added on top", justify="right")
    left = 0
    for value in values:
        number = "the limits need it" if math.isinf(value.value) else f"{value.value:.4f}"
        if value.kept:
            table.add_row(value.expert, number, "")
        elif left < show_left_out:
            table.add_row(value.expert, "", number)
            left += 1
    return table


def render_binding(limits: Sequence[BindingLimit]) -> Table | Text:
    """The limits that cost score."""
    if not limits:
        return Text("No limit binds: nothing would be gained without any one of them.")
    table = Table(title="Limits that bind", title_justify="left")
    table.add_column("limit")
    table.add_column("score gained without it", justify="right")
    for limit in limits:
        table.add_row(limit.name, f"{limit.worth:.4f}")
    return table


FRONTIER_UNITS = {
    "max_cost_usd": "the mean cost, in $ per 1,000 queries (--max-usd-per-1k)",
    "max_usd_per_hour": "hosting, in $ per hour (--max-usd-per-hour)",
    "max_experts": "the number of experts (--max-experts)",
}


def render_frontier(frontier: Frontier) -> Table:
    """One row per budget; query budgets and costs in USD per 1,000 queries, as the option has them."""
    table = Table(title=f"Frontier over {FRONTIER_UNITS[frontier.budget]}", title_justify="left")
    for name in ("budget", "score", "gap", "spent, $ / 1k", "shadow price", "s"):
        table.add_column(name, justify="right")
    table.add_column("experts", overflow="fold", min_width=24)
    factor = 1000 if frontier.budget == "max_cost_usd" else 1
    for budget, universe in zip(frontier.limits, frontier.universes, strict=True):
        if universe is None:
            table.add_row(f"{budget * factor:.4g}", "none", "", "", "", "", "")
            continue
        table.add_row(
            f"{budget * factor:.4g}",
            f"{universe.expected_score:.4f}",
            f"{universe.gap:.0e}",
            f"{universe.expected_cost_usd * 1000:.4g}",
            f"{universe.cost_multiplier / 1000:.4g}",
            f"{universe.wall_s:.1f}",
            ", ".join(universe.experts),
        )
    return table


def render_candidate(value: CandidateValue) -> Text:
    """What a candidate would add, and the price at which it earns its place."""
    if math.isinf(value.break_even_usd):
        price = "it earns its place at any price (no limit or weight here makes price count)"
    elif value.break_even_usd == 0:
        price = "it would not earn its place even for nothing"
    else:
        price = f"it earns its place up to {value.break_even_usd * 1000:.4g} USD per 1,000 queries"
    chosen = "chosen" if value.chosen else "not chosen"
    instead = f", instead of {', '.join(value.replaces)}" if value.replaces else ""
    return Text(
        f"{value.expert}: {chosen}{instead} at its present {value.price_usd * 1000:.4g} USD per 1,000"
        f" queries; it adds {value.gain:.4f} ({value.value_without:.4f} without it); {price}."
    )


def render_sets(
    ranked: Sequence[RankedSet], reached: Sequence[SetByPolicy], chosen: Sequence[str]
) -> RenderableType:
    """The best set and those near it: by the program, and by what the policy reaches with them."""
    table = Table(title="The best sets, by the program and by the policy", title_justify="left")
    table.add_column("experts", overflow="fold", min_width=20)
    for name in ("program", "policy", "less the first", "asks"):
        table.add_column(name, justify="right")
    for by_program, by_policy in zip(ranked, reached, strict=True):
        is_kept = set(by_policy.experts) == set(chosen)
        table.add_row(
            ", ".join(by_policy.experts),
            f"{by_program.value:.4f}",
            "over budget"
            if math.isnan(by_policy.score)
            else _plus_minus(by_policy.score, by_policy.interval),
            "" if math.isnan(by_policy.gain) else _plus_minus(by_policy.gain, by_policy.gain_interval, "+"),
            f"{by_policy.asks:.2f}",
            style="bold" if is_kept else "",
        )
    note = Text(
        f"program: objective, one expert asked for a query. policy: reached at the same price on"
        f" {reached[0].questions:,} questions that it had not learned from, several asked where that pays;"
        " ±: half of the 95% interval. The set that is kept is bold."
    )
    return Group(table, note)


def render_judged_sets(program: SetByPolicy, chosen: SetByPolicy) -> Text:
    """The result of choosing by policy on unseen questions."""
    low, high = chosen.interval
    gain_low, gain_high = chosen.gain_interval
    instead = (
        f"{chosen.gain:+.4f} ({gain_low:+.4f} to {gain_high:+.4f}) beside the program's set"
        if chosen.experts != program.experts
        else "with the program's set"
    )
    return Text(
        f"chosen in this way on 60% of the questions, the policy reaches {chosen.score:.4f} (95% interval"
        f" {low:.4f} to {high:.4f}) on {chosen.questions:,} others, {instead}"
    )


def _plus_minus(value: float, interval: tuple[float, float], sign: str = "") -> str:
    return f"{value:{sign}.4f} ±{(interval[1] - interval[0]) / 2:.4f}"


def render_robust(choice: RobustChoice) -> Text:
    """The two sets and what the robust one costs and saves."""
    broken, scenarios = int(np.isinf(choice.nominal_values).sum()), len(choice.nominal_values)
    saving = (
        f"today's best breaks a limit in {broken} of {scenarios} scenarios"
        if broken
        else f"it saves {choice.saving:.4f} {choice.risk.describe(scenarios)}"
    )
    return Text(
        f"best for today: {', '.join(choice.nominal)}\nrobust: {', '.join(choice.robust)}\n"
        f"the robust set costs {choice.premium:.4f} if nothing moves; {saving} (proven gap {choice.gap:.1g})"
    )


def render_gaps(report: GapReport) -> RenderableType:
    """Gaps, worth most first, each with its briefs below the table."""
    if not report.gaps:
        return Text(f"No gaps: every region reaches about {report.target:.2f} (chance taken out).")
    table = Table(title="Gaps of the universe", title_justify="left")
    table.add_column("region", overflow="fold", min_width=30)
    table.add_column("kind", min_width=7)
    is_priced = any(not math.isnan(gap.usd_worth) for gap in report.gaps)
    for name in ("traffic", "reached", "worth", *(("USD/1k",) if is_priced else ()), "again"):
        table.add_column(name, justify="right", min_width=min(len(name), 6))
    for gap in report.gaps:
        table.add_row(
            Text(f"{gap.name}\n{gap.questions} questions; best: {gap.best_expert} ({gap.best_score:.2f})"),
            gap.kind,
            f"{gap.traffic_share:.1%}",
            f"{gap.reached:.2f} [{gap.interval[0]:.2f}, {gap.interval[1]:.2f}]",
            f"{gap.accuracy_worth:.4f}",
            *(("" if math.isnan(gap.usd_worth) else f"{gap.usd_worth:.3g}",) if is_priced else ()),
            f"{gap.stability:.0%}",
        )
    asked = f"{report.requests:,} recorded requests" if report.requests else "the questions"
    note = Text(
        f"traffic: share of {asked}. reached: chance taken out, with its 95% interval; the universe overall:"
        f" {report.target:.2f}. worth: score that closing it adds, overall"
        f"{'; USD/1k: the same in USD per 1,000 queries' if is_priced else ''}; again: share"
        f" of {report.resamples} resamples that found it again. In these, {report.recovery:.0%} of the"
        f" questions named here were in gaps (overlap {report.overlap:.0%}); {report.unstable} regions too"
        " uncertain to name were left out."
    )
    return Group(table, note)


def render_held_out(value: HeldOutValue) -> Text:
    """The result of the same method of choosing on unseen questions."""
    low, high = value.interval
    return Text(
        f"chosen in this way on 60% of the questions, it scores {value.score:.4f} (95% interval {low:.4f} to"
        f" {high:.4f}) on the other {value.questions:,}, at {value.cost_usd * 1000:.4g} USD per 1,000 queries"
    )
