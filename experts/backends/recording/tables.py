"""Reading and checking the columns of recorded tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import InputError

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: Path, required: Sequence[str]) -> pd.DataFrame:
    """Return a Parquet file with its ``question_id`` as text.

    Raises InputError: it is not Parquet, has no rows, or a required column is missing or has gaps.
    """
    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), fix="put the file there") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"not a Parquet file: {error}", where=str(path), fix="write it as Parquet") from None
    for column in required:
        if column not in frame.columns:
            raise InputError(
                f"column {column!r} is missing", where=str(path), fix=f"it needs {', '.join(required)}"
            )
        if frame[column].isna().any():
            row = int(np.flatnonzero(frame[column].isna())[0])
            raise InputError("a value is missing", where=f"{path}, column {column}, row {row + 1}")
    if frame.empty:
        raise InputError("the file has no rows", where=str(path))
    # Numbers in one file and text in the other are the same ids.
    return frame.assign(question_id=frame["question_id"].astype(str))


def check_text(frame: pd.DataFrame, column: str, path: Path) -> None:
    """Raise InputError unless a column holds text, or nothing."""
    for row, value in enumerate(frame[column]):
        if not isinstance(value, str | None) and value == value:  # a missing text may be NaN
            raise InputError(
                f"{value!r} is not text",
                where=f"{path}, column {column}, row {row + 1}",
                fix="write the column as strings",
            )


def read_amounts(frame: pd.DataFrame, names: Sequence[str], where: str, *, most: float) -> pd.Series:
    """Return the first of the named columns that is there as floats, NaN where there is none.

    Raises InputError at the first value that is no number from 0 to ``most``.
    """
    import pandas as pd

    name = next((name for name in names if name in frame.columns), None)
    if name is None:
        return pd.Series(np.nan, index=frame.index, dtype=float)
    told = frame[name]
    amounts = pd.to_numeric(told, errors="coerce").astype(float)
    bad = told.notna() & ~amounts.between(0, most)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        kind = "count" if most == np.iinfo(np.int32).max else "amount"
        raise InputError(
            f"{told.iloc[row]!r} is no {kind}",
            where=f"{where}, column {name}, row {row + 1}",
            fix="write a number that is not negative, or nothing",
        )
    return amounts


def note_unread(columns: Collection[str], known: Collection[str], path: Path, notes: list[str]) -> None:
    """Add a note that names the columns which are not read."""
    if unread := [str(name) for name in columns if name not in known]:
        notes.append(f"{path.name}: not read: {', '.join(unread)}; read are {', '.join(known)}")


def note_dropped(count: int, what: str, path: Path, example: str, notes: list[str]) -> None:
    """Add a note that counts the rows which were left out, with the first of them."""
    if count:
        notes.append(f"{path.name}: dropped {count:,} ({what}), first: {example}")
