"""Rows of which only the first of each key is kept."""

from __future__ import annotations

import pyarrow as pa


def first_of_each(keys: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return the numbers (int64, rising) of the rows that hold a key for the first time.

    >>> first_of_each(pa.array(["b", "a", "b"])).to_pylist()
    [0, 1]
    """
    table = pa.table({"key": keys, "row": pa.array(range(len(keys)), pa.int64())})
    return table.group_by("key", use_threads=False).aggregate([("row", "min")])["row_min"].combine_chunks()
