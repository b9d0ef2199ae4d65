"""A cap on spending that is never passed: the worst case is set aside before a question is asked.

What a question costs is known when its answer is there; by then it is too late to ask whether there was money
for it. So the dearest outcome (the prompt, and every completion token that is allowed) is reserved first, and
the difference comes back when the bill is known. A request that may have been billed without an answer (a
timeout, a connection that broke) is settled at its worst case.
"""

from __future__ import annotations

import enum
import itertools
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from warehouse import InputError


class ReserveOutcome(enum.Enum):
    """What came of asking for money."""

    GRANTED = "granted"
    WAIT = "wait"  # it does not fit now, but may when what is in flight is settled
    REFUSED = "refused"  # it will never fit


class Purse(Protocol):
    """Where a backend gets leave to spend."""

    def reserve(self, usd: float) -> ReserveOutcome:
        """Set money aside, or say why not."""
        ...

    def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """Give back a reservation and book what it came to."""
        ...


class SpendCap:
    """Money that may be spent, shared by any number of holders; safe to use from many threads.

    Sums are exact: in floats, reservations that all came back could leave a remainder, and who waits for what
    is in flight would wait for it for ever. What is settled is therefore one reservation, to the digit.

    Args:
        cap_usd: what may be spent in all; finite and not negative.

    Raises:
        InputError: the cap is not such a number.
    """

    def __init__(self, cap_usd: float) -> None:
        if not 0 <= cap_usd < float("inf"):
            raise InputError(f"a budget of {cap_usd} USD", fix="give a finite number, 0 or more")
        self.cap_usd = cap_usd
        # Amounts of a catalogue's prices that add up to the cap may miss it by less than any price.
        self._most_usd = Fraction(cap_usd) * (1 + Fraction(1, 10**12))
        self._spent_usd = Fraction(0)
        self._reserved_usd: dict[str, Fraction] = {}
        self._lock = threading.Lock()

    def reserve(self, usd: float, holder: str = "") -> ReserveOutcome:
        """Set ``usd`` aside for a holder if it fits under the cap together with all that is out already."""
        with self._lock:
            out = sum(self._reserved_usd.values())
            if self._spent_usd + out + Fraction(usd) <= self._most_usd:
                self._reserved_usd[holder] = self._reserved_usd.get(holder, 0) + Fraction(usd)
                return ReserveOutcome.GRANTED
            return ReserveOutcome.WAIT if out > 0 else ReserveOutcome.REFUSED

    def settle(self, reserved_usd: float, spent_usd: float, holder: str = "") -> None:
        """Give a reservation back and book ``spent_usd`` in its place."""
        with self._lock:
            left = self._reserved_usd.get(holder, 0) - Fraction(reserved_usd)
            if left > 0:
                self._reserved_usd[holder] = left
            else:
                self._reserved_usd.pop(holder, None)
            self._spent_usd += Fraction(spent_usd)

    def forfeit(self, holder: str) -> None:
        """Book all that holders of this name or prefix had out as spent: they died, the bills may come."""
        with self._lock:
            for name in [name for name in self._reserved_usd if name.startswith(holder)]:
                self._spent_usd += self._reserved_usd.pop(name)

    def spent_usd(self) -> float:
        """What has been spent so far, requests with an unknown outcome at their worst case."""
        with self._lock:
            return float(self._spent_usd)


def reserve_patiently(purse: Purse, usd: float, *, poll_s: float = 0.02) -> bool:
    """Reserve as soon as it fits; False when it never will."""
    while (grant := purse.reserve(usd)) is ReserveOutcome.WAIT:
        time.sleep(poll_s)
    return grant is ReserveOutcome.GRANTED


def reserve_batch(purse: Purse, worst_usd: Sequence[float]) -> tuple[int, float]:
    """Reserve for as many questions, in their order, as there is money for; return how many and the sum.

    The sum is one reservation, to be settled as one.
    """
    sums_usd = list(itertools.accumulate(worst_usd, initial=0.0))  # of the first 0, 1, 2, ... questions
    if not worst_usd or reserve_patiently(purse, sums_usd[-1]):
        return len(worst_usd), sums_usd[-1]
    for count in range(len(worst_usd) - 1, 0, -1):
        # Not patiently: fewer questions may fit at once.
        if purse.reserve(sums_usd[count]) is ReserveOutcome.GRANTED:
            return count, sums_usd[count]
    return 0, 0.0
