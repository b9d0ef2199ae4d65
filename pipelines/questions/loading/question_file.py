"""Load questions from a JSON Lines or Parquet file: all of it, or an error and nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.questions.draft import Row, questions_table
from pipelines.questions.loading.columns import report_unread, unread_columns
from pipelines.questions.loading.fields import read_question
from warehouse import InputError

SUFFIXES = (".jsonl", ".ndjson", ".parquet")


def load_file(
    path: str | Path, *, source: str | None = None, domain: str | None = None, round: str = "r000"
) -> pa.Table:
    """Return the questions of a file as a QUESTIONS table, in its order; exact duplicates are kept once.

    The columns are those of :func:`pipelines.questions.loading.fields.read_question`; others are named in the
    log.

    Args:
        path: a ``.jsonl`` file (one JSON object a line; blank lines are skipped) or a ``.parquet`` file.
        source: the name of the source; the file's stem unless given.
        domain: the domain of questions that name none.
        round: the round that the questions belong to.

    Raises:
        InputError: no such file, an unknown suffix, an unreadable or empty file, or a wrong question; it
            names the file, the line or row and the field.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", where=str(path), fix="check the path")
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"cannot read {path.suffix or 'a file without suffix'}",
            where=str(path),
            fix="use " + ", ".join(SUFFIXES),
        )
    records = parquet_records(path) if path.suffix == ".parquet" else _json_records(path)
    rows: list[Row] = []
    unread: dict[str, None] = {}
    for place, record in records:
        where = f"{path}, {place}"
        rows.append(
            read_question(record, where=where, source=source or path.stem, domain=domain, round=round)
        )
        unread.update(dict.fromkeys(unread_columns(record)))
    if not rows:
        raise InputError("no question in it", where=str(path), fix="put one question a line or row")
    report_unread(path, unread)
    return questions_table(rows)


def _json_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text (byte {error.start})", where=str(path), fix="save it as UTF-8"
        ) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"malformed JSON at column {error.colno} ({error.msg})",
                where=f"{path}, line {number}",
                fix="write one JSON object a line",
            ) from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand brackets
            raise InputError(
                f"JSON that cannot be read ({str(error).split(';')[0]})",
                where=f"{path}, line {number}",
                fix="write one plain JSON object a line",
            ) from None
        if not isinstance(record, dict):
            raise InputError(
                f"{type(record).__name__} instead of an object",
                where=f"{path}, line {number}",
                fix="write one JSON object a line",
            )
        yield f"line {number}", record


def parquet_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row of a Parquet file with its place ("row 0", ...).

    Raises:
        InputError: the file is not Parquet, or damaged.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"not a readable Parquet file ({str(error).splitlines()[0][:120]})",
            where=str(path),
            fix="write it again, or give it the right suffix",
        ) from None
    for number, record in enumerate(table.to_pylist()):
        yield f"row {number}", record
