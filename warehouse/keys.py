"""Which rows are there already, by digests of their keys, and which are to go.

To know whether a key is there costs a look into a few sorted arrays that lie on the disk, whatever the table
holds: each data file of some size has beside it the sorted digests of its keys, mapped into memory and never
read whole. They follow from the data files alone: what is missing is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from warehouse.files import FileStore
from warehouse.manifest import ManifestEntry
from warehouse.schemas import KEYS

Digests = NDArray[np.bytes_]  # [n] 16 bytes each: among 10^9 keys two are alike with a chance of 10^-21

_SIZE = 16
_KIND = np.dtype(f"S{_SIZE}")
#: Files with fewer rows have no digests beside them: their keys are as quickly read from themselves.
SMALL_ROWS = 8_192


class KeyIndex:
    """The keys of one table's data files; not safe for threads.

    Args:
        files: where the table lies.
        table_name: a name in ``warehouse.schemas.KEYS``.
        read_keys: reads the key columns of a data file, in parts.
    """

    def __init__(
        self, files: FileStore, table_name: str, read_keys: Callable[[ManifestEntry], Iterable[pa.Table]]
    ) -> None:
        self._files = files
        self._table = table_name
        self._read_keys = read_keys
        self._open: dict[str, Digests] = {}  # by name of the data file: one name never has two sets of keys

    def contains(self, entries: Sequence[ManifestEntry], digests: Digests) -> NDArray[np.bool_]:
        """Tell for each digest [n] whether one of these files has a row with that key."""
        found = np.zeros(len(digests), bool)
        for entry in entries:
            found |= self.of(entry, digests)
        return found

    def of(self, entry: ManifestEntry, digests: Digests) -> NDArray[np.bool_]:
        """Tell for each digest [n] whether this file has a row with that key."""
        there = self._open.get(entry.name)
        if there is None:
            there = self._open[entry.name] = self._find(entry)
        if not len(there):
            return np.zeros(len(digests), bool)
        place = np.searchsorted(there, digests)
        same: NDArray[np.bool_] = there[np.minimum(place, len(there) - 1)] == digests
        return same

    def add(self, entry: ManifestEntry, digests: Digests) -> None:
        """Keep the keys of a data file that has just been written."""
        there = np.sort(digests)
        self._open[entry.name] = self._keep(entry, there) if entry.rows >= SMALL_ROWS else there

    def are_right(self, entry: ManifestEntry, digests: Digests) -> bool:
        """Tell whether what lies beside a data file, if anything, are the digests [n] of its keys."""
        if entry.rows < SMALL_ROWS:
            return True
        try:
            return bool(np.array_equal(self._map(entry.name), np.sort(digests)))
        except FileNotFoundError:
            return True
        except (OSError, ValueError, EOFError):
            return False

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget files that no longer count."""
        self._open = {name: self._open[name] for name in names if name in self._open}

    def path(self, name: str) -> str:
        """Where the digests of a data file lie, which may have none."""
        return f"{self._table}/_keys/{name}.npy"

    def _find(self, entry: ManifestEntry) -> Digests:
        if entry.rows >= SMALL_ROWS:
            with contextlib.suppress(OSError, ValueError, EOFError):  # lost or torn: made anew
                there = self._map(entry.name)
                if there.dtype == _KIND and there.shape == (entry.rows,):
                    return there
        parts = [digest_keys(self._table, part) for part in self._read_keys(entry)]
        there = np.sort(np.concatenate([np.empty(0, _KIND), *parts]))
        return self._keep(entry, there) if entry.rows >= SMALL_ROWS else there

    def _keep(self, entry: ManifestEntry, there: Digests) -> Digests:
        content = io.BytesIO()
        np.save(content, there)
        try:
            self._files.write(self.path(entry.name), content.getvalue())
            return self._map(entry.name)
        except (OSError, ValueError, EOFError):  # read only, or full: it goes without
            return there

    def _map(self, name: str) -> Digests:
        """Map the digests of a file into memory; those of an object store by way of a file without a name."""
        if self._files.is_local:
            there: Digests = np.load(self._files.path(self.path(name)), mmap_mode="r")
            return there
        with tempfile.NamedTemporaryFile(suffix=".npy") as beside:
            beside.write(self._files.read(self.path(name)))
            beside.flush()
            mapped: Digests = np.load(beside.name, mmap_mode="r")
        return mapped


def digest_keys(table_name: str, rows: pa.Table) -> Digests:
    """Return the digest of each row's key [n]."""
    texts = join_keys(table_name, rows).to_pylist()
    whole = b"".join(hashlib.blake2b(text.encode(), digest_size=_SIZE).digest() for text in texts)
    return np.frombuffer(whole, _KIND)


def first_of_each(keys: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return the numbers (int64, rising) of the rows that hold a key for the first time.

    >>> first_of_each(pa.array(["b", "a", "b"])).to_pylist()
    [0, 1]
    """
    table = pa.table({"key": keys, "row": pa.array(range(len(keys)), pa.int64())})
    return table.group_by("key", use_threads=False).aggregate([("row", "min")])["row_min"].combine_chunks()


def join_keys(table_name: str, rows: pa.Table) -> pa.ChunkedArray:
    """Return each row's key as one text."""
    columns = [rows[name].cast(pa.string()) for name in KEYS[table_name]]
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, "\x1f")


def drop_repeats(table_name: str, rows: pa.Table) -> pa.Table:
    """Keep the first row of each key."""
    first = first_of_each(join_keys(table_name, rows))
    return rows if len(first) == rows.num_rows else rows.take(first)


def meant(
    rows: pa.Table, find: Callable[[pa.Table], pa.ChunkedArray], words: Sequence[str]
) -> pa.ChunkedArray:
    """Tell which rows are found (boolean): of those with ``words`` to lose, where these are given."""
    found = pc.fill_null(find(rows), False)
    if not words:
        return found
    said = pc.is_valid(rows[words[0]])
    for name in words[1:]:
        said = pc.or_(said, pc.is_valid(rows[name]))
    return pc.and_(found, said)


def without(rows: pa.Table, gone: pa.ChunkedArray, words: Sequence[str]) -> pa.Table:
    """Return the rows without those that are gone, or all of them, those without their words."""
    if not words:
        return rows.filter(pc.invert(gone))
    for name in words:
        place = rows.schema.get_field_index(name)
        field = rows.schema.field(place)
        rows = rows.set_column(place, field, pc.if_else(gone, pa.scalar(None, field.type), rows[name]))
    return rows
