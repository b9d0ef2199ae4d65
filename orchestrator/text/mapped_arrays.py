"""Arrays of a safetensors file as they lie in it: processes that map the same file share its pages."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_LENGTH_BYTES = 8  # of the header's length, at the beginning of the file


def map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file by name; they cannot be written to.

    The file may be removed or replaced meanwhile, but not be written into.

    Raises:
        ValueError: it is none.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    begins = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES:begins])
    header.pop("__metadata__", None)
    return {name: _map_one(content, begins, entry) for name, entry in header.items()}


def _map_one(content: mmap.mmap, begins: int, entry: dict[str, Any]) -> NDArray[Any]:
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"]
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.empty(shape, dtype)
    array: NDArray[Any] = np.frombuffer(content, dtype, count, begins + entry["data_offsets"][0])
    return array.reshape(shape)
