"""What was used, by day, key, team and expert: written with the charges, so that their sums are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from serve.ledger.exploring import day_of
from serve.ledger.picodollars import PICO_PER_USD
from serve.ledger.store.store import Row, Store
from warehouse import InputError

By = Literal["day", "key", "team", "expert"]
BYS: tuple[By, ...] = ("day", "key", "team", "expert")
_MOST_TOKENS = 10**12  # of one answer; beyond it is no count
_ADD = """
insert into usage_days as book values (?, ?, ?, ?, ?, ?, ?, ?)
on conflict (day, key_id, team_id, expert) do update set answers = book.answers + excluded.answers,
  prompt_tokens = book.prompt_tokens + excluded.prompt_tokens,
  completion_tokens = book.completion_tokens + excluded.completion_tokens, cost = book.cost + excluded.cost
"""
_COLUMNS = {
    "day": "usage_days.day",
    "key": "coalesce(keys.name, usage_days.key_id)",
    "team": "coalesce(teams.name, '')",
    "expert": "usage_days.expert",
}
_IDS = {"key": "usage_days.key_id", "team": "usage_days.team_id"}  # a name may be used again


class Used(NamedTuple):
    """What a settled call used: the expert that answered, or the last one that was asked."""

    expert: str = ""
    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


NOTHING_TOLD = Used()


@dataclass(frozen=True)
class UsageRecord:
    """Sums over settled requests of keys; what was not asked for is None.

    Attributes:
        day: in UTC, on which the requests came.
        key: name of the key.
        team: name of the team that the key was directly in then; empty for none.
        expert: that answered; empty where a process died with the request.
        answers: that were given.
        prompt_tokens: of these.
        completion_tokens: of these.
        cost_usd: charged, for failed attempts too.
    """

    day: str | None
    key: str | None
    team: str | None
    expert: str | None
    answers: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


class UsageBook:
    """The table ``usage_days`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db

    def add(self, call: Row, team_id: str, used: Used, cost: int) -> None:
        """Add to the day of a call what it used and was charged, in picodollars."""
        if not cost and not used.answers:
            return
        about = (day_of(call["created_at"]), call["key_id"], team_id, used.expert)
        self._db.write(_ADD, (*about, *used[1:], cost))

    def sum_up(self, by: Sequence[str], since: str = "", until: str = "9999") -> list[UsageRecord]:
        """Return what was used, summed up.

        Args:
            by: what the rows are apart by, of :data:`BYS`.
            since: the first day, as 2027-01-31.
            until: the last day.

        Raises:
            InputError: there is no such column.
        """
        for name in by:
            if name not in BYS:
                raise InputError(f"usage is not told by {name!r}", fix=f"give some of {', '.join(BYS)}")
        names = [name for name in BYS if name in by]
        told = ", ".join(f"{_COLUMNS[name]} as {name}_told" for name in names)
        ids = [_IDS.get(name, _COLUMNS[name]) for name in names]
        groups = ", ".join(dict.fromkeys([*ids, *(_COLUMNS[name] for name in names)]))
        order = ", ".join(f"{name}_told" for name in names)
        sums = ", ".join(
            f"cast(coalesce(sum({name}), 0) as bigint) as {name}"
            for name in ("answers", "prompt_tokens", "completion_tokens", "cost")
        )
        rows = self._db.all(
            f"select {f'{told}, ' if names else ''}{sums} from usage_days"
            " left join keys on keys.key_id = usage_days.key_id"
            " left join teams on teams.team_id = usage_days.team_id where day >= ? and day <= ?"
            + (f" group by {groups} order by {order}" if names else ""),
            (since, until),
        )
        return [
            UsageRecord(
                **{name: row[f"{name}_told"] if name in names else None for name in BYS},
                answers=row["answers"],
                prompt_tokens=row["prompt_tokens"],
                completion_tokens=row["completion_tokens"],
                cost_usd=row["cost"] / PICO_PER_USD,
            )
            for row in rows
        ]


def tokens_of(usage: dict[str, Any]) -> tuple[int, int]:
    """Return the tokens of a prompt and an answer; 0 where what is told is no count."""
    told = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    prompt, completion = (
        min(max(one, 0), _MOST_TOKENS) if isinstance(one, int) and not isinstance(one, bool) else 0
        for one in told
    )
    return prompt, completion
