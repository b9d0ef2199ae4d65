"""Where a ledger lies, and how it is opened there."""

from __future__ import annotations

from pathlib import Path

from serve.ledger.store.sqlite_store import SqliteStore
from serve.ledger.store.store import Store

LEDGER_FILE = "ledger.db"  # in a home

Place = Path


def open_store(place: Place) -> Store:
    """Open a ledger; its tables are made where they are not there.

    Raises:
        LeerooError: it is lost, damaged, locked, out of reach or of a newer version, or cannot be written.
    """
    return SqliteStore(place)


def check_store(place: Place, *, within_s: float = 3.0) -> None:
    """Open a ledger as an endpoint would, and look whether it is whole and can be written.

    Raises:
        LeerooError: it cannot be used. Known within a few seconds.
    """
    store = SqliteStore(place, timeout_s=within_s)
    try:
        store.check(within_s=within_s)
    finally:
        store.close()
