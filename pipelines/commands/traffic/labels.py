"""``leeroo traffic import``: labels that people gave elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home


def register(traffic: typer.Typer) -> None:
    """Add the command to its group."""
    traffic.command("import")(import_file)


def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSONL: request_id, and score (0 to 1), thumb (up, down), demonstration or comment."
        ),
    ],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Import labels as feedback; lines that cannot be used are reported and skipped."""
    from pipelines.commands.terminal.console import print_line
    from pipelines.traffic.labels_file import import_labels, name_refused

    found = import_labels(file, Home.open(home).warehouse())
    for line in name_refused(file, found.refused):
        print_line(line)
    print_line(
        f"{found.written:,} of {found.lines:,} labels are new, {found.known:,} were known,"
        f" {len(found.refused):,} left out"
    )
    if found.texts_dropped:
        print_line(
            f"{found.texts_dropped:,} comments and demonstrations were dropped: texts of these requests are"
            " not kept"
        )
