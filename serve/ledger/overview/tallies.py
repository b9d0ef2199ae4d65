"""Sums over the requests of a day, by key: what the overview is made of, whatever the number of requests.

They are added up in memory as requests settle, and written now and then; a kill of the process costs those of
the last half minute. The ledger's money does not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, fields
from typing import Literal, NamedTuple

from serve.ledger.overview.seen import COLUMNS, Tally
from serve.ledger.store.store import Row, Store

EVERYBODY = ""  # the key of the sums over all keys, and over those who have none
KEPT_DAYS = 40

#: ``all``: every request. ``expert``: those that it answered, and those that it was a candidate for.
#: ``version``: those that a router's version decided. ``shadow``: what a challenger decided beside it.
Kind = Literal["all", "expert", "version", "shadow"]


class Place(NamedTuple):
    """The key of a tally: ``name`` is that of an expert or a version."""

    key_id: str
    day: str  # in UTC
    kind: Kind
    name: str = ""


_ADD = (
    f"insert into tallies as book (key_id, day, kind, name, {', '.join(COLUMNS)})"
    f" values ({', '.join('?' * (4 + len(COLUMNS)))}) on conflict (key_id, day, kind, name) do update set "
    + ", ".join(f"{name} = book.{name} + excluded.{name}" for name in COLUMNS)
)
_WHOLE = {field.name for field in fields(Tally) if field.type == "int"}
_SUMS = ", ".join(
    f"cast(sum({name}) as bigint) as {name}" if name in _WHOLE else f"sum({name}) as {name}"
    for name in COLUMNS
)


class TallyBook:
    """The table ``tallies`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db

    def add(self, found: Iterable[tuple[Place, Tally]]) -> None:
        """Add sums to those that are there."""
        with self._db.transaction():
            self._db.write_many(_ADD, [(*place, *astuple(tally)) for place, tally in found])

    def by_name(self, key_id: str, kind: Kind, first_day: str) -> dict[str, Tally]:
        """Return a key's sums since a day, by name."""
        rows = self._db.all(
            f"select name, {_SUMS} from tallies where key_id = ? and day >= ? and kind = ? group by name",
            (key_id, first_day, kind),
        )
        return {row["name"]: _tally(row) for row in rows}

    def by_day(self, key_id: str, kind: Kind, name: str, first_day: str) -> dict[str, Tally]:
        """Return the sums of each day since one, the oldest first; days without requests are left out."""
        rows = self._db.all(
            "select * from tallies where key_id = ? and day >= ? and kind = ? and name = ? order by day",
            (key_id, first_day, kind, name),
        )
        return {row["day"]: _tally(row) for row in rows}

    def forget(self, before_day: str) -> None:
        """Forget the days before one."""
        self._db.write("delete from tallies where day < ?", (before_day,))


def _tally(row: Row) -> Tally:
    return Tally(*(row[name] for name in COLUMNS))
