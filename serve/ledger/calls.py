"""The money of calls: amounts reserved, charged, disputed and given back.

Before a call is made its highest possible cost is reserved; afterwards its actual cost is settled. Doing
either twice has no effect. A key is never charged more than was reserved: any further claim is for the
operator to dispute. A reservation ends with its owner: if that process dies the call is charged at its
likely cost, since the upstream bills it all the same. What is booked is booked for the key and for every
team above it: see ``accounts/budgets.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.ledger.accounts.budgets import Budget, BudgetBook, places_of, teams_to_keep, tightest
from serve.ledger.accounts.keys import why_ended
from serve.ledger.accounts.usage import NOTHING_TOLD, UsageBook, Used
from serve.ledger.ahead import Ahead
from serve.ledger.messages import CHANGED, ENDED, MOST_USD, Caller, Grant, Refusal, Settled
from serve.ledger.periods import allowance_usd, period_start
from serve.ledger.picodollars import MOST_PICO, PICO_PER_USD, bound_pico, is_bounded, to_pico
from serve.ledger.store.store import Row, Store

EXPIRED_EVERY_S = 1.0  # how often a reservation looks for calls whose time ran out
_ENDED_KEY = Refusal(ENDED["revoked"], "invalid_api_key")
NOBODY = ""  # the key of calls that nobody is charged for

_INSERT = """
insert into calls
(request_id, key_id, period_start, teams, reserved, state, expires_at, created_at, owner, likely)
values (?, ?, ?, ?, ?, 'open', ?, ?, ?, ?)
"""
_END = """
update calls set state = 'expired', cost = case when likely < reserved then likely else reserved end
where state = 'open' and {which} returning *
"""


class CallBook:
    """The tables ``calls`` and ``spending`` of a ledger."""

    def __init__(self, db: Store) -> None:
        self._db = db
        self._budgets = BudgetBook(db)
        self._usage = UsageBook(db)
        self._expired_at = 0.0
        self._ahead = Ahead()

    def reserve(
        self,
        key_id: str,
        request_id: str,
        bounds_usd: Sequence[float],
        *,
        lifetime_s: float,
        now: float,
        owner: str = "",
        likely_usd: Sequence[float] = (),
    ) -> Grant | Refusal:
        """Set money aside for a call: the most that any expert the budget affords can cost."""
        with self._db.transaction():
            self.expire_if_due(now)
            held = self._call(request_id)
            key = self._let_in(key_id, now) if held is None else self._budgets.key(key_id)
            if key is None or isinstance(key, Refusal):
                return key or _ENDED_KEY
            budgets = self._budgets.above(key, now)
            limit = tightest(budgets)
            left = None if limit is None else limit.left
            if held is not None:
                return _grant(key, held["reserved"], left, budgets)
            bounds = [bound_pico(bound) for bound in bounds_usd]
            affordable = [
                index
                for index, bound in enumerate(bounds)
                if left is None or (bound <= left and is_bounded(bounds_usd[index]))
            ]
            if limit is not None and not any(map(is_bounded, bounds_usd)):
                return Refusal(
                    f"{limit.holder} has a budget, and this may cost more than the ${MOST_USD:,.0f} that one"
                    " call can be held to",
                    "unbounded_cost",
                )
            if limit is not None and not affordable:
                self._budgets.note_refusal(limit)
                return Refusal(
                    f"{limit.told_left}, and this request may cost ${min(bounds) / PICO_PER_USD:.6g}",
                    "insufficient_quota",
                )
            amount = max(bounds[index] for index in affordable)
            if any(one.reserved + amount > MOST_PICO for one in budgets):
                return Refusal("too much is set aside for this key", "rate_limit_exceeded", 5.0)
            likely = max((bound_pico(likely_usd[i]) for i in affordable if i < len(likely_usd)), default=0)
            places = [one.place for one in budgets]
            start, teams = places[0][1], teams_to_keep(places)
            ends_at, likely = now + lifetime_s, min(likely, amount)
            self._db.write(_INSERT, (request_id, key_id, start, teams, amount, ends_at, now, owner, likely))
            self._ahead.calls.pop(request_id, None)
            self._budgets.add(places, reserved=amount, requests=1)
            # Without what this one may cost at most: the last request must find as much again.
            return _grant(key, amount, None if left is None else left - amount, budgets)

    def refuse(self, caller: Caller, request_id: str, now: float) -> Refusal | None:
        """Return why a caller with a key may not begin a call; None if it may, or has begun it already.

        Its secret must be one of the key's, and what is known of the key what the key is now.
        """
        key = self._let_in(caller.key_id or NOBODY, now, caller)
        if not isinstance(key, Refusal) or self._call(request_id) is not None:
            return None
        return key

    def extend(
        self, request_id: str, extra_usd: float, *, number: int = 0, likely_usd: float = 0.0
    ) -> Grant | Refusal:
        """Set more aside for a call that is open, before a further attempt is made.

        Args:
            number: counts the extensions of a call from 1; one that was made is not made again.
        """
        with self._db.transaction():
            call = self._call(request_id)
            if call is None or not self._is_open_again(call):
                return Refusal("the time of this request is over", "insufficient_quota")
            key = self._valid_key(call["key_id"])
            if isinstance(key, Refusal):
                return key
            budgets = self._budgets.of_call(call)
            limit = tightest(budgets)
            left = None if limit is None else limit.left
            if number and number <= call["extensions"]:
                return _grant(key, call["reserved"], left, budgets)
            extra = bound_pico(extra_usd)
            if limit is not None and left is not None and (extra > left or not is_bounded(extra_usd)):
                return Refusal(
                    f"{limit.told_left}, and another attempt may cost ${extra / PICO_PER_USD:.6g}",
                    "insufficient_quota",
                )
            if any(one.reserved + extra > MOST_PICO for one in budgets):
                return Refusal("too much is set aside for this key", "rate_limit_exceeded", 5.0)
            total = call["reserved"] + extra
            likely = min(call["likely"] + bound_pico(likely_usd), total)
            self._db.write(
                "update calls set reserved = ?, likely = ?, extensions = ? where request_id = ?",
                (total, likely, max(call["extensions"], number), request_id),
            )
            self._ahead.calls.pop(request_id, None)
            self._budgets.add(places_of(call), reserved=extra)
            return _grant(key, total, None if left is None else left - extra, budgets)

    def settle(
        self,
        request_id: str,
        cost_usd: Any,
        *,
        now: float,
        disputed_usd: Any = 0.0,
        key_id: str | None = None,
        used: Used = NOTHING_TOLD,
    ) -> Settled:
        """Charge what a call cost, within its reservation, and give the rest back.

        A settled call is left as it is. A call that was ended without its owner is corrected: it is charged
        once, at its actual cost, as far as its budget allows. A cost that is no number counts as the likely
        cost, else as the whole reservation.
        """
        with self._db.transaction():
            call = self._call(request_id)
            claimed, disputed = to_pico(cost_usd), to_pico(disputed_usd) or 0
            if call is None:
                return self._settle_nobodys(request_id, key_id, disputed, now)
            if call["state"] == "settled":
                return Settled(call["cost"] / PICO_PER_USD, call["disputed"] / PICO_PER_USD)
            if claimed is None:
                claimed = call["likely"] or call["reserved"]
            charged, before = min(claimed, call["reserved"]), call["cost"] or 0
            if call["state"] != "open" and charged > before:
                charged = min(charged, before + self._left(call))
            disputed += claimed - charged
            held = call["reserved"] if call["state"] == "open" else 0
            if before:
                self._note_usage(call, -before)
            self._note_usage(call, charged, used)
            self._db.write(
                "update calls set state = 'settled', cost = ?, disputed = ? where request_id = ?",
                (charged, disputed, request_id),
            )
            self._ahead.calls.pop(request_id, None)
            self._budgets.add(
                places_of(call),
                spent=charged - before,
                reserved=-held,
                disputed=disputed - call["disputed"],
            )
            return Settled(charged / PICO_PER_USD, disputed / PICO_PER_USD)

    def use(self, ahead: Ahead) -> None:
        """Take rows from there as long as it has them, until the next call of this."""
        self._ahead = ahead
        self._budgets.use(ahead)

    def allowance_usd(self, key_id: str, now: float) -> float | None:
        """Return what a paced key has for each request still to come; None where it is not paced."""
        key = self._budgets.key(key_id)
        if key is None or key["budget"] is None:
            return None
        budgets = self._budgets.above(key, now)
        limit = tightest(budgets)
        return allowance_usd(key["paced_over"], None if limit is None else limit.left, budgets[0].requests)

    def expire_if_due(self, now: float) -> None:
        """End calls whose time ran out, now and then."""
        if not 0 <= now - self._expired_at < EXPIRED_EVERY_S:
            self.expire(now)

    def expire(self, now: float) -> None:
        """End calls whose time ran out; those from the future (a clock was set back) are dated anew."""
        self._db.write(
            "update calls set expires_at = ? + (expires_at - created_at), created_at = ?"
            " where state = 'open' and created_at > ?",
            (now, now, now + 60),
        )
        self._end("expires_at < ?", now)
        self._expired_at = now

    def free_calls_of(self, owner: str) -> int:
        """End the calls of a process that died; return how many there were."""
        with self._db.transaction():
            return self._end("owner = ?", owner)

    def owners_of_open_calls(self) -> set[str]:
        """Return the processes that have calls under way."""
        rows = self._db.all("select distinct owner from calls where state = 'open' and owner <> ''")
        return {str(row["owner"]) for row in rows}

    def forget(self, ended_before: float, limit: int) -> None:
        """Forget calls whose reservation ended before then; what they came to stays in their periods."""
        with self._db.transaction():
            forgotten = self._db.all(
                "delete from calls where request_id in (select request_id from calls where state <> 'open'"
                " and expires_at < ? order by expires_at limit ?) returning *",
                (ended_before, limit),
            )
            sums: dict[tuple[str, str], tuple[int, int]] = {}
            for call in forgotten:
                for place in places_of(call):
                    spent, disputed = sums.get(place, (0, 0))
                    sums[place] = (spent + (call["cost"] or 0), disputed + call["disputed"])
            for place, (spent, disputed) in sums.items():
                book = self._db.one(
                    "select forgotten_spent, forgotten_disputed from spending"
                    " where key_id = ? and period_start = ?",
                    place,
                )
                if book is None:
                    continue
                spent = min(book["forgotten_spent"] + spent, MOST_PICO)
                disputed = min(book["forgotten_disputed"] + disputed, MOST_PICO)
                self._db.write(
                    "update spending set forgotten_spent = ?, forgotten_disputed = ?"
                    " where key_id = ? and period_start = ?",
                    (spent, disputed, *place),
                )

    def _settle_nobodys(self, request_id: str, key_id: str | None, disputed: int, now: float) -> Settled:
        """Keep what is disputed about a call without a reservation, which charges nobody."""
        if disputed:
            start = period_start("total", now)
            self._db.write(
                "insert into calls (request_id, key_id, period_start, reserved, cost, state, expires_at,"
                " created_at, disputed) values (?, ?, ?, 0, 0, 'settled', ?, ?, ?)",
                (request_id, key_id or NOBODY, start, now, now, disputed),
            )
            self._ahead.calls.pop(request_id, None)
            self._budgets.add([(key_id or NOBODY, start)], disputed=disputed)
        return Settled(None, disputed / PICO_PER_USD)

    def _end(self, which: str, value: Any) -> int:
        self._ahead.clear()  # it is not said which of its calls these are
        ended = self._db.all(_END.format(which=which), (value,))
        for call in ended:
            self._budgets.add(places_of(call), spent=call["cost"], reserved=-call["reserved"])
            self._note_usage(call, call["cost"])
        return len(ended)

    def _is_open_again(self, call: Row) -> bool:
        """Open a call once more that was ended though its process lives; False where that cannot be."""
        if call["state"] == "open":
            return True
        if call["state"] == "settled" or call["reserved"] - call["cost"] > self._left(call):
            return False
        self._db.write(
            "update calls set state = 'open', cost = null where request_id = ?", (call["request_id"],)
        )
        self._ahead.calls.pop(call["request_id"], None)
        self._budgets.add(places_of(call), spent=-call["cost"], reserved=call["reserved"])
        self._note_usage(call, -call["cost"])
        return True

    def _note_usage(self, call: Row, cost: int, used: Used = NOTHING_TOLD) -> None:
        """Tell on which day, by whom and for whom something was charged: nobody, where its process died."""
        (_, *teams) = places_of(call)
        self._usage.add(call, teams[0][0] if teams else "", used, cost)

    def _left(self, call: Row) -> int:
        limit = tightest(self._budgets.of_call(call))
        return MOST_PICO if limit is None or limit.left is None else max(0, limit.left)

    def _call(self, request_id: str) -> Row | None:
        if request_id in self._ahead.calls:
            return self._ahead.calls[request_id]
        return self._db.one("select * from calls where request_id = ?", (request_id,))

    def _valid_key(self, key_id: str) -> Row | Refusal:
        """Return a key that may go on with what it began: one that has expired since may."""
        key = self._budgets.key(key_id)
        if key is None or key["revoked_at"] is not None:
            return _ENDED_KEY
        return key

    def _let_in(self, key_id: str, now: float, caller: Caller | None = None) -> Row | Refusal:
        """Return a key that may begin something, where it is told: by the facts that its caller has."""
        key = self._valid_key(key_id)
        if isinstance(key, Refusal):
            return key
        if ended := why_ended(key, None if caller is None else caller.rotation, now):
            return Refusal(ENDED[ended], "invalid_api_key")
        if caller is not None and caller.changes != key["changes"]:
            return Refusal(CHANGED, "key_changed")
        return key


def _grant(key: Row, amount: int, left: int | None, budgets: Sequence[Budget]) -> Grant:
    left_usd = None if left is None else left / PICO_PER_USD
    requests = budgets[0].requests if budgets else 0
    return Grant(amount / PICO_PER_USD, left_usd, allowance_usd(key["paced_over"], left, requests))
