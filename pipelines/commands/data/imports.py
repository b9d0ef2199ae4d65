"""``leeroo import`` and ``leeroo export``: answers that people have already, in and out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import (
    DEFAULT_HOME,
    CatalogueOption,
    ExpertsLists,
    HomeOption,
    SourcesLists,
)
from pipelines.commands.warehouse import import_questions, import_recorded
from pipelines.importing.registry import IMPORTERS, ImportKind
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.importing.plan import Found, ImportPlan

_MOST_FAULTS = 20  # of those that are printed


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(help="Bring answers, scores and questions in that you have.", no_args_is_help=True)
    group.command("recorded")(import_recorded)
    group.command("questions")(import_questions)
    for kind in IMPORTERS:
        group.command(kind.name, help=kind.help)(_importing(kind))
    app.add_typer(group, name="import")
    app.command("export")(export)


def _importing(kind: ImportKind) -> Callable[..., None]:
    def run(
        paths: Annotated[list[Path], typer.Argument(help="Files, or folders where the kind has them.")],
        home: HomeOption = DEFAULT_HOME,
        catalogue: CatalogueOption = None,
        expert: Annotated[
            list[str] | None,
            typer.Option(help="NAME=OURS: what an expert of the files is called here; may be repeated."),
        ] = None,
        source: Annotated[str | None, typer.Option(help="What the questions are filed under.")] = None,
        metric: Annotated[
            str | None, typer.Option(help="The score to take, where a file has several.")
        ] = None,
        mapping: Annotated[
            Path | None, typer.Option(help="YAML file that says what a table's columns mean.")
        ] = None,
        requests: Annotated[
            Path | None, typer.Option(help="The batch's file of requests, which its outputs answer.")
        ] = None,
        questions: Annotated[
            Path | None, typer.Option(help="File of questions with right answers, to grade by.")
        ] = None,
        round: Annotated[str, typer.Option(help="Round to store the questions under.")] = "imported",
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Read and report, but write nothing.")
        ] = False,
    ) -> None:
        _run(
            kind,
            paths,
            home,
            catalogue,
            expert or [],
            {
                **{"source": source, "metric": metric, "mapping": mapping},
                **{"requests": requests, "questions": questions},
            },
            round,
            dry_run=dry_run,
        )

    return run


def _run(
    kind: ImportKind,
    paths: list[Path],
    home: Path,
    catalogue: Path | None,
    named: list[str],
    options: dict[str, object],
    round: str,
    *,
    dry_run: bool,
) -> None:
    from experts import load_catalogue
    from pipelines.commands.terminal.console import print_line
    from pipelines.importing.base import ImportOptions
    from pipelines.importing.plan import plan_import, write_import
    from pipelines.selfplay.round_record import RoundFolder

    here = Home.open(home)
    warehouse = here.warehouse()
    specs = {spec.name: spec for spec in load_catalogue(catalogue).experts}
    plan = plan_import(
        kind,
        paths,
        ImportOptions(**options),  # type: ignore[arg-type]
        warehouse,
        round=round,
        specs=specs,
        names=_names(named),
    )
    _show(plan)
    _refuse_faults(plan)
    new = sum(found.new for found in plan.found)
    total = sum(found.answers for found in plan.found)
    told = f"{plan.questions.num_rows:,} questions, {total:,} answers ({new:,} new)"
    if dry_run:
        print_line(f"{told}; nothing is written")
        return
    keep = RoundFolder(here.rounds).names()
    filing, written = write_import(plan, warehouse, round=round, keep_rounds=keep)
    print_line(
        f"{plan.questions.num_rows:,} questions ({filing.added:,} new), {total:,} answers ({written:,} new)"
    )


def short_names(experts: Iterable[str]) -> dict[str, str]:
    """Return what experts are called in tables: of a path the last part, where that is nobody else's.

    A hub's id has one slash, and is no path.
    """
    lasts = {
        name: name.rstrip("/").rpartition("/")[2] if name.rstrip("/").count("/") > 1 else name
        for name in experts
    }
    counts = Counter(lasts.values())
    return {name: last if counts[last] == 1 else name for name, last in lasts.items()}


def import_table(found: Sequence[Found]) -> Table:
    """Lay out what an import has, a row for an expert's answers to the questions of a source."""
    from rich.table import Table

    table = Table()
    for column in ("expert", "source", "answers", "scored", "mean score", "priced", "USD", "new"):
        table.add_column(column, justify="left" if column in ("expert", "source") else "right")
    shown = short_names({one.expert for one in found})
    for one in found:
        score = "-" if one.mean_score is None else f"{one.mean_score:.3f}"
        counts = [f"{n:,}" for n in (one.answers, one.scored)]
        priced = (f"{one.priced:,}", f"{one.cost_usd:.4g}", f"{one.new:,}")
        table.add_row(shown[one.expert], one.source, *counts, score, *priced)
    return table


def _show(plan: ImportPlan) -> None:
    from pipelines.commands.terminal.console import Terminal, print_line

    for line in plan.notes.told:
        print_line(line)
    for reason, (count, first) in plan.notes.passed_over.items():
        print_line(f"passed over {count:,} ({reason}), first: {first}")
    if not plan.found:
        return
    shown = short_names({found.expert for found in plan.found})
    for name, short in shown.items():
        if short != name:
            print_line(f"{short} is {name}")
    Terminal().print(import_table(plan.found))
    unpriced = sorted({shown[found.expert] for found in plan.found if found.priced < found.answers})
    if unpriced:
        print_line(
            f"no cost is known of some answers of {', '.join(unpriced)}, and a router learns costs: name the"
            " catalogue that has their prices with --catalogue, and who is who with --expert NAME=OURS"
        )
    unscored = sorted({shown[found.expert] for found in plan.found if found.scored < found.answers})
    if unscored:
        print_line(f"unscored answers of {', '.join(unscored)} can be judged: `leeroo judge EXPERT`")


def _refuse_faults(plan: ImportPlan) -> None:
    from pipelines.commands.terminal.console import print_line
    from warehouse import InputError

    faults = plan.notes.faults
    if not faults:
        return
    if len(faults) == 1:
        raise faults[0]
    for fault in faults[:_MOST_FAULTS]:
        print_line(str(fault))
    more = f"; the first {_MOST_FAULTS} are above" if len(faults) > _MOST_FAULTS else ""
    raise InputError(
        f"{len(faults):,} faults{more}, and nothing is imported", fix="mend them, or take the lines out"
    )


def _names(pairs: list[str]) -> dict[str, str]:
    from warehouse import InputError

    named = {}
    for pair in pairs:
        told, equals, ours = pair.rpartition("=")  # a model's arguments may have the sign in them
        if not equals or not told.strip() or not ours.strip():
            raise InputError(f"{pair!r} names nobody", where="--expert", fix="write NAME=OURS")
        named[told.strip()] = ours.strip()
    return named


def export(
    path: Annotated[Path, typer.Argument(help="The file to write: .parquet or .jsonl.")],
    home: HomeOption = DEFAULT_HOME,
    experts: ExpertsLists = None,
    source: SourcesLists = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write answers with their questions into one file, which `leeroo import table` reads back."""
    from pipelines.commands.terminal.console import print_line
    from pipelines.importing.exporting import check_target, read_export, write_export
    from warehouse import split_names

    check_target(path, force=force)
    rows = read_export(Home.open(home).warehouse(), experts=split_names(experts), sources=split_names(source))
    write_export(rows, path, force=force)
    print_line(f"{path}: {rows.num_rows:,} answers")
