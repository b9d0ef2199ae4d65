"""Move a ledger from its file in a home to a PostgreSQL database: all of it, or nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from serve.ledger.store.place import PostgresPlace, open_store
from serve.ledger.store.sqlite_store import MOVED_MARK, SqliteStore
from serve.ledger.store.store import Store
from serve.ledger.store.tables import NAMES
from warehouse import InputError, NotReadyError

OLD = ".old"  # the ending of the file that was moved; nothing reads it
_BATCH = 1_000  # rows in memory at once, on the way there
_WAIT_S = 2.0


def move_ledger(path: Path, place: PostgresPlace) -> dict[str, int]:
    """Move a ledger; return how many rows of each table there are now. The file keeps a new name.

    The rows are written and read back in one transaction. A kill in the middle leaves the file as it was; one
    between the commit and the new name is made good by doing it again.

    Raises:
        NotReadyError: there is no such file.
        InputError: a program has it open, it cannot be used, or the database holds another ledger.
        LeerooError: the database cannot be reached or takes no writes.
    """
    if not path.exists():
        raise NotReadyError("there is no ledger to move", where=str(path), fix="leeroo keys create NAME")
    SqliteStore(path).close()  # one of an older version gets what it lacks
    with _held(path) as source:
        target = open_store(place)
        try:
            with target.told_plainly(), target.transaction():
                moved = _copy(source, target)
        finally:
            target.close()
        note = path.with_suffix(MOVED_MARK)
        with open(os.open(note, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(f"{place}\n")
        path.rename(path.with_name(path.name + OLD))
    return moved


@contextmanager
def _held(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file alone: an endpoint keeps it open as long as it lives, idle or not."""
    db = sqlite3.connect(path, isolation_level=None, timeout=_WAIT_S)
    try:
        db.execute("pragma journal_mode = delete")  # brings the log in; needs that nobody else has it open
        db.execute("begin exclusive")
    except sqlite3.OperationalError:
        db.close()
        raise InputError(
            "a program has the ledger open: an endpoint that runs, or a command",
            where=f"ledger {path}",
            fix="stop the endpoint (Ctrl-C, or `serve shutdown`), and try again",
        ) from None
    try:
        yield db
    finally:
        db.close()


def _copy(source: sqlite3.Connection, target: Store) -> dict[str, int]:
    there = {name: _digest(_rows_there(target, name, _columns(source, name))) for name in NAMES}
    here = {name: _digest(source.execute(f"select * from {name}")) for name in NAMES}
    if any(rows for rows, _ in there.values()):
        if there != here:
            raise InputError(
                "it holds a ledger already, and not this one",
                where=target.where,
                fix="give an empty database or schema; where endpoints use that ledger, leave it as it is",
            )
        return {name: rows for name, (rows, _) in here.items()}
    for name in NAMES:
        columns = _columns(source, name)
        places = ", ".join("?" * len(columns))
        cursor = source.execute(f"select * from {name}")
        while rows := cursor.fetchmany(_BATCH):
            target.write_many(f"insert into {name} ({', '.join(columns)}) values ({places})", rows)
    there = {name: _digest(_rows_there(target, name, _columns(source, name))) for name in NAMES}
    if different := [name for name in NAMES if there[name] != here[name]]:
        raise InputError(
            f"rows of {', '.join(different)} read back are not those that were written; nothing is moved",
            where=target.where,
            fix="see that nothing else writes to this database",
        )
    return {name: rows for name, (rows, _) in here.items()}


def _columns(source: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in source.execute(f"pragma table_info({table})")]


def _rows_there(target: Store, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for row in target.all(f"select * from {table}"):
        yield tuple(row[name] for name in columns)


def _digest(rows: Iterable[tuple[Any, ...]]) -> tuple[int, int]:
    """Return the number of rows, and what stands for them in whatever order they come."""
    count = total = 0
    for row in rows:
        count += 1
        total += int.from_bytes(blake2b(repr(tuple(row)).encode(), digest_size=16).digest())
    return count, total % 2**128
