"""Connections to a ledger's PostgreSQL database, in bounded time, and what it says put into one message."""

from __future__ import annotations

import threading
from typing import Any, TypeAlias

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from warehouse import InputError, LedgerAwayError, LeerooError

CONNECT_WITHIN_S = 4.0
_SILENT_HOLDER_S = 15.0  # a transaction without a word is ended by the server after so long
LONGEST_STATEMENT_S = 60.0
_REACHED = "start it, or correct LEEROO_LEDGER (or --ledger)"
#: A lost server is noticed soon, by the client's system.
_ALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}

Connection: TypeAlias = psycopg.Connection[dict[str, Any]]  # rows by the names of their columns


def connect(url: str, where: str, password: str | None, lock_timeout_s: float) -> Connection:
    """Connect in bounded time: a name that nobody resolves has no time limit of its own.

    Args:
        url: with all that libpq takes.
        where: what messages call it.
        password: where the URL has none; by default libpq looks for it.
        lock_timeout_s: how long to wait for others that write.

    Raises:
        LedgerAwayError: it cannot be reached; known within five seconds.
        InputError: it is no URL, or it lets this user do nothing.
    """
    done: list[Connection | Exception] = []

    def try_it() -> None:
        try:
            done.append(_connect(url, where, password, lock_timeout_s))
        except Exception as error:
            done.append(error)

    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(CONNECT_WITHIN_S)
    if not done:
        what = f"it does not answer within {CONNECT_WITHIN_S:g} s"
        raise LedgerAwayError(what, where=where, fix=_REACHED)
    if isinstance(done[0], psycopg.Error):
        raise plain_error(done[0], where)
    if isinstance(done[0], Exception):
        raise done[0]
    return done[0]


def plain_error(error: psycopg.Error, where: str) -> LeerooError:
    """Return what a person is told of what PostgreSQL or its library says."""
    told = _first_line(error)
    if isinstance(error, errors.LockNotAvailable):
        fix = "wait until it is done, or end it"
        return LedgerAwayError("another process keeps writing to it", where=where, fix=fix)
    if isinstance(error, errors.DiskFull):
        return LedgerAwayError("its disk is full", where=where, fix="make room on it")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return InputError(
            "it takes no writes: it is a copy of another database",
            where=where,
            fix="name the one that takes writes, or several hosts and target_session_attrs=read-write",
        )
    if isinstance(error, errors.InsufficientPrivilege):
        fix = "let its user make and write tables there"
        return InputError(f"its user may not do this ({told})", where=where, fix=fix)
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return away(error, where)
    return InputError(
        f"it has other tables than ours, or is damaged ({told})",
        where=where,
        fix="give the ledger a database of its own, or put a copy of it back",
    )


def away(error: psycopg.Error, where: str) -> LedgerAwayError:
    """Return what a person is told where there is no connection, or none any more."""
    return LedgerAwayError(f"it cannot be reached ({_first_line(error)})", where=where, fix=_REACHED)


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _connect(url: str, where: str, password: str | None, lock_timeout_s: float) -> Connection:
    try:
        told = conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its message repeats the URL
        raise InputError(
            "it is no URL that PostgreSQL's library takes",
            where=where,
            fix="write postgresql://user@host:5432/database",
        ) from None
    if password is not None and not told.get("password"):
        told["password"] = password
    settings: dict[str, Any] = {"connect_timeout": 2, **_ALIVE, **told}
    connection: Connection = psycopg.connect(**settings, autocommit=True, row_factory=dict_row)
    # Where the operator lets commits not wait for the disk, the ledger's still do.
    connection.execute(
        "select set_config('synchronous_commit', 'on', false)"
        " where current_setting('synchronous_commit') = 'off'"
    )
    connection.execute(
        f"set lock_timeout = '{lock_timeout_s:g}s';"
        f" set statement_timeout = '{LONGEST_STATEMENT_S:g}s';"
        f" set idle_in_transaction_session_timeout = '{_SILENT_HOLDER_S:g}s'"
    )
    return connection
