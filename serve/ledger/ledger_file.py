"""The ledger's file: its tables, what older files lack of them, and what can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from warehouse import InputError

LEDGER_FILE = "ledger.db"
FORMAT = 1  # kept in the file; a later version of the tables may mean other things by its rows
KEYS_MARK = ".keys"  # the ending of the file beside the ledger that says that it holds keys

_TABLES = """
create table if not exists keys (
  key_id text primary key, name text not null, secret_hash text not null unique, budget integer,
  period text not null, requests_per_minute integer, experts text, preset text,
  created_at real not null, revoked_at real, paced_over integer, max_experts_asked integer,
  max_latency_s real, record text, explore_share real, explore_usd_per_day real,
  operator integer not null default 0);
create table if not exists spending (
  key_id text not null, period_start text not null, spent integer not null default 0,
  reserved integer not null default 0, requests integer not null default 0,
  disputed integer not null default 0, forgotten_spent integer not null default 0,
  forgotten_disputed integer not null default 0,
  primary key (key_id, period_start)) without rowid;
create table if not exists calls (
  request_id text primary key, key_id text not null, period_start text not null, reserved integer not null,
  cost integer, state text not null, expires_at real not null, created_at real not null,
  owner text not null default '', likely integer not null default 0,
  disputed integer not null default 0, extensions integer not null default 0);
create table if not exists owners (owner text primary key, beats integer not null) without rowid;
create table if not exists decisions (
  request_id text primary key, key_id text, content text not null, feedback_score real,
  created_at real not null);
create table if not exists traffic (
  request_id text primary key, content blob not null, embedding blob not null, surface blob not null,
  created_at real not null);
create table if not exists explored (
  request_id text primary key, day text not null, key_id text not null, pico integer not null) without rowid;
create table if not exists exploring (
  day text not null, key_id text not null, pico integer not null, primary key (day, key_id)) without rowid;
create table if not exists conversations (
  digest blob primary key, expert text not null, answered_at real not null) without rowid;
create table if not exists tallies (
  key_id text not null, day text not null, kind text not null, name text not null,
  answers integer not null, failed integer not null, cost_usd real not null, compared integer not null,
  success real not null, forecast_usd real not null, chosen_success real not null, chosen_usd real not null,
  paid_usd real not null, primary key (key_id, day, kind, name)) without rowid;
"""

_INDEXES = """
create index if not exists open_calls on calls (expires_at) where state = 'open';
create index if not exists closed_calls on calls (expires_at) where state <> 'open';
create index if not exists owned_calls on calls (owner) where state = 'open';
"""

#: Columns that older files lack.
_ADDED = {
    "keys": (
        "paced_over integer",
        "max_experts_asked integer",
        "max_latency_s real",
        "record text",
        "explore_share real",
        "explore_usd_per_day real",
        "operator integer not null default 0",
    ),
    "spending": (
        "requests integer not null default 0",
        "disputed integer not null default 0",
        "forgotten_disputed integer not null default 0",
        "forgotten_spent integer not null default 0",
    ),
    "calls": (
        "owner text not null default ''",
        "likely integer not null default 0",
        "disputed integer not null default 0",
        "extensions integer not null default 0",
    ),
}

#: What an older file forgot of its calls is the difference between a period and the calls still known.
_FORGOTTEN = """
update spending set forgotten_spent = max(0, spent - coalesce((
  select sum(cost) from calls where calls.key_id = spending.key_id
  and calls.period_start = spending.period_start and state <> 'open'), 0))
"""


def open_ledger(path: Path, *, timeout_s: float = 10.0) -> sqlite3.Connection:
    """Open the file, made if it is not there, for its owner alone; columns that it lacks are added.

    Raises:
        InputError: it had keys and is lost or empty now; or it is damaged, locked, of a newer version, or
            cannot be written.
    """
    mark = path.with_suffix(KEYS_MARK)
    if mark.exists() and not (path.exists() and path.stat().st_size):
        raise _lost(path, mark)
    with told_plainly(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(path, isolation_level=None, timeout=timeout_s, check_same_thread=False)
        db.row_factory = sqlite3.Row
        written_by = db.execute("pragma user_version").fetchone()[0]
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
        db.executescript(_TABLES)
        if _lacking(db):
            with transaction(db):  # two processes may open an older file at once
                lacking = _lacking(db)
                for table, column in lacking:
                    db.execute(f"alter table {table} add column {column}")
                if any(column.startswith("forgotten_spent") for _, column in lacking):
                    db.execute(_FORGOTTEN)
        db.executescript(_INDEXES)
        if written_by < FORMAT:
            db.execute(f"pragma user_version = {FORMAT}")
        has_keys = db.execute("select 1 from keys limit 1").fetchone() is not None
    if has_keys:
        remember_keys(path)
    elif mark.exists():
        db.close()
        raise _lost(path, mark)
    return db


def remember_keys(path: Path) -> None:
    """Note beside the ledger that it holds keys: an endpoint whose ledger is lost is not open to all."""
    mark = path.with_suffix(KEYS_MARK)
    with suppress(OSError):  # the keys are made all the same
        if not mark.exists():
            os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o600))


def check_ledger_file(path: Path, *, within_s: float = 3.0) -> None:
    """Open the ledger as an endpoint would, and look whether it is whole and can be written.

    Raises:
        InputError: it cannot be used. Known within a few seconds.
    """
    db = open_ledger(path, timeout_s=within_s)
    ends = time.monotonic() + within_s
    try:
        with told_plainly(path):
            db.execute("begin immediate")
            db.execute("rollback")
            db.set_progress_handler(lambda: time.monotonic() > ends, 100_000)
            try:
                found = db.execute("pragma quick_check(1)").fetchone()[0]
            except sqlite3.OperationalError as error:
                if "interrupted" not in str(error):  # a large file: what was looked at was whole
                    raise
                found = "ok"
            if found != "ok":
                raise sqlite3.DatabaseError(found)
    finally:
        db.close()


@contextmanager
def told_plainly(path: Path) -> Iterator[None]:
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
def transaction(db: sqlite3.Connection) -> Iterator[None]:
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
def savepoint(db: sqlite3.Connection) -> Iterator[None]:
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
    for table, columns in _ADDED.items():
        known = {row["name"] for row in db.execute(f"pragma table_info({table})")}
        found += [(table, column) for column in columns if column.split()[0] not in known]
    return found


def _lost(path: Path, mark: Path) -> InputError:
    return InputError(
        "the keys of this home are lost: the ledger is missing or empty",
        where=f"ledger {path}",
        fix=f"put a copy of it back; to begin anew without any of its keys and books, remove {mark.name}",
    )
