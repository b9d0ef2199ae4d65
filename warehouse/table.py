"""The data files of one table: how they are read, written, made to count and removed."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import CannotRunError, InputError
from warehouse.files import FileStore
from warehouse.keys import Digests, KeyIndex
from warehouse.manifest import Manifest, ManifestEntry, footer_size, sha256
from warehouse.schemas import KEYS, SCHEMA_VERSION, readable, table_schema

if TYPE_CHECKING:
    import pyarrow.dataset as pads

#: Clocks of two machines, or of a machine and its object store, may differ by this much.
CLOCK_TOLERANCE_S = 600.0
#: Rows that are read at a time where a file is looked through in parts.
PART_ROWS = 65_536

#: So many files of one magnitude in one partition become one by themselves: of 16, of 256, ... batches.
PILE_FILES = 16
#: Merged files stay below this, which bounds the memory of a merge; larger files are left as they are.
MERGED_BYTES = 64 << 20

Partition = tuple[str, str | None]  # round, expert


class TableFiles:
    """One table below the root of a store; not safe for threads.

    A name never stands for two contents that could both be read: files of new rows are named by their keys,
    files that replace others by their content, and where no lock keeps writers apart by chance as well.
    """

    def __init__(self, store: FileStore, table_name: str) -> None:
        self.name = table_name
        self.manifest = Manifest(store, table_name)
        self.keys = KeyIndex(store, table_name, self._read_keys)
        self._store = store
        self._sound: set[str] = set()  # names of files whose end was looked at

    def entries(self) -> list[ManifestEntry]:
        """List the files that count."""
        return list(self.manifest.entries().values())

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes of this machine from writing; nothing on an object store."""
        return self._store.lock(self.name)

    def check_clock(self) -> None:
        """Of two versions of an expert, the one that answered last counts: time must not run back."""
        ahead_s = self.manifest.newest_s - time.time()
        if ahead_s > CLOCK_TOLERANCE_S:
            raise CannotRunError(
                f"this machine's clock is {ahead_s / 60:.0f} minutes behind the last rows of {self.name}",
                where=self._store.url,
                fix="set the clock: rows written now would count as older than those that are there",
            )

    def dataset(self, entries: Sequence[ManifestEntry]) -> pads.Dataset:
        """Return files as a pyarrow dataset (lazy; filters and column choices are pushed down)."""
        import pyarrow.dataset as pads  # here, because it loads pandas, which `leeroo --help` can do without

        # An older file may lack any column, so the reading side allows nulls everywhere.
        schema = readable(table_schema(self.name))
        if not entries:
            return pads.dataset(schema.empty_table())
        self._check_footers(entries)
        paths = [self._store.path(entry.path) for entry in entries]
        # Bytes that flipped on the disk are an error, not an answer. Files from before have no checksums.
        checked = pads.ParquetFileFormat(
            default_fragment_scan_options=pads.ParquetFragmentScanOptions(page_checksum_verification=True)
        )
        return pads.dataset(paths, schema=schema, format=checked, filesystem=self._store.filesystem)

    def read(self, entries: Sequence[ManifestEntry], columns: Sequence[str] | None = None) -> pa.Table:
        """Read files, or some of their columns.

        Raises:
            InputError: one is not as it was written.
        """
        try:
            table = self.dataset(entries).to_table(columns=list(columns) if columns else None)
            # The head of a page, which says how many rows it has, is in no checksum of the file's own.
            if table.num_rows != (written := sum(entry.rows for entry in entries)):
                raise OSError(f"it has {table.num_rows:,} rows, of {written:,} that were written")
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        return table

    def read_if_there(
        self, entries: Sequence[ManifestEntry], columns: Sequence[str] | None = None
    ) -> pa.Table | None:
        """Read files that others may replace meanwhile: None where one of them does not count any more.

        Raises:
            InputError: one that counts is not as it was written.
        """
        try:
            return self.read(entries, columns)
        except InputError:
            if {entry.name for entry in entries} <= self.manifest.entries().keys():
                raise
            return None

    def read_loose(self, path: str) -> pa.Table | None:
        """Read a data file that no entry names; None where that cannot be."""
        try:
            return self.dataset([ManifestEntry(path, 0, "", None, SCHEMA_VERSION)]).to_table()
        except (pa.ArrowException, OSError):
            return None

    def write(
        self, rows: pa.Table, *, round: str, expert: str | None, parts: Sequence[str], is_new: bool
    ) -> ManifestEntry:
        """Write a data file, which does not count yet, into its partition.

        Args:
            rows: columns of the table's schema.
            round: the partition.
            expert: the second partition.
            parts: texts that its name is made of, in any order: keys of new rows, names of files replaced.
            is_new: whether these are new rows; else they replace files, whose name must not come again.
        """
        content = to_parquet(rows)
        names = list(parts)
        if not is_new:
            names.append(sha256(content))
        if not self._store.is_local:
            names.append(uuid.uuid4().hex)
        while (entry := self._entry_of(rows.num_rows, round, expert, names)).name in self.manifest.replaced():
            names.append("again")  # such rows were taken out, and what was replaced still lies there
        entry = entry.seal(content)
        self._store.write(entry.path, content)
        return entry

    def commit(self, entry: ManifestEntry, digests: Digests) -> bool:
        """Make a file of new rows count; False, and no file, where another writer has come first."""
        if not self.manifest.commit([entry]) and entry.name not in self.manifest.entries():
            self.delete(entry.path)
            return False
        self.keys.add(entry, digests)
        return True

    def replace(self, names: Sequence[str], entry: ManifestEntry | None) -> bool:
        """Let a file take the place of others, in one commit; None: let them count no more.

        Returns:
            False, and no file, where one of the others does not count any more: somebody replaced it.
        """
        files = [entry] if entry else []
        while not self.manifest.commit(files, replaces=names):
            live = self.manifest.entries()
            if entry is not None and entry.name in live:
                break  # the store told us late
            if not set(names) <= live.keys():
                if entry is not None:
                    self.delete(entry.path)
                return False
        return True

    def delete(self, path: str) -> None:
        """Remove a data file and the digests of its keys from the disk."""
        self._store.delete(self.keys.path(PurePosixPath(path).stem))
        self._store.delete(path)

    def overwrite(self, path: str, rows: pa.Table) -> None:
        """Write a data file that does not count anew."""
        self._store.write(path, to_parquet(rows))

    def size_of(self, entry: ManifestEntry) -> int:
        """Return a file's bytes."""
        return self._store.size(entry.path) if entry.size_bytes is None else entry.size_bytes

    def remove_leftovers(self, older_s: float) -> None:
        """Remove files that others took the place of so long ago, and what broken writes left."""
        oldest = time.time() - older_s
        for path, since in self.manifest.leftovers().items():
            if since < oldest:
                self.delete(path)
        self.keys.keep_only(entry.name for entry in self.entries())

    def _entry_of(self, rows: int, round: str, expert: str | None, parts: Sequence[str]) -> ManifestEntry:
        """The entry of a file in its partition, named by the hash of these texts."""
        folder = f"{self.name}/round={quote(round, safe='')}"
        if expert is not None:
            folder += f"/expert={quote(expert, safe='')}"
        name = hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:24]
        return ManifestEntry(f"{folder}/{name}.parquet", rows, round, expert, SCHEMA_VERSION)

    def _read_keys(self, entry: ManifestEntry) -> Iterator[pa.Table]:
        columns, rows = list(KEYS[self.name]), 0
        try:
            for batch in self.dataset([entry]).to_batches(columns=columns, batch_size=PART_ROWS):
                rows += batch.num_rows
                yield pa.Table.from_batches([batch])
            if rows != entry.rows:
                raise OSError(f"it has {rows:,} rows, of {entry.rows:,} that were written")
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _check_footers(self, entries: Sequence[ManifestEntry]) -> None:
        """See once that the ends of files on this disk are as they were written; pages check themselves."""
        for entry in entries:
            if entry.footer is None or entry.name in self._sound or not self._store.is_local:
                continue
            try:
                size = footer_size(self._store.read_end(entry.path, 8))
                if sha256(self._store.read_end(entry.path, size)) != entry.footer:
                    raise OSError(f"{entry.path} is not as it was written")
            except OSError as error:
                raise self._unreadable(error) from error
            self._sound.add(entry.name)

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(
            f"the {self.name} table cannot be read: {str(error).splitlines()[0]}",
            where=self._store.url,
            fix="`leeroo warehouse check` names the files; restore them from a copy, or set them aside with "
            "--mend and answer again",
        )


