"""Rows of keys and teams: made, changed, and found by the name or the id that people use."""

from __future__ import annotations

import secrets
import time
from typing import Literal

from serve.ledger.accounts.settings import check_name
from serve.ledger.alerts.outbox import AlertBook
from serve.ledger.periods import period_start
from serve.ledger.store.store import Row, Store
from warehouse import InputError

Table = Literal["keys", "teams"]
_ID = {"keys": "key_id", "teams": "team_id"}
_ENDED = {"keys": "revoked_at", "teams": "removed_at"}
_OF_THRESHOLDS = ("budget", "period", "alert_at")  # what they are shares of, and which shares
_ONE = {"keys": "key", "teams": "team"}

#: By how much the books of a period exceed a budget that is lowered: what was granted before stays granted.
_EXCUSE = """
update spending set excused = case when spent + reserved > ? then spent + reserved - ? else 0 end
where key_id = ?
"""


def insert_row(db: Store, table: Table, name: str, columns: dict[str, object]) -> str:
    """Add a key or a team within a transaction; return its id.

    Raises:
        InputError: one that has not ended has that name, or it can be none.
    """
    one = _ONE[table]
    check_name(f"{one} {name!r}", name)
    if db.one(f"select name from {table} where name = ? and {_ENDED[table]} is null", (name,)):
        fix = "choose another name, or revoke that one" if table == "keys" else "choose another name"
        raise InputError(f"there is a {one} named {name!r}", fix=fix)
    own_id = f"{one}-{secrets.token_hex(6)}"
    row = {_ID[table]: own_id, "name": name, "created_at": time.time()} | columns
    db.write(f"insert into {table} ({', '.join(row)}) values ({', '.join('?' * len(row))})", (*row.values(),))
    return own_id


def update_row(db: Store, table: Table, own_id: str, columns: dict[str, object]) -> None:
    """Change a key or a team within a transaction; a key counts its changes."""
    if columns:
        told = ", ".join(f"{name} = ?" for name in columns)
        if table == "keys":
            told += ", changes = changes + 1"
        db.write(f"update {table} set {told} where {_ID[table]} = ?", (*columns.values(), own_id))
    if isinstance(budget := columns.get("budget"), int):
        db.write(_EXCUSE, (budget, budget, own_id))
    if not columns.keys().isdisjoint(_OF_THRESHOLDS):
        _note_reached(db, table, own_id)


def _note_reached(db: Store, table: Table, own_id: str) -> None:
    """Note thresholds that lie at or below what is spent, now that they are others; none is noted twice."""
    owner = db.one(f"select * from {table} where {_ID[table]} = ?", (own_id,))
    if owner is None:
        return
    start = period_start(owner["period"], time.time())
    spent = db.one("select spent from spending where key_id = ? and period_start = ?", (own_id, start))
    if spent is not None:
        AlertBook(db).note_spending(owner, own_id, start, 0, int(spent["spent"]))


def find_row(db: Store, table: Table, name_or_id: str) -> Row:
    """Return the key or team that has not ended by its name or id; an id is looked for first.

    Raises:
        InputError: there is none.
    """
    for column in (_ID[table], "name"):
        row = db.one(f"select * from {table} where {column} = ? and {_ENDED[table]} is null", (name_or_id,))
        if row is not None:
            return row
    raise InputError(f"there is no active {_ONE[table]} {name_or_id!r}", fix=f"see `leeroo {table} list`")
