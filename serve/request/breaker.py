"""Circuit breaker: an expert that keeps failing is left alone for a while, then tried again.

It counts what the expert did, not what one caller's requests did to it. Some failures say of themselves that
they lie with the expert or the operator's account; others (a time-out, an error, a broken reply) may lie with
the request that met them. Those rest the expert for the caller who met them several times in a row; for all
they count once a caller.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from experts.catalogue.cooldown import Cooldown
from experts.upstream import Failure, FailureKind

_USUAL = Cooldown()
FAILURES_TO_REST, FIRST_REST_S, LONGEST_REST_S = _USUAL.after_failures, _USUAL.first_s, _USUAL.longest_s
LONGEST_RETRY_AFTER_S = 3_600.0  # that an upstream is left alone for at its own wish
_MOST_CALLERS = 10_000

#: What a request may cause by itself: being long, or being odd.
_MAY_LIE_WITH_THE_REQUEST = {
    FailureKind.TIMEOUT,
    FailureKind.STALLED,
    FailureKind.BROKEN_CONNECTION,
    FailureKind.SERVER_ERROR,
    FailureKind.MALFORMED,
    FailureKind.EMPTY,
    FailureKind.CUT_STREAM,
}
_OF_TIME = {FailureKind.TIMEOUT, FailureKind.STALLED}


@dataclass
class _Row:
    """Failures in a row, and the rest that they led to."""

    failures: int = 0
    callers: set[str] = field(default_factory=set)  # who met what may lie with their request
    rests_since: float = 0.0
    rests_until: float = 0.0

    @property
    def strikes(self) -> int:
        return self.failures + len(self.callers)

    def strike(self, cooldown: Cooldown, now: float, least_s: float, *, at_once: bool) -> None:
        """Rest if that was one failure too many, each time twice as long."""
        rest_s = cooldown.rest_s(self.strikes)
        if not rest_s and not at_once:
            return
        # After the rest a failure of anyone is one more.
        self.failures, self.callers = self.strikes, set()
        self.rests_since = now
        self.rests_until = max(self.rests_until, now + max(rest_s, least_s))

    def is_resting(self, now: float) -> bool:
        return self.rests_until > now


@dataclass
class Breaker:
    """Counts failures in a row. From the third on an expert rests, each time twice as long.

    How many failures and how long is its own setting: :class:`experts.catalogue.cooldown.Cooldown`.
    It rests at once where the operator's account is to blame, or where the upstream asks for it. When its
    rest is over the next request tries it: one success clears it, one failure sends it back.
    """

    clock: Callable[[], float] = time.monotonic
    cooldowns: Mapping[str, Cooldown] = field(default_factory=dict)  # by expert; the usual one for others
    _for_all: dict[str, _Row] = field(default_factory=dict)
    _for_one: OrderedDict[tuple[str, str], _Row] = field(default_factory=OrderedDict)
    _last_failed: dict[str, str] = field(default_factory=dict)  # who met an expert's last failure
    _overruns: dict[str, int] = field(default_factory=dict)

    def record(
        self, expert: str, failure: Failure | None, caller: str | None, asked_at: float | None = None
    ) -> None:
        """Note how a request to an expert went.

        Args:
            expert: who was asked.
            failure: None for an answer. One that is its request's or its caller's own says nothing.
            caller: the key; None where callers cannot be told apart, who then count as one.
            asked_at: when, on our clock. What was asked before a rest began says nothing new about it.
        """
        now = self.clock()
        asked_at = now if asked_at is None else asked_at
        if failure is None:
            self._clear(expert, caller, asked_at)
        elif failure.is_our_fault:
            self._fail(expert, failure, caller, now)

    def record_overrun(self, expert: str, *, overran: bool) -> None:
        """Note whether an answer went past its tokens; several in a row rest an expert."""
        if not overran:
            self._overruns.pop(expert, None)
            return
        self._overruns[expert] = count = self._overruns.get(expert, 0) + 1
        cooldown = self._cooldown_of(expert)
        if count >= cooldown.after_failures:
            row = self._for_all.setdefault(expert, _Row())
            row.failures = max(row.failures, count)
            row.strike(cooldown, self.clock(), 0.0, at_once=False)

    def resting(self, experts: Iterable[str], caller: str | None) -> tuple[str, ...]:
        """Return those of the experts that should be left alone now by this caller."""
        now = self.clock()
        return tuple(name for name in experts if self._rests(name, caller, now))

    def out_of_service(self, experts: Iterable[str]) -> tuple[str, ...]:
        """Return those of the experts that rest for all, or for who asked last (unless for being slow)."""
        now = self.clock()
        return tuple(name for name in experts if self._rests(name, self._last_failed.get(name), now))

    def rests_for_s(self, expert: str) -> float:
        """Return for how many seconds an expert is still left alone by all; 0 where it is not."""
        row = self._for_all.get(expert)
        return 0.0 if row is None else max(0.0, row.rests_until - self.clock())

    def _cooldown_of(self, expert: str) -> Cooldown:
        return self.cooldowns.get(expert, _USUAL)

    def _rests(self, expert: str, caller: str | None, now: float) -> bool:
        rows = [self._for_all.get(expert), self._for_one.get((expert, caller or ""))]
        return any(row is not None and row.is_resting(now) for row in rows)

    def _clear(self, expert: str, caller: str | None, asked_at: float) -> None:
        self._last_failed.pop(expert, None)
        row = self._for_all.get(expert)
        if row is not None and asked_at >= row.rests_since:
            del self._for_all[expert]
        own = self._for_one.get((expert, caller or ""))
        if own is not None and asked_at >= own.rests_since:
            del self._for_one[expert, caller or ""]

    def _fail(self, expert: str, failure: Failure, caller: str | None, now: float) -> None:
        retry_after_s = max(0.0, min(failure.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))
        at_once = failure.consequence.rest == "at_once" or retry_after_s > 0
        least_s = max(failure.consequence.rest_s, retry_after_s)
        row = self._for_all.setdefault(expert, _Row())
        if row.is_resting(now):
            # What was under way when the rest began says nothing new, but for how long the upstream wants it.
            row.rests_until = max(row.rests_until, now + retry_after_s)
            return
        if caller is None or failure.kind not in _MAY_LIE_WITH_THE_REQUEST:
            row.failures += 1
        else:
            self._fail_one(expert, caller, failure, now, least_s)
            if caller in row.callers and not at_once:
                return
            row.callers.add(caller)
        row.strike(self._cooldown_of(expert), now, least_s, at_once=at_once)

    def _fail_one(self, expert: str, caller: str, failure: Failure, now: float, least_s: float) -> None:
        own = self._for_one.setdefault((expert, caller), _Row())
        self._for_one.move_to_end((expert, caller))
        if len(self._for_one) > _MOST_CALLERS:
            self._for_one.popitem(last=False)
        if not own.is_resting(now):
            own.failures += 1
            own.strike(self._cooldown_of(expert), now, least_s, at_once=False)
        if failure.kind not in _OF_TIME:
            self._last_failed[expert] = caller
