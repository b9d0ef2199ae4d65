"""What no expert can do, with questions that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.answering.domains import DomainResult
from pipelines.report.parts import Cell, Examples, Paragraph, Part, Section, percent, table_of, usd_per_1k

MOST_EXAMPLES, LONGEST = 3, 600


def tell_gaps(
    gaps: Mapping[str, Any] | None, prompts: Mapping[str, str], results: Sequence[DomainResult]
) -> Section | None:
    """The gaps of a round, and how each expert does in each domain.

    Args:
        gaps: what the round's record says; None: there was no round.
        prompts: of the questions that the gaps name, by id.
        results: of each expert in each domain.
    """
    parts: list[Part] = []
    if gaps is not None:
        parts += [Paragraph(line) for line in gaps["lines"]]
        for gap in gaps["gaps"]:
            texts = [prompts[own] for own in gap["example_ids"] if own in prompts][:MOST_EXAMPLES]
            if texts:
                title = f"Questions from {gap['name']}"
                parts.append(Examples(title, tuple(text[:LONGEST] for text in texts)))
    if results:
        rows = [
            (r.domain, r.expert, Cell(f"{r.questions:,}", r.questions), _accuracy(r), percent(r.chance),
             "yes" if r.knows else "no", usd_per_1k(r.cost_usd / r.questions))
            for r in results
        ]  # fmt: skip
        numbers = ("questions", "accuracy [95%]", "guessing", "per 1,000")
        columns = ("domain", "expert", *numbers[:3], "beats guessing", numbers[3])
        parts.append(table_of("experts-by-domain", columns, rows, numbers=numbers, by_domain="domain"))
    return Section("gaps", "What nobody can do", tuple(parts)) if parts else None


def _accuracy(result: DomainResult) -> Cell:
    low, high = 100 * result.low, 100 * result.high
    return Cell(f"{100 * result.accuracy:.1f}% [{low:.1f}, {high:.1f}]", result.accuracy)
