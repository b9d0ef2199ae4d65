"""What was asked, and by what money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.versions.mlflow_registry import Version
from pipelines.report.parts import Cell, Figure, Figures, Paragraph, Part, Section, money, table_of
from pipelines.report.sources import Round


def tell_asked(
    version: Version, rounds: Sequence[Round], frozen: int, spent_usd: Mapping[str, float], learned: int
) -> Section:
    """Questions and answers by round.

    Args:
        version: the router that is reported on.
        rounds: that are over.
        frozen: questions of the frozen set.
        spent_usd: what rounds cost by their name, the frozen set among them.
        learned: questions that the home has answers of to learn from.
    """
    figures = [
        Figure(f"{learned:,}", "questions with answers to learn from"),
        Figure(f"{frozen:,}", "frozen questions, never learned from"),
        Figure(str(len(version.pool)), "experts the router chooses among"),
        Figure(money(sum(spent_usd.values())), "spent on answers so far"),
    ]
    text = (
        f"Router version {version.version} ({version.predictor}, embedder {version.embedder}), made"
        f" {version.created_at:%Y-%m-%d %H:%M} UTC"
        + (f"; {' and '.join(version.aliases)}" if version.aliases else "")
        + f". It chooses among {', '.join(version.pool)}."
        + (f" Note: {version.note}." if version.note else "")
    )
    parts: list[Part] = [Paragraph(text), Figures(tuple(figures))]
    domains = list(dict.fromkeys(d for r in rounds for d in r.steps["questions"].get("by_domain", {})))
    if domains:
        counts = [r.steps["questions"].get("by_domain", {}) for r in rounds]
        rows = [(d, *(_count(own.get(d, 0)) for own in counts)) for d in domains]
        names = [f"round {r.name}" for r in rounds]
        asked = table_of("asked", ("domain", *names), rows, numbers=names, by_domain="domain")
        return Section("asked", "What was asked", (*parts, asked))
    return Section("asked", "What was asked", tuple(parts))


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", number)
