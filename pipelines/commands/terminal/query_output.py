"""The rows of a query on the terminal: as a table, or as CSV or JSON that lose nothing."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
from rich.table import Table
from rich.text import Text

from pipelines.commands.terminal.console import Terminal, print_line


def print_rows(rows: pa.Table, limit: int = 200) -> None:
    """Print a query's result as a table; says how many rows were left out."""
    Terminal().print(query_table(rows.slice(0, limit)))
    if rows.num_rows > limit:
        print_line(f"{rows.num_rows - limit:,} more rows; use --limit or -o csv")


def query_table(rows: pa.Table) -> Table:
    """Lay a query's result out."""
    table = Table()
    for field in rows.schema:
        right = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        right = right or pa.types.is_decimal(field.type)
        table.add_column(field.name, justify="right" if right else "left", overflow="fold")
    for row in zip(*_columns(rows), strict=True):
        table.add_row(*map(_cell, row))
    return table


def write_records(records: Sequence[Mapping[str, Any]], stream: TextIO, *, as_csv: bool) -> None:
    """Write what a table is made of, as JSON or CSV, for programs: one line each, no number rounded."""
    if records:
        names = dict.fromkeys(name for record in records for name in record)  # of the first alone, else
        rows = pa.table({name: [record.get(name) for record in records] for name in names})
        (write_csv if as_csv else write_json)(rows, stream)


def write_csv(rows: pa.Table, stream: TextIO) -> None:
    """Write the rows as CSV: null is empty, numbers keep all their digits, lists and structs are JSON."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in zip(*_columns(rows), strict=True):
        writer.writerow(json.dumps(_plain(v)) if isinstance(v, list | dict) else v for v in row)


def write_json(rows: pa.Table, stream: TextIO) -> None:
    """Write one JSON object a line; of columns of one name the second is called ``name_2``.

    What JSON has no word for, NaN and infinities, is null; times are in ISO 8601.
    """
    names = _distinct(rows.column_names)
    for row in zip(*_columns(rows), strict=True):
        found = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        stream.write(json.dumps(found, ensure_ascii=False, default=str) + "\n")


def _columns(rows: pa.Table) -> list[list[Any]]:
    return [[_number(value) for value in _values(column)] for column in rows.columns]


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_float32(column.type):
        return list(column.to_pylist())
    # As short as the number is in 32 bits: 0.3, where its 64 bits are 0.30000001192092896.
    return [None if value is None else float(str(np.float32(value))) for value in column.to_pylist()]


def _number(value: Any) -> Any:
    """Sums of whole numbers come as decimals; a number is what they are."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(member) for member in value]
    if isinstance(value, dict):
        return {str(key): _plain(member) for key, member in value.items()}
    return _number(value)


def _distinct(names: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def _cell(value: Any) -> str | Text:
    if value is None:
        return Text("null", style="dim")
    return f"{value:.6g}" if isinstance(value, float) else str(value)
