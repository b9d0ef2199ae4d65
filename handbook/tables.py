"""Reference of the warehouse's tables, from their schemas and the comments beside their columns."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

from handbook.table import code, table


def render_tables() -> str:
    """Return the page: each table with its key and its columns."""
    from warehouse.schemas import KEYS, SCHEMA_VERSION, TABLES

    heads, columns = read_comments()
    parts = [
        "# Tables\n",
        "The warehouse keeps Parquet files under `HOME/warehouse`; `leeroo sql` has a view of each table."
        f" Schema version {SCHEMA_VERSION}. Columns are only ever added; of older files those that lack are"
        " null. Beyond these tables there are the views `outcomes` (question, expert, score, cost),"
        " `said`, `labels` and `ratings` ([formats](../formats.md#what-is-kept-of-the-traffic)).\n",
    ]
    for name, schema in TABLES.items():
        parts += [f"\n## {name}\n", f"{heads.get(name, '')}\n"]
        parts.append(f"Key: {', '.join(code(column) for column in KEYS[name])}.\n")
        parts.append(table(("column", "type", "required", "what it is"), [
            (code(field.name), code(field.type), "" if field.nullable else "yes",
             columns.get((name, field.name), ""))
            for field in schema
        ]))  # fmt: skip
    return "\n".join(parts)


def read_comments() -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Return what the source says of each table, and beside each column (with the comments of this file)."""
    import warehouse.schemas

    source = Path(warehouse.schemas.__file__).read_text(encoding="utf-8")
    heads: dict[str, str] = {}
    columns: dict[tuple[str, str], str] = {}
    told: list[str] = []
    name = ""
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for number, line in enumerate(source.splitlines(), 1):
        comment = comments.get(number, "")
        if comment.startswith("#:"):
            told.append(comment.removeprefix("#:").strip())
        elif match := re.fullmatch(r'    "(\w+)",', line):
            name = match[1]
            heads[name], told = " ".join(told).replace("``", "`"), []
        elif match := re.match(r'        \("(\w+)",', line):
            columns[name, match[1]] = comment.removeprefix("#").strip()
        elif line and not line.startswith((" ", "#")) and "_schema(" not in line:
            told = []
    return heads, columns
