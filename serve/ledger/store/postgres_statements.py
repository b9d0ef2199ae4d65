"""The statements around a transaction on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

Statement: TypeAlias = tuple[str, Sequence[Any]]  # with its values

#: Whatever the database's default is: what a transaction reads must be newer than its lock.
BEGIN: Statement = ("begin isolation level read committed", ())
#: The lock is given back at the commit, which does not wait for the disk.
LOCK: Statement = (
    "select set_config('synchronous_commit', 'off', true),"
    " pg_advisory_xact_lock(hashtext('leeroo ledger'), hashtext(current_schema()))",
    (),
)
COMMIT: Statement = ("commit", ())
#: A transaction of its own that waits for the disk, as long as all that was committed before is not there.
FLUSH: Statement = ("select pg_logical_emit_message(true, 'leeroo', '')", ())
#: For who has only read: what was read may be on its way to the disk.
FLUSH_OTHERS: Statement = (
    "select case when pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()"
    " then pg_logical_emit_message(true, 'leeroo', '') end",
    (),
)
