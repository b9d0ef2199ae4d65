"""What a round prints: who answered what at which price, and what nobody can do."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import duckdb

    from pipelines.answering.bulk import AnswerReceipt
    from pipelines.selfplay.round import RoundResult

#: Wide enough for the tables also where the output goes to a file.
WIDTH = None if sys.stdout.isatty() else 130
console = Console(highlight=False, soft_wrap=True, width=WIDTH)

#: One row per expert and domain, over the questions registered as `asked`.
BY_DOMAIN = """
select o.expert, o.domain,
    count(o.score) as questions, avg(o.score) as accuracy,
    avg(case when len(q.choices) > 0 then 1 / len(q.choices) else 0 end) as chance,
    sum(o.prompt_tokens)::bigint as prompt_tokens, sum(o.completion_tokens)::bigint as completion_tokens,
    sum(o.cost_usd) as cost_usd, count(*) - count(o.score) as unscored
from outcomes o join questions q using (question_id) join asked using (question_id)
where list_contains(?, o.expert)
group by all order by o.domain, o.expert
"""


@dataclass(frozen=True)
class DomainResult:
    """One expert on one domain of a round's questions."""

    expert: str
    domain: str
    questions: int
    accuracy: float
    low: float  # 95% interval of the accuracy
    high: float
    chance: float  # what blind guessing scores
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unscored: int

    @property
    def knows(self) -> bool:
        """Better than guessing, beyond what chance explains."""
        return self.low > self.chance


@dataclass(frozen=True)
class DomainGap:
    """A domain where no expert is better than guessing."""

    domain: str
    best_expert: str
    accuracy: float
    chance: float
    questions: int


def measure_domains(
    connection: duckdb.DuckDBPyConnection, question_ids: Sequence[str], experts: Sequence[str]
) -> list[DomainResult]:
    """Read each expert's accuracy, tokens and cost per domain on these questions from the warehouse."""
    connection.register("asked", pa.table({"question_id": pa.array(question_ids, pa.string())}))
    results = []
    for row in connection.sql(BY_DOMAIN, params=[list(experts)]).fetchall():
        expert, domain, n, accuracy, chance, tokens_in, tokens_out, cost, unscored = row
        if not n:
            continue
        low, high = _interval(accuracy, n)
        results.append(
            DomainResult(
                expert, domain, n, accuracy, low, high, chance,
                tokens_in or 0, tokens_out or 0, cost or 0.0, unscored,
            )
        )  # fmt: skip
    return results


def _interval(mean: float, n: int) -> tuple[float, float]:
    """95% interval of a mean of n scores in [0, 1]; holds for few questions and where all or none are right.

    Source: Agresti and Coull, "Approximate is better than exact" (1998). Partial credit varies less than the
    right-or-wrong it assumes, so the interval is wide enough for it too.
    """
    z = 1.96
    centre = (mean * n + z**2 / 2) / (n + z**2)
    margin = z * math.sqrt(centre * (1 - centre) / (n + z**2))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def find_domain_gaps(results: Sequence[DomainResult]) -> list[DomainGap]:
    """Name the domains in which no expert does better than guessing."""
    gaps = []
    for domain in dict.fromkeys(result.domain for result in results):
        of_domain = [result for result in results if result.domain == domain]
        if not any(result.knows for result in of_domain):
            best = max(of_domain, key=lambda result: result.accuracy - result.chance)
            gaps.append(DomainGap(domain, best.expert, best.accuracy, best.chance, best.questions))
    return gaps


