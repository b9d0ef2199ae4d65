"""``leeroo forge test``: a specialist against its base."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, CatalogueOption, HomeOption, JsonOption
from warehouse.home import Home


def register(group: typer.Typer) -> None:
    """Add the command to ``leeroo forge``."""
    group.command("test")(compare)


def compare(
    gap: Annotated[str, typer.Argument(help="Domain or generator that a specialist was made for.")],
    held_out: Annotated[int, typer.Option(min=20, help="Held-out questions of the gap.")] = 120,
    elsewhere: Annotated[int, typer.Option(min=20, help="Questions of other domains.")] = 140,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch decides.")] = 0,
    catalogue: CatalogueOption = None,
    as_json: JsonOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Compare a gap's specialist with its base, there and elsewhere, on questions that neither learned from.

    Exit code 1 if it does not close the gap, or forgets.
    """
    import sys

    from experts import load_catalogue
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.query_output import write_records
    from pipelines.forge.closing.trial import try_made, why_refused
    from pipelines.forge.gap import find_target

    verdict = try_made(
        Home.open(home), find_target(gap), load_catalogue(catalogue), held_out=held_out, elsewhere=elsewhere,
        threads=threads,
    )  # fmt: skip
    contests = (verdict.gap, *verdict.levels, verdict.elsewhere)
    if as_json:
        write_records([contest.record for contest in contests], sys.stdout, as_csv=False)
    for found in () if as_json else contests:
        print_line(f"{found.name} ({found.questions} questions, chance {found.chance:.2f})")
        print_line(f"  base {found.base}, specialist {found.specialist}, difference {found.difference}")
    if refused := why_refused(verdict):
        if not as_json:
            print_line(f"not good enough: {refused}")
        raise typer.Exit(1)
