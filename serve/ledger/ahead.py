"""The rows that a group of entries will need, read in one message before the first of them is judged.

They are good within one transaction, since nobody else writes meanwhile, and as long as whoever changes one
says so here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from serve.ledger.messages import Entry, Heartbeat, Reservation
from serve.ledger.periods import PERIODS, period_start
from serve.ledger.picodollars import MOST_PICO
from serve.ledger.store.store import Row, Store

#: The teams above some keys, as ``above``: those that they lie in, those that these lie in, and so on.
TEAMS_ABOVE = (
    "with recursive above as (select teams.* from teams where team_id in"
    " (select team_id from keys where key_id in ({places}))"
    " union select teams.* from teams join above on teams.team_id = above.parent_id)"
)


@dataclass
class Ahead:
    """Keys, calls and conversations by what they are asked for; None where there is no such row."""

    keys: dict[str, Row | None] = field(default_factory=dict)
    teams: dict[str, Row] = field(default_factory=dict)  # all those above the keys
    calls: dict[str, Row | None] = field(default_factory=dict)
    conversations: dict[bytes, Row | None] = field(default_factory=dict)
    _starts: tuple[str, ...] = ()  # periods whose spending was read
    _spending: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)

    def spending(self, key_id: str, start: str) -> tuple[int, int, int] | None:
        """Return what is spent and reserved by a key or a team, and its requests; None where not read."""
        if (key_id not in self.keys and key_id not in self.teams) or start not in self._starts:
            return None
        return self._spending.get((key_id, start), (0, 0, 0))

    def add(self, key_id: str, start: str, spent: int, reserved: int, requests: int) -> None:
        """Note what was added to a period."""
        known = self.spending(key_id, start)
        if known is not None:
            sums = (min(known[0] + spent, MOST_PICO), known[1] + reserved, known[2] + requests)
            self._spending[key_id, start] = sums

    def clear(self) -> None:
        """Forget all."""
        for rows in (self.keys, self.teams, self.calls, self.conversations, self._spending):
            rows.clear()


class Needs(NamedTuple):
    """What entries are about: ids of keys and calls, digests of conversations."""

    key_ids: set[str]
    request_ids: set[str]
    conversations: set[bytes]


def needs_of(entries: Sequence[Entry], keyed: Callable[[bytes], bytes]) -> Needs:
    """Return what entries are about; ``keyed`` gives what stands for a conversation in the ledger."""
    told = [entry for entry in entries if not isinstance(entry, Heartbeat)]
    turns = {entry.conversation for entry in told if isinstance(entry, Reservation)}
    return Needs(
        {entry.caller.key_id for entry in told if entry.caller.key_id is not None},
        {entry.request_id for entry in told},
        {keyed(turn) for turn in turns if turn},
    )


def read_ahead(db: Store, needs: Needs, now: float) -> Ahead:
    """Read the rows of these keys, calls and conversations, and what the keys and their teams spent now."""
    key_ids, request_ids, conversations = needs
    starts = tuple(period_start(period, now) for period in PERIODS)
    teams_above = f"{TEAMS_ABOVE} select * from above"
    spending = (
        f"{TEAMS_ABOVE} select * from spending where period_start in (?, ?, ?)"
        " and (key_id in ({places}) or key_id in (select team_id from above))"
    )
    keyed, called, talked = _padded(key_ids), _padded(request_ids), _padded(conversations)
    wanted: list[tuple[str, Sequence[Any], Sequence[Any]]] = [
        ("select * from keys where key_id in ({places})", keyed, keyed),
        (teams_above, keyed, keyed),
        (spending, keyed, (*keyed, *starts, *keyed)),
        ("select * from calls where request_id in ({places})", called, called),
        ("select * from conversations where digest in ({places})", talked, talked),
    ]
    asked = [
        (sql.format(places=", ".join("?" * len(named))), values) for sql, named, values in wanted if named
    ]
    found = iter(db.read_many(asked))
    keys, teams, spent, calls, held = (next(found) if named else () for _, named, _ in wanted)
    return Ahead(
        keys=dict.fromkeys(key_ids) | {row["key_id"]: row for row in keys},
        teams={row["team_id"]: row for row in teams},
        calls=dict.fromkeys(request_ids) | {row["request_id"]: row for row in calls},
        conversations=dict.fromkeys(conversations) | {row["digest"]: row for row in held},
        _starts=starts,
        _spending={
            (row["key_id"], row["period_start"]): (row["spent"], row["reserved"], row["requests"])
            for row in spent
        },
    )


def _padded(values: Collection[Any]) -> list[Any]:
    """Repeat a value until there are 1, 2, 4, 8...: few statements to prepare, whatever the groups' sizes."""
    told = list(values)
    return told + told[:1] * ((1 << max(0, len(told) - 1).bit_length()) - len(told))
