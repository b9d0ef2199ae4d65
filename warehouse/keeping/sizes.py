"""What the tables hold, and what lies on the disk for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from warehouse.schemas import TABLES
from warehouse.store import Warehouse

_MB = 1e6


@dataclass(frozen=True)
class TableSize:
    """One table. ``replaced`` counts files that others took the place of and that readers may still hold."""

    table: str
    rows: int
    files: int
    data_mb: float  # 10^6 bytes, compressed, of the files that count
    keys_mb: float  # digests of the keys of larger files
    replaced: int
    commits: int  # files that a new reader lists


def measure_tables(warehouse: Warehouse) -> Iterator[TableSize]:
    """Measure every table by its manifest and a listing; no data file is opened."""
    for name in TABLES:
        table = warehouse.table(name)
        entries = warehouse.files(name)
        files = warehouse.file_store
        digests = sum(files.size(table.keys.path(entry.name)) for entry in entries)
        yield TableSize(
            table=name,
            rows=sum(entry.rows for entry in entries),
            files=len(entries),
            data_mb=round(sum(map(table.size_of, entries)) / _MB, 3),
            keys_mb=round(digests / _MB, 3),
            replaced=len(table.manifest.leftovers()),
            commits=sum(path.endswith(".json") for path in files.list(f"{name}/_manifest")),
        )
