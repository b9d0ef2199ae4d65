"""Which rows are there already, by their keys as text, and which are to go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from warehouse.schemas import KEYS


class KnownKeys:
    """Keys of the data files looked into so far."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._chunks: list[pa.Array] = []

    def add(self, file_name: str, keys: pa.ChunkedArray) -> None:
        """Take in the keys of one file."""
        self.files.add(file_name)
        self._chunks += keys.chunks

    def array(self) -> pa.Array:
        """Return all keys."""
        if len(self._chunks) != 1:
            self._chunks = [pa.chunked_array(self._chunks, pa.string()).combine_chunks()]
        return self._chunks[0]


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
