"""What rounds did and bought, as tables and lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipelines.answering.domains import DomainResult
    from pipelines.answering.receipt import AnswerReceipt
    from pipelines.questions.duplicates import Refusal
    from pipelines.selfplay.results import RoundResult

#: Refusals of one reason that are shown; all of them are in the round's MLflow run.
REFUSALS_SHOWN = 8


def domain_table(results: Sequence[DomainResult]) -> Table:
    """Lay the results out as experts within domains."""
    table = Table(title="Answers by domain and expert", title_justify="left")
    for name in ("domain", "expert"):
        table.add_column(name)
    for name in ("questions", "accuracy", "95%", "chance", "cost, USD"):
        table.add_column(name, justify="right")
    previous = None
    for r in results:
        if previous is not None and r.domain != previous:
            table.add_section()
        table.add_row(
            r.domain, r.expert, str(r.questions), Text(f"{r.accuracy:.2f}", style="green" if r.knows else ""),
            f"{r.low:.2f}-{r.high:.2f}", f"{r.chance:.2f}", f"{r.cost_usd:.6f}",
        )  # fmt: skip
        previous = r.domain
    return table


def expert_table(results: Sequence[DomainResult], receipts: Sequence[AnswerReceipt]) -> Table:
    """Sum the results up per expert, with what this run asked and how fast it was answered."""
    table = Table(title="Experts", title_justify="left")
    table.add_column("expert")
    names = ("questions", "accuracy", "tokens in", "tokens out", "cost, USD", "asked now", "per second")
    has_failures = any(receipt.failed for receipt in receipts)
    for name in (*names, *(("failed",) if has_failures else ())):
        table.add_column(name, justify="right")
    for receipt in receipts:
        own = [result for result in results if result.expert == receipt.expert]
        n = sum(result.questions for result in own)
        accuracy = sum(result.accuracy * result.questions for result in own) / n if n else math.nan
        table.add_row(
            receipt.expert, str(n), f"{accuracy:.3f}", f"{sum(r.prompt_tokens for r in own):,}",
            f"{sum(r.completion_tokens for r in own):,}", f"{sum(r.cost_usd for r in own):.6f}",
            str(receipt.asked), f"{receipt.asked / receipt.wall_s:.1f}" if receipt.asked else "-",
            *((str(receipt.failed),) if has_failures else ()),
        )  # fmt: skip
    return table


def purchase_table(rounds: Sequence[RoundResult], frozen_cost_usd: float) -> Table:
    """Lay out what each round spent and what it bought."""
    costs = {f"{1000 * r.purchase.at_cost_usd:.4g}" for r in rounds if r.purchase}
    table = Table(
        title=f"Accuracy in %, frozen set, at {' or '.join(sorted(costs)) or 'no'} USD per 1,000 queries",
        title_justify="left",
    )
    table.add_column("round", no_wrap=True)
    names = ("asked", "answers", "cost, USD", "before", "after", "gain, points", "points per USD")
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


def result_line(result: RoundResult) -> str:
    """What a round spent and what it bought, in one line."""
    spent = f"Round {result.round} cost {result.cost_usd:.6g} USD for {result.answers} answers."
    if result.purchase is None:
        return f"{spent} There are too few frozen questions to tell what it bought. {result.verdict}"
    bought, standing = result.purchase, "was promoted" if result.promoted else "was not promoted"
    return (
        f"{spent} Accuracy at {1000 * bought.at_cost_usd:.4g} USD per 1,000 queries, on"
        f" {bought.questions} frozen questions: {bought.before} before, {bought.after} after"
        f" ({100 * bought.difference.value:+.1f} points [{100 * bought.difference.low:+.1f},"
        f" {100 * bought.difference.high:+.1f}]). Version {result.version} {standing}."
    )


def refusal_lines(refusals: Sequence[Refusal]) -> list[str]:
    """Say how many questions were refused and why; name those that touch the frozen set."""
    by_reason: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        by_reason.setdefault(refusal.reason, []).append(refusal)
    lines = []
    for reason, group in sorted(by_reason.items()):
        lines.append(f"{len(group)} questions refused: {reason}")
        # Whatever touches the frozen set is named in full.
        shown = group if reason == "contamination" else group[:REFUSALS_SHOWN]
        lines += [f"  {refusal}" for refusal in shown]
    if "contamination" not in by_reason:
        lines.append("Contamination check: no question matches the frozen set.")
    return lines
