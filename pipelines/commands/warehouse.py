"""``leeroo sql`` and ``leeroo warehouse``, and how recorded folders and questions are imported."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption, JsonOption
from warehouse.home import Home

if TYPE_CHECKING:
    import pyarrow as pa

    from warehouse.filing import Filing


class Output(StrEnum):
    """How a query's result is printed."""

    table = "table"
    csv = "csv"
    json = "json"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("sql")(run_sql)
    keeping = typer.Typer(help="Check, repair and compact the tables.", no_args_is_help=True)
    keeping.callback()(lambda: None)
    keeping.command("check")(check_tables)
    keeping.command("compact")(compact_tables)
    keeping.command("stats")(show_sizes)
    app.add_typer(keeping, name="warehouse")


def run_sql(
    query: Annotated[
        str, typer.Argument(help="For example: select expert, avg(score) from outcomes group by 1")
    ],
    home: HomeOption = DEFAULT_HOME,
    output: Annotated[Output, typer.Option("--output", "-o", help="Output format.")] = Output.table,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The same as -o csv.")] = False,
    limit: Annotated[
        int, typer.Option(help="Maximum rows to print as a table; csv and json print all.")
    ] = 200,
) -> None:
    """Query questions, answers, judgements, traffic, feedback, decisions and outcomes with DuckDB."""
    import duckdb

    from pipelines.commands.terminal.query_output import print_rows, write_csv, write_json
    from warehouse import InputError

    warehouse = Home.open(home).warehouse()
    connection = warehouse.connect()
    try:
        result = connection.sql(query)
        rows = None if result is None else result.to_arrow_table()
    except duckdb.Error as error:
        if "_files' failed" in str(error):  # not the query: a table behind it
            raise InputError(
                f"a table cannot be read: {' '.join(str(error).split())}",
                where=warehouse.url,
                fix="`leeroo warehouse check` names the files that are damaged",
            ) from error
        raise InputError(
            str(error).strip(), where="sql", fix="see `leeroo sql 'describe answers'`"
        ) from error
    if rows is None:
        return
    if as_csv or output is Output.csv:
        write_csv(rows, sys.stdout)
    elif as_json or output is Output.json:
        write_json(rows, sys.stdout)
    else:
        print_rows(rows, limit=limit)


