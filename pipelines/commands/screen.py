"""What a round prints: who answered what at which price, and what nobody can do."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pipelines.answering.domains import DomainGap, DomainResult
    from pipelines.answering.receipt import AnswerReceipt
    from pipelines.selfplay.round import RoundResult

#: Wide enough for the tables also where the output goes to a file.
WIDTH = None if sys.stdout.isatty() else 130
console = Console(highlight=False, soft_wrap=True, width=WIDTH)


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


@contextlib.contextmanager
def show_progress(total: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Show a bar per expert on a terminal; in a log file, a line for every tenth.

    Args:
        total: questions by expert's name.

    Yields:
        What to call with an expert's name and the number of its questions answered since the last call.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {name: bars.add_task(name, total=count) for name, count in total.items()}

        def advance(name: str, answered: int) -> None:
            task = tasks[name]
            before = bars.tasks[task].completed
            bars.advance(task, answered)
            done, count = bars.tasks[task].completed, total[name]
            if bars.disable and count and int(10 * done / count) > int(10 * before / count):
                print_line(f"  {name}: {done:,.0f} of {count:,}")

        yield advance
