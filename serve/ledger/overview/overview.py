"""The overview: requests counted as they settle, and what an operator or a key sees of them."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from serve.ledger.accounts.keys import KeyRecord
from serve.ledger.exploring import day_of
from serve.ledger.ledger import Ledger
from serve.ledger.messages import Caller, Settled, Settlement
from serve.ledger.overview.requests import read_request, tallies_of
from serve.ledger.overview.savings import find_savings
from serve.ledger.overview.seen import KeyBudget, Latency, LedgerOverview, RecentRequest, Tally
from serve.ledger.overview.tallies import EVERYBODY, KEPT_DAYS, Place

logger = logging.getLogger("ray.serve")

_MOST_RECENT = 2_000  # requests in memory, for latencies and decisions
_MOST_KNOWN = 50_000  # request ids, so that what is settled again is not counted again
_MOST_SHOWN = 50
_MOST_KEYS = 100
_MOST_PENDING = 20_000  # places; many keys are written down early
_DAY_S = 86_400


class Overview:
    """Counts settlements. Looking costs the same however many there were.

    Args:
        ledger: where the sums are kept, and the keys.
        clock: seconds since 1970.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._ledger, self._clock = ledger, clock
        self._since = clock()
        self._forgotten_before = ""  # the day before which all is forgotten
        self._pending: dict[Place, Tally] = {}
        self._recent: OrderedDict[str, RecentRequest] = OrderedDict()
        self._counted: OrderedDict[str, None] = OrderedDict()  # request ids; answered or not

    def count(self, settlement: Settlement, settled: Settled) -> None:
        """Add what a request came to; once, however often it is settled. The books are written by now."""
        try:
            self._count(settlement, settled)
        except Exception as error:  # a message may quote what was recorded
            logger.error("a request cannot be counted for the overview (%s)", type(error).__name__)

    def flush(self) -> None:
        """Write the sums down; they stay in memory where that fails."""
        if not self._pending:
            return
        everybodys: dict[Place, Tally] = {}
        for place, tally in self._pending.items():
            if place.key_id != EVERYBODY:
                everybodys.setdefault(place._replace(key_id=EVERYBODY), Tally()).add(tally)
        self._ledger.tallies.add([*self._pending.items(), *everybodys.items()])
        self._pending.clear()
        before = day_of(self._clock() - KEPT_DAYS * _DAY_S)
        if before != self._forgotten_before:  # looking for old days reads the whole table
            self._ledger.tallies.forget(before)
            self._forgotten_before = before

    def write_down(self) -> None:
        """Write the sums down if that is possible: whatever it is called beside goes on."""
        try:
            self.flush()
        except Exception as error:
            logger.error("the overview's sums cannot be written now (%s)", type(error).__name__)

    def look(self, caller: Caller, days: int) -> LedgerOverview:
        """Return what a caller may see of the last days, today with them."""
        self.flush()
        key_id = EVERYBODY if caller.sees_all else caller.key_id or EVERYBODY
        first = day_of(self._clock() - (days - 1) * _DAY_S)
        book = self._ledger.tallies
        everything = book.by_name(key_id, "all", first).get("", Tally())
        experts = book.by_name(key_id, "expert", first)
        savings = find_savings(everything, experts)
        best = {} if savings is None else book.by_day(key_id, "expert", savings.best_expert, first)
        mine = [one for one in reversed(self._recent.values()) if caller.sees_all or one.key_id == key_id]
        keys, more = self._keys_of(caller)
        recent = tuple(mine[:_MOST_SHOWN])
        return LedgerOverview(
            sees_all=caller.sees_all,
            counted_since=self._since,
            first_day=first,
            everything=everything,
            experts=experts,
            versions=book.by_name(key_id, "version", first),
            shadows=book.by_name(key_id, "shadow", first) if caller.sees_all else {},
            savings=savings,
            days=tuple(
                (day, tally, best.get(day, Tally()))
                for day, tally in book.by_day(key_id, "all", "", first).items()
            ),
            latency=_latency([one.latency_s for one in mine]) if mine else None,
            latencies=_latencies(mine),
            recent=recent,
            keys=keys,
            more_keys=more,
            key_names=self._ledger.key_names({one.key_id for one in recent if one.key_id is not None}),
        )

    def _count(self, settlement: Settlement, settled: Settled) -> None:
        if settlement.request_id in self._counted:
            return
        now = self._clock()
        day, key_id = day_of(now), settlement.caller.key_id or EVERYBODY
        request = read_request(settlement, settled, now)
        self._counted[settlement.request_id] = None
        while len(self._counted) > _MOST_KNOWN:
            self._counted.popitem(last=False)
        if request is None:
            if settlement.failures:
                self._add(Place(key_id, day, "all"), Tally(failed=1))
            return
        self._recent[request.request_id] = request
        while len(self._recent) > _MOST_RECENT:
            self._recent.popitem(last=False)
        for kind, name, tally in tallies_of(request, settlement):
            self._add(Place(key_id, day, kind, name), tally)
        if len(self._pending) > _MOST_PENDING:
            self.flush()

    def _add(self, place: Place, tally: Tally) -> None:
        known = self._pending.get(place)
        if known is None:
            self._pending[place] = replace(tally)
        else:
            known.add(tally)

    def _keys_of(self, caller: Caller) -> tuple[tuple[KeyBudget, ...], int]:
        if caller.sees_all:
            keys, more = self._ledger.fullest_keys(_MOST_KEYS)
            return tuple(map(_budget, keys)), more
        own = self._ledger.find_key(caller.key_id or EVERYBODY)
        return () if own is None else (_budget(own),), 0


def _budget(key: KeyRecord) -> KeyBudget:
    return KeyBudget(
        key.key_id, key.name, key.budget_usd, key.period, key.spent_usd, key.reserved_usd, key.requests
    )


def _latencies(requests: Sequence[RecentRequest]) -> dict[str, Latency]:
    by_expert: dict[str, list[float]] = {}
    for request in requests:
        by_expert.setdefault(request.expert, []).append(request.latency_s)
    return {name: _latency(found) for name, found in by_expert.items()}


def _latency(latencies_s: Sequence[float]) -> Latency:
    p50_s, p95_s = np.quantile(latencies_s, [0.5, 0.95], method="inverted_cdf")
    return Latency(len(latencies_s), float(p50_s), float(p95_s))