def check_tables(
    home: HomeOption = DEFAULT_HOME,
    mend: Annotated[
        bool,
        typer.Option(
            "--mend",
            help="Take in files that no entry names; set damaged and lost ones aside, to be asked anew.",
        ),
    ] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Compare every file of the tables with its checksum; exit code 1 if one differs."""
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.progress import working
    from pipelines.commands.terminal.query_output import write_records
    from warehouse.keeping.integrity import inspect_tables
    from warehouse.keeping.integrity import mend as put_right

    warehouse = Home.open(home).warehouse()
    found = 0
    told = (lambda text: None) if as_json or as_csv else print_line
    rows: list[dict[str, object]] = []
    with working("comparing files with their checksums") as tell:
        inspected = []
        for seen in inspect_tables(warehouse):
            inspected.append(seen)
            tell(f"{len(inspected)} tables are compared, the last one {seen.table}", None)
    for seen in inspected:
        counted = {"table": seen.table, "files": seen.files, "rows": seen.rows, "unchecked": seen.unchecked}
        rows.append(counted | {"kind": "as written" if not seen.findings else "counted"})
        unchecked = f", {seen.unchecked:,} of them older than checksums" if seen.unchecked else ""
        told(f"{seen.table}: {seen.files:,} files, {seen.rows:,} rows{unchecked}")
        for finding in seen.findings:
            found += 1
            told(f"  {finding.kind}: {finding.path}: {finding.detail}")
            mended = put_right(warehouse, finding) if mend else None
            if mended:
                told(f"    {mended}")
            rows.append(asdict(finding) | {"mended": mended})
    if as_json or as_csv:
        write_records(rows, sys.stdout, as_csv=as_csv)
    told("Everything is as it was written." if not found else f"{found} files are not as they should be.")
    if found:
        raise typer.Exit(1)


def compact_tables(home: HomeOption = DEFAULT_HOME) -> None:
    """Merge small files of the tables, and remove what was replaced an hour ago or earlier.

    Not needed for speed: writers merge by themselves where files pile up. It may run while others write.
    """
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.progress import working
    from warehouse.schemas import TABLES

    warehouse = Home.open(home).warehouse()
    merged: dict[str, int] = {}
    with working("merging small files") as tell:
        for table in TABLES:
            tell(table, len(merged) / len(TABLES))
            merged[table] = warehouse.compact(table)
    for table, count in merged.items():
        print_line(f"{table}: {count:,} files merged, {len(warehouse.files(table)):,} now")


def show_sizes(
    home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """Show what each table holds and what lies on the disk."""
    import pyarrow as pa

    from pipelines.commands.terminal.query_output import print_rows, write_records
    from warehouse.keeping.sizes import measure_tables

    rows = [asdict(size) for size in measure_tables(Home.open(home).warehouse())]
    if as_json or as_csv:
        write_records(rows, sys.stdout, as_csv=as_csv)
        return
    print_rows(pa.Table.from_pylist(rows))


def import_recorded(
    folders: Annotated[list[Path], typer.Argument(help="Folders with questions, answers and experts.csv.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Import recorded answers of models, as experts that can be evaluated but not called."""
    from experts.backends.recorded_folder import read_recorded_folder
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.progress import working
    from pipelines.selfplay.round_record import RoundFolder

    here = Home.open(home)
    warehouse = here.warehouse()
    # All folders are read before anything is written: a bad one leaves the warehouse as it was.
    notes: dict[Path, list[str]] = {folder: [] for folder in folders}
    with working(f"reading {len(folders)} folders"):
        read = [(folder, *read_recorded_folder(folder, notes=notes[folder])) for folder in folders]
    for folder, questions, answers, specs in read:
        for line in notes[folder]:
            print_line(f"{folder}: {line}")
        filing = warehouse.file_questions(
            questions, round="recorded", keep_rounds=RoundFolder(here.rounds).names()
        )
        rows = 0
        with working(f"writing {answers.num_rows:,} answers") as tell:
            for done, spec in enumerate(specs):
                tell(f"those of {spec.name}", done / len(specs))
                part = answers.filter(_equals(answers["expert"], spec.name))
                if part.num_rows:
                    rows += warehouse.append("answers", part, round="recorded", expert=spec.name)
        print_line(
            f"{folder}: {questions.num_rows:,} questions ({filing.added:,} new), {len(specs)} experts,"
            f" {answers.num_rows:,} answers ({rows:,} new)"
        )
        _tell_moved(str(folder), filing, questions)


def import_questions(
    path: Annotated[
        str,
        typer.Argument(help="JSONL, JSON, CSV or Parquet file, folder, or a data set such as cais/mmlu."),
    ],
    home: HomeOption = DEFAULT_HOME,
    round: Annotated[str, typer.Option(help="Round to store the questions under.")] = "imported",
    columns: Annotated[
        str, typer.Option(help="Mapping of columns: prompt=q,answer=target,choices=o1+o2+o3.")
    ] = "",
    answers_from: Annotated[
        int | None,
        typer.Option(help="Whether numeric answers count from 0 or 1; inferred from the file by default."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and report, but write nothing.")] = False,
) -> None:
    """Check a file of questions and add the new ones; reports what is left out and why.

    Questions that are stored already are filed under this source and round from now on.
    """
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.progress import working
    from pipelines.questions import load_questions
    from pipelines.questions.loading.question_file import Reading
    from pipelines.questions.loading.report import LoadReport
    from pipelines.selfplay.round_record import RoundFolder

    reading, report = Reading(_mapping(columns), answers_from), LoadReport()
    with working(f"reading {path}"):
        questions = load_questions(path, round=round, reading=reading, report=report)
    for line in report.lines:
        print_line(f"{report.place or path}: {line}")
    if dry_run:
        for row in questions.slice(0, 3).to_pylist():
            options = f" {row['choices']}" if row["choices"] else ""
            print_line(
                f"{row['kind']}: {' '.join(row['prompt'].split())[:200]}{options} -> {row['answer']!r}"
            )
        print_line(f"{path}: {questions.num_rows:,} questions could be added; nothing is written")
        return
    here = Home.open(home)
    with working(f"filing {questions.num_rows:,} questions"):
        filing = here.warehouse().file_questions(
            questions, round=round, keep_rounds=RoundFolder(here.rounds).names()
        )
    print_line(
        f"{path}: {questions.num_rows:,} questions, {filing.added:,} new"
        + (f", {filing.known:,} there already" if filing.known else "")
    )
    _tell_moved(path, filing, questions)


def _tell_moved(place: str, filing: Filing, questions: pa.Table) -> None:
    """Name the sources from under which stored questions were taken."""
    from pipelines.commands.terminal.console import print_line

    named = sorted(set(questions["source"].to_pylist()))
    now = repr(named[0]) if len(named) == 1 else "the sources that they have here"
    for source, count in filing.moved.items():
        if named != [source]:
            print_line(
                f"{place}: {count:,} of {filing.known:,} there already stood under the source {source!r};"
                f" they are now under {now}, and `--source {source}` still finds them"
            )


def _mapping(text: str) -> dict[str, str]:
    from warehouse import InputError

    mapping: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        field, equals, column = part.partition("=")
        if not equals or not column.strip():
            raise InputError(
                f"{part!r} maps no column", where="--columns", fix="write field=column, as in prompt=question"
            )
        mapping[field.strip()] = column.strip()
    return mapping


def _equals(column: object, value: str) -> object:
    import pyarrow.compute as pc

    return pc.equal(column, value)
