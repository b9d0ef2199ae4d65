"""The ledger in one SQLite file: how it is opened, and what can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from serve.ledger.store.disks import refuse_network_disk
from serve.ledger.store.tables import ADDED, FORMAT, INDEXES, TABLES
from warehouse import InputError

MOVED_MARK = ".moved"  # the ending of the file that says where the ledger has gone
KEYS_MARK = ".keys"  # the ending of the file beside the ledger that says that it holds keys

#: What an older file forgot of its calls is the difference between a period and the calls still known.
_FORGOTTEN = """
update spending set forgotten_spent = max(0, spent - coalesce((
  select sum(cost) from calls where calls.key_id = spending.key_id
  and calls.period_start = spending.period_start and state <> 'open'), 0))
"""


class SqliteStore:
    """The ledger in a file. Several processes of one machine may have it open at once.

    The file is made if it is not there, for its owner alone; columns that it lacks are added. The write-ahead
    log is synchronised at checkpoints, not at every commit: a crash of a process loses nothing, a crash of
    the machine may lose the last moments.

    Raises:
        InputError: it had keys and is lost or empty now; or it is damaged, locked, of a newer version, or
            cannot be written.
    """

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self._path = path
        self._db = _open(path, timeout_s)

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"ledger {self._path}"

    @property
    def is_remote(self) -> bool:
        """It is not: a row that is asked for is there in microseconds."""
        return False

    def one(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Return the first row of what a statement finds or returns."""
        row: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of what a statement finds or returns."""
        return self._db.execute(sql, values).fetchall()

    def read_many(self, asked: Sequence[tuple[str, Sequence[Any]]]) -> list[list[sqlite3.Row]]:
        """Return the rows that each of several statements finds."""
        return [self.all(sql, values) for sql, values in asked]

    def write(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement that returns nothing."""
        self._db.execute(sql, values)

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of values."""
        self._db.executemany(sql, rows)

    def transaction(self) -> AbstractContextManager[None]:
        """Do all inside the block or nothing, with one commit; blocks may be nested."""
        return _transaction(self._db)

    def savepoint(self) -> AbstractContextManager[None]:
        """Do everything inside the block or nothing of it, within a larger transaction."""
        return _savepoint(self._db)

    def exclusively(self, work: str) -> AbstractContextManager[None]:
        """Do a work that nodes must not do at the same time: a file has one node alone."""
        return nullcontext()

    @property
    def in_transaction(self) -> bool:
        """Whether one is under way; SQLite ends it by itself where the disk is full."""
        return self._db.in_transaction

    def told_plainly(self) -> AbstractContextManager[None]:
        """Turn what SQLite says inside the block into one message for a person."""
        return _told_plainly(self._path)

    def note_keys(self) -> None:
        """Note beside the file that it holds keys."""
        _remember_keys(self._path)

    def wipe(self) -> None:
        """Leave nothing of removed rows in the file: its free parts are overwritten, and the log is emptied.

        Where another process reads at this very moment, the log is emptied by the next one who comes.
        """
        self._db.execute("pragma wal_checkpoint(truncate)").fetchall()

    def check(self, *, within_s: float) -> None:
        """Look whether the file is whole and can be written, as far as the time goes.

        Raises:
            InputError: it is not.
        """
        ends = time.monotonic() + within_s
        with self.told_plainly():
            self._db.execute("begin immediate")
            self._db.execute("rollback")
            self._db.set_progress_handler(lambda: time.monotonic() > ends, 100_000)
            try:
                found = self._db.execute("pragma quick_check(1)").fetchone()[0]
            except sqlite3.OperationalError as error:
                if "interrupted" not in str(error):  # a large file: what was looked at was whole
                    raise
                found = "ok"
            finally:
                self._db.set_progress_handler(None, 0)
            if found != "ok":
                raise sqlite3.DatabaseError(found)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _open(path: Path, timeout_s: float) -> sqlite3.Connection:
    mark = path.with_suffix(KEYS_MARK)
    _refuse_moved(path)
    refuse_network_disk(path)
    if mark.exists() and not (path.exists() and path.stat().st_size):
        raise _lost(path, mark)
    with _told_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            if path.with_suffix(MOVED_MARK).exists():  # it was moved while we looked
                path.unlink()
                _refuse_moved(path)
        db = sqlite3.connect(path, isolation_level=None, timeout=timeout_s, check_same_thread=False)
        db.row_factory = sqlite3.Row
        written_by = db.execute("pragma user_version").fetchone()[0]
        if not path.exists():  # it was moved while we waited: what we have open is the old file
            db.close()
            _refuse_moved(path)
        if written_by > FORMAT:
            db.close()
            raise InputError(
                f"a newer version of this program keeps it (format {written_by}; this one knows {FORMAT})",
                where=f"ledger {path}",
                fix="use the version that the endpoint of this home runs, or another --home",
            )
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")
        db.execute("pragma secure_delete = on")  # rows of the traffic hold what a text was turned into
        db.executescript(TABLES)
        if _lacking(db):
            with _transaction(db):  # two processes may open an older file at once
                lacking = _lacking(db)
                for table, column in lacking:
                    db.execute(f"alter table {table} add column {column}")
                if any(column.startswith("forgotten_spent") for _, column in lacking):
                    db.execute(_FORGOTTEN)
        db.executescript(INDEXES)
        if written_by < FORMAT:
            db.execute(f"pragma user_version = {FORMAT}")
        has_keys = db.execute("select 1 from keys limit 1").fetchone() is not None
    if has_keys:
        _remember_keys(path)
    elif mark.exists():
        db.close()
        raise _lost(path, mark)
    return db


def _refuse_moved(path: Path) -> None:
    """Refuse a place whose ledger has gone to a database."""
    if (moved := path.with_suffix(MOVED_MARK)).exists() and not path.exists():
        raise InputError(
            f"it was moved to {moved.read_text().strip()}",
            where=f"ledger {path}",
            fix="name that database: LEEROO_LEDGER, or --ledger",
        )


def _remember_keys(path: Path) -> None:
    """Note beside the ledger that it holds keys: an endpoint whose ledger is lost is not open to all."""
    mark = path.with_suffix(KEYS_MARK)
    with suppress(OSError):  # the keys are made all the same
        if not mark.exists():
            os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o600))


@contextmanager
def _told_plainly(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say about the ledger into one message for a person."""
    where = f"ledger {path}"
    try:
        yield
    except sqlite3.Error as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "locked" in told or "busy" in told:
            fix = "end the program that holds it open, or wait for it"
            raise InputError("another program has locked it", where=where, fix=fix) from None
        if "readonly" in told or "unable to open" in told:
            fix = "let this user read and write it and its folder"
            raise InputError(f"it cannot be written ({told})", where=where, fix=fix) from None
        if "full" in told:
            raise InputError("the disk is full", where=where, fix="make room on it") from None
        raise InputError(
            f"it is damaged ({told})",
            where=where,
            fix=f"put a copy of it back, or rescue what is left: sqlite3 {path.name} .recover",
        ) from None
    except OSError as error:
        raise InputError(
            f"it cannot be used ({error.strerror})",
            where=where,
            fix="let this user read and write it and its folder",
        ) from None


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Do all inside the block or nothing, with one commit; blocks may be nested."""
    if db.in_transaction:
        yield
        return
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        with suppress(sqlite3.OperationalError):  # SQLite ends it by itself where the disk is full
            db.execute("rollback")
        raise


@contextmanager
def _savepoint(db: sqlite3.Connection) -> Iterator[None]:
    """Do everything inside the block or nothing of it, within a larger transaction."""
    db.execute("savepoint one")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.OperationalError):
            db.execute("rollback to one")
            db.execute("release one")
        raise
    db.execute("release one")


def _lacking(db: sqlite3.Connection) -> list[tuple[str, str]]:
    found = []
    for table, columns in ADDED.items():
        known = {row["name"] for row in db.execute(f"pragma table_info({table})")}
        found += [(table, column) for column in columns if column.split()[0] not in known]
    return found


def _lost(path: Path, mark: Path) -> InputError:
    return InputError(
        "the keys of this home are lost: the ledger is missing or empty",
        where=f"ledger {path}",
        fix=f"put a copy of it back; to begin anew without any of its keys and books, remove {mark.name}",
    )