def domain_table(results: Sequence[DomainResult]) -> Table:
    """Lay the results out as experts within domains."""
    table = Table(title="Answers by domain and expert")
    for name in ("domain", "expert"):
        table.add_column(name)
    for name in ("questions", "accuracy", "95%", "chance", "tokens in", "tokens out", "cost, USD"):
        table.add_column(name, justify="right")
    previous = None
    for r in results:
        if previous is not None and r.domain != previous:
            table.add_section()
        accuracy = f"[green]{r.accuracy:.2f}[/]" if r.knows else f"{r.accuracy:.2f}"
        table.add_row(
            r.domain if r.domain != previous else "", r.expert, str(r.questions), accuracy,
            f"{r.low:.2f}-{r.high:.2f}", f"{r.chance:.2f}", f"{r.prompt_tokens:,}",
            f"{r.completion_tokens:,}", f"{r.cost_usd:.6f}",
        )  # fmt: skip
        previous = r.domain
    return table


def expert_table(results: Sequence[DomainResult], receipts: Sequence[AnswerReceipt]) -> Table:
    """Sum the results up per expert, with what this run asked and what it reused."""
    table = Table(title="Experts")
    table.add_column("expert")
    names = (
        "questions", "accuracy", "tokens in", "tokens out", "cost, USD", "asked now", "reused", "failed now",
        "s", "answers/s",
    )  # fmt: skip
    for name in names:
        table.add_column(name, justify="right")
    for receipt in receipts:
        own = [result for result in results if result.expert == receipt.expert]
        n = sum(result.questions for result in own)
        accuracy = sum(result.accuracy * result.questions for result in own) / n if n else math.nan
        table.add_row(
            receipt.expert, str(n), f"{accuracy:.3f}", f"{sum(r.prompt_tokens for r in own):,}",
            f"{sum(r.completion_tokens for r in own):,}", f"{sum(r.cost_usd for r in own):.6f}",
            str(receipt.asked), str(receipt.reused), str(receipt.failed), f"{receipt.wall_s:.0f}",
            f"{receipt.asked / receipt.wall_s:.1f}" if receipt.asked else "-",
        )  # fmt: skip
    return table


def gap_lines(gaps: Sequence[DomainGap]) -> list[str]:
    """Say in a sentence each what no expert can do."""
    if not gaps:
        return ["Gaps: none; in every domain some expert is better than guessing."]
    return [
        f"Gap: {gap.domain}. The best of the experts, {gap.best_expert}, scores {gap.accuracy:.2f} on"
        f" {gap.questions} questions; guessing scores {gap.chance:.2f}."
        for gap in gaps
    ]


def purchase_table(rounds: Sequence[RoundResult], frozen_cost_usd: float) -> Table:
    """Lay out what each round spent and what it bought."""
    costs = {f"{1000 * r.purchase.at_cost_usd:.4g}" for r in rounds if r.purchase}
    table = Table(
        title=f"Accuracy in % on the frozen set at {' or '.join(sorted(costs)) or 'no'} USD per 1,000 queries"
    )
    table.add_column("round", no_wrap=True)
    names = ("asked", "answers", "cost, USD", "before", "after", "gain, points", "points/USD")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("router", no_wrap=True)
    table.add_row("frozen set", "", "", f"{frozen_cost_usd:.6f}", "", "", "", "", "")
    for r in rounds:
        bought = ("-", "-", "-", "-")
        if r.purchase is not None:
            gain = r.purchase.difference
            points = f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
            before, after = (
                str(estimate).replace("%", "") for estimate in (r.purchase.before, r.purchase.after)
            )
            bought = (before, after, points, f"{r.points_per_usd:.3g}")
        router = f"{r.version} {'promoted' if r.promoted else 'refused'}"
        table.add_row(r.round, str(r.questions), str(r.answers), f"{r.cost_usd:.6f}", *bought, router)
    total = frozen_cost_usd + sum(r.cost_usd for r in rounds)
    table.add_section()
    table.add_row("all", "", "", f"{total:.6f}", "", "", "", "", "")
    return table


def print_line(text: str) -> None:
    """Print one line of text as it is."""
    console.print(text, markup=False)


def print_step(text: str) -> None:
    """Print the heading of a step."""
    console.print(f"\n[bold]{text}[/]")
