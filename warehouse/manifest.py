"""The manifest: which data files of a table count. An entry is written after its file, never before."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from warehouse.errors import InputError
from warehouse.files import FileStore


@dataclass(frozen=True)
class ManifestEntry:
    """One committed data file: its path below the root, rows, partition and schema version.

    ``sha256`` is that of the file's bytes, ``footer`` that of its end, which says where each column is and
    has no checksum in the file itself; both are None in entries written before they were kept.
    """

    path: str
    rows: int
    round: str
    expert: str | None
    schema: int
    sha256: str | None = None
    footer: str | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending; the manifest entry has the same."""
        return PurePosixPath(self.path).stem

    def seal(self, content: bytes) -> ManifestEntry:
        """Return the entry with the checksums of its file's bytes."""
        return replace(self, sha256=sha256(content), footer=sha256(content[-footer_size(content) :]))


def sha256(content: bytes) -> str:
    """Hash bytes, as hex digits."""
    return hashlib.sha256(content).hexdigest()


def footer_size(end: bytes) -> int:
    """Bytes of the end of a Parquet file, as its last 8 tell: what describes its columns, and these 8."""
    return int.from_bytes(end[-8:-4], "little") + 8


class Manifest:
    """The entries of one table, one small JSON file each, read incrementally."""

    def __init__(self, store: FileStore, table_name: str) -> None:
        self._store = store
        self._folder = f"{table_name}/_manifest"
        self._entries: dict[str, ManifestEntry] = {}
        self._replaced: set[str] = set()
        self.newest_s = 0.0  # when the youngest entry was written, as the file system tells

    def entries(self) -> dict[str, ManifestEntry]:
        """Return the entries by name, as they are now."""
        listed = self._store.list(self._folder)
        # Names with a dot in front are of the system that copied the folder ("._x.json" of a Mac).
        files = [PurePosixPath(path) for path in listed]
        names = {path.stem for path in files if path.suffix == ".json" and not path.name.startswith(".")}
        self.newest_s = max(listed.values(), default=0.0)
        for name in sorted(names - self._entries.keys() - self._replaced):
            try:
                content = self._store.read(f"{self._folder}/{name}.json")
            except FileNotFoundError:  # replaced between the listing and the read: look again for by what
                return self.entries()
            entry, replaced = self._parse(name, content)
            self._replaced.update(replaced)
            self._entries[name] = entry
        for name in self._entries.keys() & ((self._entries.keys() - names) | self._replaced):
            del self._entries[name]
        return dict(self._entries)

    def replaced(self) -> set[str]:
        """Names of files that others have taken the place of, as of the last look at the entries."""
        return set(self._replaced)

    def uncounted(self, *, writing_s: float) -> list[str]:
        """List the data files that no entry names, though none has taken their place.

        Args:
            writing_s: files younger than this are just being written, and left out.
        """
        named = {entry.path for entry in self.entries().values()}
        oldest = time.time() - writing_s if writing_s else math.inf
        return sorted(
            path
            for path, changed in self._data_files().items()
            if path not in named and PurePosixPath(path).stem not in self._replaced and changed < oldest
        )

    def leftovers(self) -> list[str]:
        """List the data files that others have taken the place of, and what broken writes left."""
        named = {entry.path for entry in self.entries().values()}
        return [
            path
            for path in self._data_files((".parquet", ".tmp"))
            if path not in named and (path.endswith(".tmp") or PurePosixPath(path).stem in self._replaced)
        ]

    def remove_replaced(self, *, older_s: float, writing_s: float) -> None:
        """Remove the data files that others have taken the place of, and what broken writes left."""
        kept = {entry.path for entry in self.entries().values()} | set(self.uncounted(writing_s=writing_s))
        oldest = time.time() - older_s
        for path, changed in self._data_files((".parquet", ".tmp")).items():
            if path not in kept and changed < oldest:
                self._store.delete(path)

    def _data_files(self, endings: tuple[str, ...] = (".parquet",)) -> dict[str, float]:
        table = self._folder.partition("/")[0]
        every = self._store.list(table, recursive=True)
        return {path: changed for path, changed in every.items() if path.endswith(endings)}

    def _parse(self, name: str, content: bytes) -> tuple[ManifestEntry, list[str]]:
        where = self._store.path(f"{self._folder}/{name}.json")
        try:
            body = json.loads(content)
            replaced = list(body.pop("replaces", ()))
            unknown = body.keys() - ManifestEntry.__dataclass_fields__.keys()
            if unknown:
                raise InputError(
                    f"a newer version wrote this entry ({', '.join(sorted(unknown))} is unknown here)",
                    where=where,
                    fix="use the version that wrote it, or a newer one",
                )
            entry = ManifestEntry(**body)
            if wrong := self._wrong_fields(entry):
                raise TypeError(f"{' and '.join(wrong)} cannot be right")
            return entry, replaced
        except InputError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise InputError(
                f"the manifest entry is damaged ({error})",
                where=where,
                fix="delete this file, then `leeroo warehouse check --mend` takes its data file in again",
            ) from error

    def _wrong_fields(self, entry: ManifestEntry) -> list[str]:
        table = self._folder.partition("/")[0]
        right = {
            "path": isinstance(entry.path, str)
            and entry.path.startswith(f"{table}/")
            and ".." not in PurePosixPath(entry.path).parts,
            "rows": type(entry.rows) is int and entry.rows >= 0,
            "round": isinstance(entry.round, str),
            "expert": entry.expert is None or isinstance(entry.expert, str),
            "schema": type(entry.schema) is int,
            "sha256": entry.sha256 is None or isinstance(entry.sha256, str),
            "footer": entry.footer is None or isinstance(entry.footer, str),
        }
        return [name for name, is_right in right.items() if not is_right]

    def commit(self, entry: ManifestEntry, *, replaces: Sequence[str] = ()) -> None:
        """Make a data file count, and in the same step make those it replaces count no more."""
        body = asdict(entry) | ({"replaces": list(replaces)} if replaces else {})
        self._store.write(f"{self._folder}/{entry.name}.json", json.dumps(body).encode())
        for name in replaces:
            self._store.delete(f"{self._folder}/{name}.json")
