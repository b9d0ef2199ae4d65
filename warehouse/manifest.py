"""The manifest: which data files of a table count. An entry is written after its file, never before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from warehouse.files import FileStore


@dataclass(frozen=True)
class ManifestEntry:
    """One committed data file: its path below the root, rows, partition and schema version."""

    path: str
    rows: int
    round: str
    expert: str | None
    schema: int

    @property
    def name(self) -> str:
        """The file's name without its ending; the manifest entry has the same."""
        return PurePosixPath(self.path).stem


class Manifest:
    """The entries of one table, one small JSON file each, read incrementally."""

    def __init__(self, store: FileStore, table_name: str) -> None:
        self._store = store
        self._folder = f"{table_name}/_manifest"
        self._entries: dict[str, ManifestEntry] = {}
        self._replaced: set[str] = set()

    def entries(self) -> dict[str, ManifestEntry]:
        """Return the entries by name, as they are now."""
        names = {
            PurePosixPath(path).stem for path in self._store.list(self._folder) if path.endswith(".json")
        }
        for name in sorted(names - self._entries.keys() - self._replaced):
            try:
                body = json.loads(self._store.read(f"{self._folder}/{name}.json"))
            except FileNotFoundError:  # compacted away between the listing and the read
                continue
            self._replaced.update(body.pop("replaces", ()))
            self._entries[name] = ManifestEntry(**body)
        for name in self._entries.keys() & ((self._entries.keys() - names) | self._replaced):
            del self._entries[name]
        return dict(self._entries)

    def commit(self, entry: ManifestEntry, *, replaces: Sequence[str] = ()) -> None:
        """Make a data file count, and in the same step make those it replaces count no more."""
        body = asdict(entry) | ({"replaces": list(replaces)} if replaces else {})
        self._store.write(f"{self._folder}/{entry.name}.json", json.dumps(body).encode())
        for name in replaces:
            self._store.delete(f"{self._folder}/{name}.json")
