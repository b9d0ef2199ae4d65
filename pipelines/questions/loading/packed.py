"""What lies in a file, packed or not: text in any Unicode, or the rows of Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import InputError

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
#: What begins so is no text, whatever it is called.
_OTHERS = {
    b"PAR1": ("a Parquet file", "call it .parquet"),
    b"PK\x03\x04": ("an archive, or a sheet of Excel", "unpack it, or save the sheet as CSV"),
    b"\xd0\xcf\x11\xe0": ("a sheet of Excel", "save it as CSV"),
    b"SQLite format 3": ("a database", "export the table as CSV"),
}


def unpack(path: Path) -> bytes:
    """Return the bytes of a file, unpacked where they are packed, whatever its name says."""
    data = path.read_bytes()
    for magic, codec in _MAGIC.items():
        if data.startswith(magic):
            try:
                with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
                    return bytes(stream.read())
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(
                    f"damaged {codec} ({str(error).splitlines()[0][:120]})",
                    where=str(path),
                    fix="pack it again",
                ) from None
    return data


def read_text(path: Path) -> str:
    """Return the text of a file, in UTF-8 or UTF-16.

    Raises:
        InputError: it is none, or damaged.
    """
    data = unpack(path)
    for magic, (what, fix) in _OTHERS.items():
        if data.startswith(magic):
            raise InputError(f"this is {what}, not text", where=str(path), fix=fix)
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif len(data) > 1 and 0 in data[:2] and data[:2] != b"\0\0":  # the first character is ASCII
        encoding = "utf-16-le" if data[1] == 0 else "utf-16-be"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not UTF-8 text (byte {error.start}, line {line})", where=str(path), fix="save it as UTF-8"
        ) from None


def parquet_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row of a Parquet file with its place ("row 0", ...).

    Bytes that are text come as text, decimal numbers as they are written.

    Raises:
        InputError: the file is not Parquet, or damaged.
    """
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        else:
            table = pq.read_table(pa.BufferReader(unpack(path)))
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"not a readable Parquet file ({str(error).splitlines()[0][:120]})",
            where=str(path),
            fix="write it again, or give it the right suffix",
        ) from None
    for number, record in enumerate(table.to_pylist()):
        yield f"row {number}", {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
