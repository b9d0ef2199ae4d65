"""``leeroo forge gaps``: what could be closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption, JsonOption
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.forge.closing.gaps import OpenGap


def register(group: typer.Typer) -> None:
    """Add the command to ``leeroo forge``."""
    group.command("gaps")(gaps)


def gaps(as_json: JsonOption = False, as_csv: CsvOption = False, home: HomeOption = DEFAULT_HOME) -> None:
    """List the gaps of this home, the largest part of the traffic first (of the frozen set without any)."""
    import sys
    from dataclasses import asdict

    from pipelines.commands.terminal.console import Terminal, print_line
    from pipelines.commands.terminal.query_output import write_records
    from pipelines.forge.closing.gaps import list_gaps

    found = list_gaps(Home.open(home))
    if as_json or as_csv:
        write_records([asdict(gap) for gap in found], sys.stdout, as_csv=as_csv)
        return
    if not found:
        print_line("no gap: in every domain an expert of the pool beats guessing")
        return
    Terminal().print(gap_table(found))


def gap_table(gaps: Sequence[OpenGap]) -> Table:
    """Lay gaps out; there is at least one."""
    from rich.table import Table

    table = Table(title=f"Gaps by their part of {gaps[0].told_by}", title_justify="left")
    for name in ("gap", "best expert", "state"):
        table.add_column(name)
    for name in ("part", "accuracy", "guessing"):
        table.add_column(name, justify="right")
    for gap in gaps:
        table.add_row(
            gap.name or f"{gap.domain} (no generator)", gap.best_expert, gap.state, f"{gap.share:.1%}",
            f"{gap.accuracy:.2f}", f"{gap.chance:.2f}",
        )  # fmt: skip
    return table
