"""Answers with their questions as one table, in the words that ``leeroo import table`` reads back."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse import InputError, NotReadyError, Warehouse
from warehouse.outcomes import match_names

WRITTEN = (".parquet", ".jsonl")
_QUERY = """
select q.question_id, q.prompt, q.choices, q.answer, q.kind, q.verifier, q.domain, q.subject, q.source,
    q.difficulty, a.expert, a.expert_version, a.text, a.choice, a.score, a.grader, a.prompt_tokens,
    a.completion_tokens, a.cost_usd, a.latency_s, a.created_at
from answers a join questions q using (question_id)
where a.error is null and (len(?) = 0 or list_has_any(coalesce(q.sources, [q.source]), ?))
order by a.expert, a.expert_version, q.question_id
"""


def read_export(
    warehouse: Warehouse, *, experts: Sequence[str] = (), sources: Sequence[str] = ()
) -> pa.Table:
    """Return a row for each answer that came, with its question; failed ones are left out.

    Raises:
        NotReadyError: there is none.
        InputError: a name or glob of ``experts`` matches nobody.
    """
    wanted = list(sources)
    rows = warehouse.connect().sql(_QUERY, params=[wanted, wanted]).to_arrow_table()
    if rows.num_rows and experts:
        names = match_names(sorted(pc.unique(rows["expert"]).to_pylist()), experts)
        rows = rows.filter(pc.is_in(rows["expert"], value_set=pa.array(names)))
    if not rows.num_rows:
        told = f" of the sources {', '.join(wanted)}" if wanted else ""
        raise NotReadyError(f"no answers{told}", where=warehouse.url, fix="`leeroo import` brings some in")
    return rows


def check_target(path: Path, *, force: bool = False) -> None:
    """See that an export may be written under this name.

    Raises:
        InputError: another kind of file, a folder, or a file that is there already, without ``force``.
    """
    if path.suffix not in WRITTEN:
        raise InputError(
            f"cannot write {path.suffix or 'a file without suffix'}",
            where=str(path),
            fix=f"end its name in {' or '.join(WRITTEN)}",
        )
    if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        raise InputError("cannot be written: it is a folder", where=str(path), fix="name a file in it")
    if os.path.lexists(path) and not force:
        raise InputError("is there already", where=str(path), fix="name another, or replace it with --force")


def write_export(rows: pa.Table, path: Path, *, force: bool = False) -> None:
    """Write a table as Parquet or JSON Lines, by the file's name; whole or not at all.

    Raises:
        InputError: as :func:`check_target`, or a folder that may not be written to.
    """
    check_target(path, force=force)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}", where=str(path), fix="name another"
        ) from None
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            if path.suffix == ".parquet":
                pq.write_table(rows, stream)
            else:
                for row in rows.to_pylist():
                    row["created_at"] = row["created_at"] and row["created_at"].isoformat()
                    stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            made.replace(path)
        else:
            _put_beside(made, path)
    finally:
        made.unlink(missing_ok=True)


def _put_beside(made: Path, path: Path) -> None:
    """Give a finished file its name; a file that came there meanwhile stays.

    A link fails where the name is taken, a rename replaces; some file systems have no links.
    """
    try:
        os.link(made, path)
    except FileExistsError:
        check_target(path)
    except OSError:
        check_target(path)
        made.replace(path)
