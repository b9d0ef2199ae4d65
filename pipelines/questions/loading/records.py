"""The records of a file: JSON Lines, JSON, CSV, TSV or Parquet, packed or not, in any Unicode."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.questions.loading.packed import parquet_records, read_text
from warehouse import InputError

Record = dict[str, Any]

_JSON, _TABLES, _PACKED = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv"), (".gz", ".zst", ".bz2")
#: What a file's name may end in, a packing after it aside.
SUFFIXES = (*_JSON, *_TABLES, ".parquet")
#: Keys under which a JSON object holds the questions.
_CONTAINERS = ("data", "questions", "examples", "rows", "items", "records", "instances", "test", "validation")
_PLAIN = json.JSONDecoder(strict=False)


def kind_of(path: Path) -> str:
    """Return a file's ending without its packing: ``.jsonl`` of ``q.jsonl.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def stem_of(path: Path) -> str:
    """Return a file's name without its ending and its packing: ``q`` of ``q.jsonl.gz``."""
    name = path.name
    for suffix in (*_PACKED, kind_of(path)):
        if suffix and name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


def read_records(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield each record of a file with its place ("line 3" of text, "row 2" of Parquet).

    Raises:
        InputError: the file is not what its name says, or damaged; it names the file and the line.
    """
    kind = kind_of(path)
    if kind not in SUFFIXES:
        raise InputError(
            f"cannot read {path.suffix or 'a file without suffix'}",
            where=str(path),
            fix=f"use {', '.join(SUFFIXES)}, packed as {', '.join(_PACKED)} or not",
        )
    if kind == ".parquet":
        yield from parquet_records(path)
        return
    text = read_text(path)
    yield from (_csv_records(text, path, kind) if kind in _TABLES else _json_records(text, path))


def _json_records(text: str, path: Path) -> Iterator[tuple[str, Record]]:
    start = text.lstrip()[:1]
    lines = text.split("\n") if "\n" in text else text.split("\r")
    filled = [line for line in lines if line.strip()]
    if start == "[" and (len(filled) == 1 or not _is_whole(filled[0])):
        yield from _array(text, path, text.index("[") + 1, closing="]")
        return
    if start == "{" and len(filled) > 1 and not _is_whole(filled[0]) and _looks_broken_over_lines(filled):
        yield from _documents(text, path)
        return
    found: list[tuple[str, Record]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.append((f"line {number}", _as_record(_load(line, path, number), path, number)))
    if len(found) == 1 and (inside := _contents(found[0][1])) is not None:
        yield from inside
        return
    yield from found


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _looks_broken_over_lines(lines: list[str]) -> bool:
    """Tell whether an object goes on over several lines, rather than that its first line is malformed."""
    return lines[1].lstrip()[:1] != "{" and lines[0].lstrip()[1:].strip()[:1] in ("", '"')


def _load(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
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


def _as_record(value: Any, path: Path, number: int) -> Record:
    if not isinstance(value, dict):
        raise InputError(
            f"{type(value).__name__} instead of an object",
            where=f"{path}, line {number}",
            fix="write one JSON object a line",
        )
    return value


def _array(text: str, path: Path, position: int, closing: str = "") -> Iterator[tuple[str, Record]]:
    """The objects of an array, or one after another, each with the line on which it begins."""
    line, counted = 1, 0
    blank = re.compile(r"[\s,]*")
    while True:
        skipped = blank.match(text, position)
        position = skipped.end() if skipped else position
        line, counted = line + text.count("\n", counted, position), position
        if (end := text[position : position + 1]) == closing:
            if rest := text[position + 1 :].strip():
                raise InputError(
                    f"something stands after the end of the array ({rest[:20]!r})",
                    where=f"{path}, line {line}",
                    fix="put all questions into one array, or one object a line",
                )
            return
        if not end:
            raise InputError(
                "the array is not closed: the file is cut off",
                where=f"{path}, line {line}",
                fix="get all of the file",
            )
        value, position = _decode_at(text, position, line, path)
        yield f"line {line}", _as_record(value, path, line)


def _documents(text: str, path: Path) -> Iterator[tuple[str, Record]]:
    """One object that goes on over lines and holds the questions, or one such object after another."""
    found = list(_array(text, path, 0))
    if len(found) == 1 and (inside := _contents(found[0][1])) is not None:
        yield from inside
        return
    yield from found


def _decode_at(text: str, position: int, line: int, path: Path) -> tuple[Any, int]:
    try:
        return _PLAIN.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise InputError(
            f"malformed JSON at column {error.colno} ({error.msg})",
            where=f"{path}, line {error.lineno}",
            fix="write an array of objects, or one object a line",
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"JSON that cannot be read ({str(error).split(';')[0]})", where=f"{path}, line {line}"
        ) from None


def _contents(outer: Record) -> list[tuple[str, Record]] | None:
    """The questions within one JSON object: a list under a known key, or a list per column."""
    for key in _CONTAINERS:
        inside = outer.get(key)
        if isinstance(inside, list) and inside and all(isinstance(item, dict) for item in inside):
            records = [item["row"] if isinstance(item.get("row"), dict) else item for item in inside]
            flat = [(f"{key}[{i}]", record) for i, record in enumerate(records)]
            return [part for place, record in flat for part in _paragraphs(place, record)]
    columns = list(outer.values())
    lists = len(columns) > 1 and all(isinstance(column, list) for column in columns)
    if lists and len({len(column) for column in columns}) == 1 and columns[0]:
        rows = zip(*columns, strict=True)
        return [(f"row {i}", dict(zip(outer, row, strict=True))) for i, row in enumerate(rows)]
    if len(columns) > 1 and all(isinstance(column, dict) for column in columns):
        keys = list(columns[0])
        if all(list(column) == keys for column in columns) and keys and all(key.isdigit() for key in keys):
            return [(f"row {key}", {name: column[key] for name, column in outer.items()}) for key in keys]
    return None


def _paragraphs(place: str, record: Record) -> Iterator[tuple[str, Record]]:
    """SQuAD's own files: paragraphs with a context, and questions under each."""
    if not isinstance(record.get("paragraphs"), list):
        yield place, record
        return
    for i, paragraph in enumerate(record["paragraphs"]):
        if isinstance(paragraph, Mapping):
            for j, question in enumerate(paragraph.get("qas") or ()):
                inner = {"context": paragraph.get("context"), **question}
                yield f"{place}.paragraphs[{i}].qas[{j}]", inner


def _csv_records(text: str, path: Path, kind: str) -> Iterator[tuple[str, Record]]:
    csv.field_size_limit(2**31 - 1)
    head = text.split("\n", 1)[0]
    delimiter = "\t" if kind == ".tsv" else max(",;\t|", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"malformed CSV ({error})", where=f"{path}, line {reader.line_num}", fix="quote every text"
        ) from None
    if not rows:
        return
    header = [name.strip() for name in rows[0][1]]
    if _has_no_header([row for _, row in rows]):
        header = ["question", *"ABCDEFGHIJ"[: len(header) - 2], "answer"]
    else:
        rows = rows[1:]
    for number, row in rows:
        if len(row) > len(header):
            raise InputError(
                f"{len(row)} values under {len(header)} columns",
                where=f"{path}, line {number}",
                fix=f"put texts that hold a {delimiter!r} into double quotes",
            )
        yield f"line {number}", _cells(header, row, f"{path}, line {number}")


def _cells(header: list[str], row: list[str], where: str) -> Record:
    cells: Record = {}
    for name, cell in zip(header, row, strict=False):
        if not cell.strip():
            continue
        if cells.setdefault(name, cell) != cell:
            raise InputError(
                f"two columns are called {name!r}, with {cells[name][:40]!r} and {cell[:40]!r}",
                where=f"{where}, field {name}",
                fix="give one of them another name",
            )
    return cells


def _has_no_header(rows: list[list[str]]) -> bool:
    """MMLU's own files have none: the question, its options, and the letter of the right one."""
    width = len(rows[0])
    if width < 4 or any(name.strip().casefold() in ("question", "prompt", "answer") for name in rows[0]):
        return False
    letters = "ABCDEFGHIJ"[: width - 2]
    return all(len(row) == width and row[-1].strip() in tuple(letters) for row in rows)
