"""The ledger in a PostgreSQL database, which bookkeepers of several nodes may share.

One lock stands for the whole ledger, as SQLite's does: whoever writes holds it until the commit, so nothing
that is read in a transaction changes within it. The server gives it back when its holder's connection ends,
and when a holder stays silent for long: a node may have gone without a word.

The lock ends at the commit, and the wait for the disk comes after it. What others read meanwhile gets to the
disk before what they write, since the server's log has one order; and nobody is told of a transaction before
its log is on the disk.

A statement whose result nobody wants waits for the next one that is read, or for the end of its block; then
all go in one message.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psycopg

from serve.ledger.store.postgres_connection import Connection, away, connect, plain_error
from serve.ledger.store.postgres_statements import BEGIN, COMMIT, FLUSH, FLUSH_OTHERS, LOCK, Statement
from serve.ledger.store.silence import SilenceWatch
from serve.ledger.store.tables import ADDED, FORMAT, INDEXES, NAMES, TABLES
from warehouse import InputError, LedgerAwayError

_TYPES = {" integer": " bigint", " real": " double precision", " blob": " bytea", " without rowid": ""}
_MOST_UNSENT = 500  # statements in memory
_ABOUT = "create table about (name text primary key, told text not null)"


class PostgresStore:
    """The ledger in a database; its tables are made in the first schema of the search path.

    Args:
        url: with all that libpq takes.
        shown: the same without its password.
        password: where the URL has none; by default libpq looks for it.
        lock_timeout_s: how long to wait for others that write.

    Raises:
        LedgerAwayError: it cannot be reached; known within five seconds.
        InputError: it was made by a newer version, holds tables of others, or takes no writes of this user.
    """

    def __init__(
        self, url: str, shown: str, *, password: str | None = None, lock_timeout_s: float = 10.0
    ) -> None:
        self._url, self._shown, self._password = url, shown, password
        self._lock_timeout_s = lock_timeout_s
        self._queue: list[Statement] = []
        self._sent = 0  # messages since the store was opened
        self._is_within = False
        self._has_written = False  # in this transaction
        self._watch = SilenceWatch()
        self._connection = self._connect()
        try:
            with self.told_plainly():
                self._make_tables()
        except BaseException:
            self.close()
            raise

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"ledger {self._shown}"

    @property
    def is_remote(self) -> bool:
        """It is, on this machine too: another process answers."""
        return True

    def one(self, sql: str, values: Sequence[Any] = ()) -> dict[str, Any] | None:
        """Return the first row of what a statement finds or returns."""
        return next(iter(self.all(sql, values)), None)

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return all rows of what a statement finds or returns."""
        if not self._is_within:
            rows: list[dict[str, Any]] = self._alone(
                lambda: self._connection.execute(_translate(sql), values).fetchall()
            )
            return rows
        self._has_written |= not sql.startswith("select")
        return self._send((sql, values))[0]

    def read_many(self, asked: Sequence[Statement]) -> list[list[dict[str, Any]]]:
        """Return the rows that each of several statements finds, asked for in one message."""
        with self.transaction():
            return self._send(*asked)

    def write(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement that returns nothing; within a transaction it may be sent later."""
        if self._is_within:
            self._has_written = True
            self._queue.append((sql, values))
            if len(self._queue) >= _MOST_UNSENT:
                self._send()
        else:
            self._alone(lambda: self._connection.execute(_translate(sql), values))

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of values."""
        with self.transaction():
            for values in rows:
                self.write(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all inside the block or nothing, with one commit; blocks may be nested.

        Others may write as soon as it is committed; it ends once it is on the disk.
        """
        if self._is_within:
            yield
            return
        if self._connection.closed:
            self._connection = self._connect()
        self._queue = [BEGIN, LOCK]  # sent with the first statement that is read
        self._is_within, self._has_written = True, False
        try:
            yield
            self._queue += (COMMIT, FLUSH if self._has_written else FLUSH_OTHERS)
            self._send()
        except BaseException:
            self._queue.clear()
            with suppress(psycopg.Error):
                self._connection.rollback()
            raise
        finally:
            self._is_within = False

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Do everything inside the block or nothing of it, within a larger transaction."""
        sent, unsent = self._sent, len(self._queue)
        self.write("savepoint one")
        try:
            yield
            self.write("release one")
            self._send()
        except BaseException:
            if self._sent == sent:  # nothing of it has left
                del self._queue[unsent:]
            else:
                self._queue.clear()
                with self._told_when_away():
                    self._connection.execute("rollback to one; release one")
            raise

    @contextmanager
    def exclusively(self, work: str) -> Iterator[None]:
        """Do a work that nodes must not do at the same time; the lock ends with the connection at last."""
        self.one("select pg_advisory_lock(hashtext(?), hashtext(current_schema()))", (work,))
        try:
            yield
        finally:
            with suppress(LedgerAwayError):
                self.one("select pg_advisory_unlock(hashtext(?), hashtext(current_schema()))", (work,))

    @property
    def in_transaction(self) -> bool:
        """Whether one is under way; it ends with the connection."""
        return self._is_within and not self._connection.closed

    @contextmanager
    def told_plainly(self) -> Iterator[None]:
        """Turn what PostgreSQL says inside the block into one message for a person."""
        try:
            yield
        except psycopg.Error as error:
            raise plain_error(error, self.where) from None

    def note_keys(self) -> None:
        """Nothing is noted: a database that is lost cannot be reached, or has no key that lets anyone in."""

    def wipe(self) -> None:
        """Clear away removed rows. The server's log of changes and its copies are the operator's."""
        self._alone(lambda: self._connection.execute("vacuum traffic, decisions, explored, conversations"))

    def check(self, *, within_s: float) -> None:
        """Look whether the database takes writes; ``within_s`` counts for the wait for others."""
        with self.told_plainly(), self.transaction():
            self.write("update about set told = told where name = 'format'")

    def close(self) -> None:
        """Close the connection."""
        self._watch.close()
        self._connection.close()

    def _send(self, *asked: Statement) -> list[list[dict[str, Any]]]:
        """Send what waits, and statements to be read behind it, in one message; return what these find."""
        queue, self._queue = self._queue, []
        if not queue and not asked:
            return []
        self._sent += 1
        try:
            return self._send_all(queue, asked)
        except LedgerAwayError:
            is_begun_here = queue[:1] == [BEGIN] and COMMIT not in queue
            if not (is_begun_here and self._connection.closed):
                raise
        self._connection = self._connect()  # the server was started anew since the last transaction
        return self._send_all(queue, asked)

    def _send_all(self, queue: Sequence[Statement], asked: Sequence[Statement]) -> list[list[dict[str, Any]]]:
        writer, readers = self._connection.cursor(), [self._connection.cursor() for _ in asked]
        is_one = len(queue) + len(asked) == 1
        with self._told_when_away(), nullcontext() if is_one else self._connection.pipeline():
            for sql, values in queue:
                writer.execute(_translate(sql), values)
            for cursor, (sql, values) in zip(readers, asked, strict=True):
                cursor.execute(_translate(sql), values)
        return [cursor.fetchall() for cursor in readers]

    def _alone(self, do: Any) -> Any:
        """Do what is whole in itself; once more over a new connection where the old one has ended."""
        if not self._connection.closed:
            try:
                with self._told_when_away():
                    return do()
            except LedgerAwayError:
                with suppress(psycopg.Error):
                    self._connection.rollback()  # a begin whose lock was not to be had
                if not self._connection.closed:
                    raise
        self._connection = self._connect()
        with self._told_when_away():
            return do()

    @contextmanager
    def _told_when_away(self) -> Iterator[None]:
        try:
            with self._watch.over(self._connection):
                yield
        except psycopg.Error as error:
            if self._connection.closed:  # whatever ended it, a transaction that stood still too
                raise away(error, self.where) from None
            if isinstance(error, psycopg.OperationalError):
                raise plain_error(error, self.where) from None
            raise

    def _connect(self) -> Connection:
        return connect(self._url, self.where, self._password, self._lock_timeout_s)

    def _make_tables(self) -> None:
        if self._format() == FORMAT:
            return
        with self.transaction():
            found = self._format()  # another process may have made them meanwhile
            if found is None:
                if there := [name for name in (*NAMES, "about") if self._is_there(name)]:
                    raise InputError(
                        f"it holds tables of something else ({', '.join(there)})",
                        where=self.where,
                        fix="give the ledger a database or a schema of its own",
                    )
                self.write(_ABOUT)
                self._write_tables()
                self.write("insert into about values ('format', ?)", (str(FORMAT),))
            elif found < FORMAT:
                self._write_tables()
                self.write("update about set told = ? where name = 'format'", (str(FORMAT),))
            elif found > FORMAT:
                raise InputError(
                    f"a newer version of this program keeps it (format {found}; this one knows {FORMAT})",
                    where=self.where,
                    fix="use the version that the endpoints of this ledger run, or another LEEROO_LEDGER",
                )

    def _write_tables(self) -> None:
        """Make the tables, columns and indexes that are not there."""
        columns = (
            f"alter table {table} add column if not exists {column}"
            for table, added in ADDED.items()
            for column in added
        )
        for words in (*TABLES.split(";"), *columns, *INDEXES.split(";")):
            for ours, theirs in _TYPES.items():
                words = words.replace(ours, theirs)
            if words.strip():
                self.write(words)

    def _format(self) -> int | None:
        if not self._is_there("about"):
            return None
        row = self.one("select told from about where name = 'format'")
        return None if row is None else int(row["told"])

    def _is_there(self, table: str) -> bool:
        row = self.one("select to_regclass(?) is not null as found", (table,))
        return row is not None and bool(row["found"])


@functools.cache
def _translate(sql: str) -> Any:
    return sql.replace("?", "%s")
