"""The seam between the ledger's books and the database that keeps them.

The books write one SQL, which SQLite and PostgreSQL both understand: ``?`` for a value, the conflict's
columns named, ``case`` instead of functions of one of them. What differs (types, locks, errors) is the
store's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Row(Protocol):
    """A row of a result; its values go by the names of the columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a value."""


class Store(Protocol):
    """A database with the ledger's tables. Whatever stands outside a transaction is one of its own."""

    @property
    def where(self) -> str:
        """What messages call it; it holds no secret."""

    @property
    def is_remote(self) -> bool:
        """Whether a statement that is read is a way there and back, so that several are best read at once."""

    def one(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """Return the first row of what a statement finds, or of what it returns of its changes."""

    def all(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Row]:
        """Return all rows of what a statement finds, or of what it returns of its changes."""

    def read_many(self, asked: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Sequence[Row]]:
        """Return the rows that each of several statements finds, asked for in one message."""

    def write(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement that returns nothing.

        Within a transaction it may be sent with those that follow, at the latest at the end of the block
        around it: there its error is raised.
        """

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of values."""

    def transaction(self) -> AbstractContextManager[None]:
        """Do all inside the block or nothing, with one commit; blocks may be nested.

        Nobody else writes meanwhile, whichever process of whichever node it is.

        Raises:
            LedgerAwayError: the database cannot be reached. Whether all or nothing is done is not known then.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """Do everything inside the block or nothing of it, within a larger transaction."""

    def exclusively(self, work: str) -> AbstractContextManager[None]:
        """Do a work that nodes must not do at the same time; wait for who does it. Others may write.

        Raises:
            LedgerAwayError: it is done for long.
        """

    @property
    def in_transaction(self) -> bool:
        """Whether one is under way; a database in trouble ends it by itself."""

    def told_plainly(self) -> AbstractContextManager[None]:
        """Turn what the database says inside the block into one message for a person."""

    def note_keys(self) -> None:
        """Note that there are keys: an endpoint whose ledger is lost is not open to all."""

    def wipe(self) -> None:
        """Leave nothing of removed rows, as far as the database lets us."""

    def check(self, *, within_s: float) -> None:
        """Look whether it is whole and takes writes, as far as the time goes.

        Raises:
            LeerooError: it is not, or does not.
        """

    def close(self) -> None:
        """Close the connection."""
