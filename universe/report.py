"""Universes as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from universe.select import Universe
from universe.solve import Progress


def render_universe(universe: Universe) -> RenderableType:
    """The chosen experts with their share of the traffic, then what is expected and proven."""
    table = Table(title="Universe", title_justify="left")
    table.add_column("expert")
    table.add_column("share of queries", justify="right")
    table.add_column("replicas", justify="right")
    for name in universe.experts:
        table.add_row(name, f"{universe.share[name]:.1%}", str(universe.replicas[name]))
    proof = (
        f"proven optimal within {universe.gap:.1g}"
        if universe.status == "optimal"
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


@contextmanager
def search_progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Show value, bound and gap while the search runs."""
    with console.status("choosing experts") as status:

        def show(progress: Progress) -> None:
            found = f"best {progress.value:.4f}" if math.isfinite(progress.value) else "no set yet"
            status.update(
                f"choosing experts: {found}, at most {progress.bound:.4f} ({progress.wall_s:.0f} s;"
                " Ctrl-C keeps the best so far)"
            )

        yield show
