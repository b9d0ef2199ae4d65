"""The ledger's file: its tables, and what older files lack of them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

_TABLES = """
create table if not exists keys (
  key_id text primary key, name text not null, secret_hash text not null unique, budget integer,
  period text not null, requests_per_minute integer, experts text, preset text,
  created_at real not null, revoked_at real, paced_over integer);
create table if not exists spending (
  key_id text not null, period_start text not null, spent integer not null default 0,
  reserved integer not null default 0, requests integer not null default 0,
  primary key (key_id, period_start)) without rowid;
create table if not exists calls (
  request_id text primary key, key_id text not null, period_start text not null, reserved integer not null,
  cost integer, state text not null, expires_at real not null, created_at real not null);
create index if not exists open_calls on calls (expires_at) where state = 'open';
create index if not exists closed_calls on calls (expires_at) where state <> 'open';
create table if not exists decisions (
  request_id text primary key, key_id text, content text not null, feedback_score real,
  created_at real not null);
create table if not exists conversations (
  digest blob primary key, expert text not null, answered_at real not null) without rowid;
"""


#: Columns that older files lack.
_ADDED = {"keys": "paced_over integer", "spending": "requests integer not null default 0"}


def open_ledger(path: Path) -> sqlite3.Connection:
    """Open the file, made if it is not there, for its owner alone; columns that it lacks are added."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    db.executescript(_TABLES)
    db.execute("begin immediate")  # two processes may open an older file at once
    for table, column in _ADDED.items():
        known = {row["name"] for row in db.execute(f"pragma table_info({table})")}
        if column.split()[0] not in known:
            db.execute(f"alter table {table} add column {column}")
    db.execute("commit")
    return db
