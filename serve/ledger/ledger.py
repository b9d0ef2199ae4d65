"""The ledger: keys, budgets and what was spent, in a store that survives any crash.

Money is kept in whole picodollars (1e-12 USD), so that sums are exact; ``calls.py`` says what is charged,
``accounts/`` who may ask and within which budgets, ``store/`` where all this is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from serve.ledger.accounts.keys import KeyBook, KeyRecord
from serve.ledger.accounts.log import AdminLog
from serve.ledger.accounts.teams import TeamBook, TeamRecord
from serve.ledger.accounts.usage import NOTHING_TOLD, UsageBook, Used
from serve.ledger.ahead import Ahead, Needs, read_ahead
from serve.ledger.alerts.outbox import AlertBook
from serve.ledger.calls import CallBook
from serve.ledger.exploring import ExploringBook
from serve.ledger.messages import Caller, Grant, Period, Refusal, Settled
from serve.ledger.overview.tallies import TallyBook
from serve.ledger.store.place import LEDGER_FILE, Place, open_store
from serve.ledger.traffic.waiting import WaitingTraffic

__all__ = ["LEDGER_FILE", "KeyRecord", "Ledger", "Period", "TeamRecord"]


class Ledger:
    """The ledger at one place. Several processes may have it open at once."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._db = open_store(place)
        self._ahead = Ahead()
        self._calls = CallBook(self._db)
        keys = KeyBook(self._db)
        self.active_key = keys.active_key
        self.create_key, self.rotate_key, self.revoke_key = keys.create_key, keys.rotate_key, keys.revoke_key
        self.change_key, self.list_keys, self.identify = keys.change_key, keys.list_keys, keys.identify
        self.find_key, self.fullest_keys, self.key_names = keys.find_key, keys.fullest_keys, keys.key_names
        teams = TeamBook(self._db)
        self.create_team, self.change_team = teams.create_team, teams.change_team
        self.remove_team, self.list_teams = teams.remove_team, teams.list_teams
        self.alerts = AlertBook(self._db)
        self.usage, self.log, self.key_row = UsageBook(self._db), AdminLog(self._db), keys.key_row
        self.note_keys = self._db.note_keys
        self.traffic = WaitingTraffic(self._db)
        self.exploring = ExploringBook(self._db)
        self.tallies = TallyBook(self._db)

    def reserve(
        self,
        key_id: str,
        request_id: str,
        bounds_usd: Sequence[float],
        *,
        lifetime_s: float,
        now: float | None = None,
        owner: str = "",
        likely_usd: Sequence[float] = (),
    ) -> Grant | Refusal:
        """Set money aside for a call: the most that any expert the budget affords can cost.

        Whether the caller's secret and limits are those of the key is asked before, see :meth:`refuse`.

        Args:
            key_id: whose budget.
            request_id: names the call; reserving again for the same one gives the same grant.
            bounds_usd: per expert, the most that its answer can cost.
            lifetime_s: after so many seconds a reservation that nobody settles ends.
            now: seconds since 1970; the present by default.
            owner: the process that works on the call.
            likely_usd: per expert, what is charged where the call ends without being settled.
        """
        now = time.time() if now is None else now
        return self._calls.reserve(
            key_id,
            request_id,
            bounds_usd,
            lifetime_s=lifetime_s,
            now=now,
            owner=owner,
            likely_usd=likely_usd,
        )

    def extend(
        self, request_id: str, extra_usd: float, *, number: int = 0, likely_usd: float = 0.0
    ) -> Grant | Refusal:
        """Set more aside for a call under way; see :meth:`CallBook.extend`."""
        return self._calls.extend(request_id, extra_usd, number=number, likely_usd=likely_usd)

    def refuse(self, caller: Caller, request_id: str) -> Refusal | None:
        """Return why a caller may not begin a call; None if it may; see :meth:`CallBook.refuse`."""
        return self._calls.refuse(caller, request_id, time.time())

    def allowance_usd(self, key_id: str) -> float | None:
        """The budget of a paced key that is left per remaining request; None if the key is not paced."""
        return self._calls.allowance_usd(key_id, time.time())

    def settle(
        self,
        request_id: str,
        cost_usd: float,
        *,
        disputed_usd: float = 0.0,
        key_id: str | None = None,
        used: Used = NOTHING_TOLD,
    ) -> Settled:
        """Charge what a call cost, and give the rest of its reservation back.

        A call that is settled already is left as it is; one without a reservation charges nobody. A call that
        settles after its reservation ended is charged all the same, once: its answer was given. What it cost
        beyond its reservation is not charged, but disputed.
        """
        with self.transaction():
            return self._calls.settle(
                request_id, cost_usd, disputed_usd=disputed_usd, key_id=key_id, now=time.time(), used=used
            )

    def beat(self, owner: str) -> None:
        """Note that a process that owns calls is alive; every bookkeeper of this ledger sees it."""
        self._db.write(
            "insert into owners as known values (?, 1)"
            " on conflict (owner) do update set beats = known.beats + 1",
            (owner,),
        )

    def beats(self) -> dict[str, int]:
        """Return how often each process showed life; 0 for owners of open calls that never did."""
        known = {str(row["owner"]): int(row["beats"]) for row in self._db.all("select * from owners")}
        return dict.fromkeys(self._calls.owners_of_open_calls(), 0) | known

    def bury(self, owner: str) -> int:
        """End the calls of a process that died, charged as they likely came to; return how many."""
        with self.transaction():
            self._db.write("delete from owners where owner = ?", (owner,))
            return self._calls.free_calls_of(owner)

    def end_overdue(self, now: float | None = None) -> None:
        """End the calls whose time ran out."""
        with self.transaction():
            self._calls.expire(time.time() if now is None else now)

    def take_decisions(self, limit: int = 10_000) -> list[dict[str, Any]]:
        """Return decisions that an earlier version left here, oldest first; they stay until dropped."""
        rows = self._db.all("select * from decisions order by created_at limit ?", (limit,))
        return [
            json.loads(row["content"]) | {"key_id": row["key_id"], "feedback_score": row["feedback_score"]}
            for row in rows
        ]

    def drop_decisions(self, request_ids: Sequence[str]) -> None:
        """Forget decisions that are in the warehouse."""
        with self.transaction():
            self._db.write_many(
                "delete from decisions where request_id = ?", [(request_id,) for request_id in request_ids]
            )

    def expert_of(self, conversation: bytes) -> tuple[str, float] | None:
        """Return who gave the last answer of a conversation, by its digest, and how many seconds ago."""
        if conversation in self._ahead.conversations:
            row = self._ahead.conversations[conversation]
        else:
            row = self._db.one("select * from conversations where digest = ?", (conversation,))
        return None if row is None else (str(row["expert"]), max(0.0, time.time() - row["answered_at"]))

    def remember_expert(self, conversation: bytes, expert: str) -> None:
        """Note who gave the last answer of a conversation."""
        self._db.write(
            "insert into conversations values (?, ?, ?) on conflict (digest) do update set"
            " expert = excluded.expert, answered_at = excluded.answered_at",
            (conversation, expert, time.time()),
        )
        self._ahead.conversations.pop(conversation, None)

    def forget_conversations(self, older_than_s: float) -> None:
        """Forget who answered conversations that have been silent for so long."""
        self._db.write("delete from conversations where answered_at < ?", (time.time() - older_than_s,))

    def forget_calls(self, ended_before_s: float, limit: int = 50_000) -> None:
        """Forget calls whose reservation ended so long ago; what they came to stays in their key's period.

        At most ``limit`` at once, the oldest first: nobody else can write meanwhile.
        """
        self._calls.forget(time.time() - ended_before_s, limit)

    def wipe(self) -> None:
        """Leave nothing of removed rows, as far as the store lets us."""
        self._db.wipe()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Do all inside the block or nothing, with one commit; blocks may be nested."""
        return self._db.transaction()

    @property
    def in_transaction(self) -> bool:
        """Whether one is under way; a store in trouble ends it by itself."""
        return self._db.in_transaction

    @contextmanager
    def together(self, find_needs: Callable[[], Needs]) -> Iterator[None]:
        """Begin a transaction; where reading is dear, read at once what the entries in it will need."""
        with self.transaction():
            if self._db.is_remote:
                now = time.time()
                self._calls.expire_if_due(now)
                self._ahead = read_ahead(self._db, find_needs(), now)
                self._calls.use(self._ahead)
            try:
                yield
            finally:
                self._ahead = Ahead()
                self._calls.use(self._ahead)

    @contextmanager
    def noted(self, actor: str, action: str, target: str, settings: Mapping[str, Any]) -> Iterator[None]:
        """Note a change of keys or teams with what makes it, inside the block; together or not at all."""
        with self.transaction():
            yield
            self.log.note(actor, action, target, settings)
        if action == "keys.create":
            self.note_keys()

    def carrying(self) -> AbstractContextManager[None]:
        """Carry the traffic away; of several nodes one at a time, or each would carry the same rows."""
        return self._db.exclusively("carrying")

    def alone(self) -> AbstractContextManager[None]:
        """Do everything inside the block or nothing of it, within a larger transaction."""
        return self._db.savepoint()