def to_parquet(rows: pa.Table) -> bytes:
    """Return a data file's bytes, with checksums of its pages."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def partitions_of(entries: Sequence[ManifestEntry]) -> dict[Partition, list[ManifestEntry]]:
    """Group files by the partition that they lie in."""
    partitions: dict[Partition, list[ManifestEntry]] = defaultdict(list)
    for entry in entries:
        partitions[entry.round, entry.expert].append(entry)
    return dict(partitions)


def find_pile(group: Sequence[ManifestEntry]) -> list[ManifestEntry]:
    """Those of a partition's files that have piled up: of one magnitude in rows, the smallest first."""
    magnitudes: dict[int, list[ManifestEntry]] = defaultdict(list)
    for entry in group:
        if entry.size_bytes is not None and entry.size_bytes < MERGED_BYTES // PILE_FILES:
            magnitudes[int(math.log(max(entry.rows, 1), PILE_FILES))].append(entry)
    piles = (magnitudes[magnitude] for magnitude in sorted(magnitudes))
    return next((pile for pile in piles if len(pile) >= PILE_FILES), [])


def fill_files(
    group: Sequence[ManifestEntry], size_of: Callable[[ManifestEntry], int]
) -> Iterator[list[ManifestEntry]]:
    """Yield those of a partition's files that fit together into one, the smallest first."""
    some: list[ManifestEntry] = []
    total = 0
    sizes = {entry.name: size_of(entry) for entry in group} if len(group) > 1 else {}
    for entry in sorted(group, key=lambda entry: (sizes.get(entry.name, 0), entry.name)):
        size = sizes.get(entry.name, 0)
        if total + size > MERGED_BYTES:
            if len(some) > 1:
                yield some
            some, total = [], 0
        some.append(entry)
        total += size
    if len(some) > 1:
        yield some
