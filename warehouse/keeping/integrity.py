"""Is everything there that was written? Each data file against its manifest entry, and files without one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import InputError
from warehouse.keys import digest_keys
from warehouse.manifest import NEWER, ManifestEntry
from warehouse.schemas import SCHEMA_VERSION, TABLES
from warehouse.store import Warehouse


@dataclass(frozen=True)
class Finding:
    """One file that is not as it should be.

    ``kind`` is one of: ``damaged`` (bytes or rows differ from what was written), ``lost`` (an entry whose
    file is gone), ``uncounted`` (a file that no entry names), ``entry`` (an entry that cannot be read),
    ``newer`` (a newer version wrote it), ``keys`` (digests that are not those of the file's keys).
    """

    table: str
    path: str
    kind: str
    detail: str


@dataclass(frozen=True)
class Inspection:
    """What a check of one table saw."""

    table: str
    files: int
    rows: int
    unchecked: int  # files written before checksums were kept: readable, their bytes not compared
    findings: tuple[Finding, ...]


def inspect_tables(warehouse: Warehouse) -> Iterator[Inspection]:
    """Read every file of every table once and compare it with what its manifest entry says."""
    for table in TABLES:
        yield _inspect(warehouse, table)


def mend(warehouse: Warehouse, finding: Finding) -> str:
    """Put one finding right; return what was done, or what keeps it from being done.

    An uncounted file that can be read is taken in: rows whose key is there already stay single. A damaged or
    lost file stops counting (its entry is set aside), so that its questions are open again. What stands
    in place of a file, a folder too, is moved aside as it is.
    """
    try:
        return _mend(warehouse, finding)
    except OSError as error:  # of this one alone: the others can be put right
        return f"left as it is: {str(error).splitlines()[0]}"


def _mend(warehouse: Warehouse, finding: Finding) -> str:
    files = warehouse.file_store
    if finding.kind == "uncounted":
        parts = dict(part.partition("=")[::2] for part in PurePosixPath(finding.path).parts if "=" in part)
        try:
            rows = pq.read_table(pa.BufferReader(files.read(finding.path)), page_checksum_verification=True)
        except (pa.ArrowInvalid, OSError) as error:
            files.delete(finding.path)
            return f"removed: it cannot be read ({str(error).splitlines()[0]})"
        expert = unquote(parts["expert"]) if "expert" in parts else None
        added = warehouse.append(finding.table, rows, round=unquote(parts["round"]), expert=expert)
        if finding.path not in {entry.path for entry in warehouse.files(finding.table)}:
            files.delete(finding.path)
        return f"taken in: {added:,} of {rows.num_rows:,} rows were missing"
    if finding.kind == "newer":
        return "left as it is: use the version that wrote it"
    if finding.kind == "keys":
        files.delete(finding.path)
        return "removed: they are made anew when they are needed"
    name = PurePosixPath(finding.path).stem
    aside = f"{finding.table}/_set_aside/{name}"
    if finding.kind == "entry":
        files.write(f"{aside}.json", files.read(finding.path))
        files.delete(finding.path)
        return "set aside; `leeroo warehouse check --mend` once more takes its rows in again"
    entry = warehouse.set_aside(finding.table, finding.path)
    if entry is not None:
        files.write(f"{aside}.json", json.dumps(asdict(entry)).encode())
    if finding.kind == "damaged":
        files.move(finding.path, f"{aside}.bin")
    return "set aside: its rows no longer count"


def _inspect(warehouse: Warehouse, table: str) -> Inspection:
    try:
        entries = warehouse.files(table)
    except InputError as error:  # an entry that cannot be read: nothing else can be told of the table
        kind = "newer" if error.what.startswith(NEWER) else "entry"
        return Inspection(
            table, 0, 0, 0, (Finding(table, _below(warehouse, error.where or table), kind, error.what),)
        )
    compared = (_compare(warehouse, table, entry) for entry in entries)
    findings = [found for found in compared if found is not None]
    findings += [
        Finding(table, path, "uncounted", "no manifest entry names this file: its rows do not count")
        for path in warehouse.uncounted_now(table)
    ]
    unchecked = sum(entry.sha256 is None for entry in entries)
    return Inspection(table, len(entries), sum(entry.rows for entry in entries), unchecked, tuple(findings))


def _below(warehouse: Warehouse, path: str) -> str:
    return path.removeprefix(f"{warehouse.file_store.root}/")


def _compare(warehouse: Warehouse, table: str, entry: ManifestEntry) -> Finding | None:
    try:
        content = warehouse.file_store.read(entry.path)
    except FileNotFoundError:
        return Finding(table, entry.path, "lost", f"the file with {entry.rows:,} rows is gone")
    except OSError as error:
        return Finding(table, entry.path, "damaged", str(error).splitlines()[0])
    if entry.sha256 is not None and hashlib.sha256(content).hexdigest() != entry.sha256:
        return Finding(table, entry.path, "damaged", "its bytes are not those that were written")
    try:
        written = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        return Finding(table, entry.path, "damaged", str(error).splitlines()[0])
    if written.num_rows != entry.rows:
        return Finding(table, entry.path, "damaged", f"it has {written.num_rows:,} rows, not {entry.rows:,}")
    if entry.schema > SCHEMA_VERSION:
        return Finding(table, entry.path, "newer", f"a newer version wrote it (schema {entry.schema})")
    keys = warehouse.table(table).keys
    if not keys.are_right(entry, digest_keys(table, written)):
        return Finding(table, keys.path(entry.name), "keys", "they are not those of the file's rows")
    return None
