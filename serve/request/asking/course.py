"""The course that asking takes: who is next, what came of each, and which answer is given back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from experts.forms import Unusable
from experts.upstream import Failure
from serve.experts.client import ExpertClient
from serve.request.asking.hedging import Hedging
from serve.request.asking.latencies import TimeLeft

T = TypeVar("T")

MOST_AT_WORK = 2  # experts on one request at once


@dataclass(frozen=True)
class Attempt:
    """An expert that was asked without success: it failed, or its answer was not usable."""

    expert: str
    why: Failure | Unusable
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Answered(Generic[T]):
    """The answer of an expert, and the experts asked without success."""

    expert: ExpertClient
    value: T
    attempts: tuple[Attempt, ...]
    asked_at: float  # on the clock of time.monotonic
    took_s: float  # from asking it to its answer, or to the first piece of it that shows
    cost_usd: float = 0.0  # of the answer by itself; a stream's is known at its end
    unusable: Unusable | None = None  # the best that came, where nobody gave a usable answer
    agreement: Agreement | None = None  # where several were asked for one answer


@dataclass(frozen=True)
class Opinion:
    """One of several answers to a query."""

    expert: str
    cost_usd: float
    agrees: bool | None  # whether it says what was given back; None where answers cannot be compared


@dataclass(frozen=True)
class Agreement:
    """The answers of several experts to one query, in the order of asking."""

    opinions: tuple[Opinion, ...]
    probability: float  # that the answer given back is right

    @property
    def agreeing(self) -> int | None:
        """How many experts say what was given back; None where answers cannot be compared."""
        said = [one.agrees for one in self.opinions]
        return None if None in said else sum(map(bool, said))


class Course(Protocol[T]):
    """The course: which expert is asked next, and which of the answers is returned."""

    def next_expert(self) -> ExpertClient | None:
        """Return the expert to ask now; None to stop."""
        ...

    @property
    def is_last(self) -> bool:
        """Whether the expert named just now has no fallback."""
        ...

    def awaits_s(self) -> float | None:
        """Return how long to wait for the experts at work: None without limit, 0 if no longer wanted."""
        ...

    def beside_after_s(self) -> float | None:
        """Return in how many seconds another expert is to be asked beside those at work; None: no other."""
        ...

    def next_beside(self) -> ExpertClient | None:
        """Return the expert to ask beside those at work, once that time is over."""
        ...

    def excluded(self, expert: ExpertClient, cost_usd: float = 0.0) -> None:
        """Note that an expert gives no answer: it cannot be asked, or has failed for this much."""
        ...

    def answered(self, answered: Answered[T]) -> None:
        """Note an answer."""
        ...

    def choose(self, answers: Sequence[Answered[T]]) -> Answered[T]:
        """Return the answer to give back, of one or more."""
        ...


class InOrder(Generic[T]):
    """The course of a routed request: one after the other, until an answer is usable.

    Where the time for the answer is bounded, the next one is asked beside one that is silent, at the last
    moment at which it is expected to be in time (a hedged request: Dean and Barroso, *The tail at scale*,
    2013); and sooner where the catalogue entry of the silent one says so.
    """

    def __init__(
        self,
        experts: Sequence[ExpertClient],
        most_answers: int | None = None,
        time_left: TimeLeft | None = None,
        hedging: Hedging | None = None,
    ) -> None:
        """Take ``experts`` in the order to try them; ``most_answers`` are paid at most, failures are none."""
        self._waiting = list(experts)
        self._left = len(experts) if most_answers is None else most_answers
        self._time_left, self._hedging = time_left, hedging
        self._at_work: dict[str, tuple[ExpertClient, float]] = {}  # and since when
        self._beside: ExpertClient | None = None

    def next_expert(self) -> ExpertClient | None:
        """Return the next in the order, while no answer is usable."""
        if not self._waiting or self._left <= 0:
            return None
        return self._begin(self._waiting.pop(0))

    def awaits_s(self) -> float | None:
        """Wait until an answer is usable."""
        return None if self._left > 0 else 0.0

    def beside_after_s(self) -> float | None:
        """Return when the next who would be in time is asked beside a silent one; two are at work at most."""
        self._beside = None
        if not len(self._at_work) < min(MOST_AT_WORK, self._left):
            return None
        wait_s, self._beside = self._hedge()
        stand_in = self._stand_in()
        if stand_in is not None and self._time_left is not None:
            last_s = self._time_left.last_moment_s(stand_in.spec.name)
            if wait_s is None or last_s < wait_s:
                wait_s, self._beside = last_s, stand_in
        return wait_s

    def next_beside(self) -> ExpertClient | None:
        """Return the expert that :meth:`beside_after_s` would ask."""
        if self._beside is None:
            return None
        self._waiting.remove(self._beside)
        return self._begin(self._beside)

    def _begin(self, expert: ExpertClient) -> ExpertClient:
        self._at_work[expert.spec.name] = (expert, time.monotonic())
        return expert

    def _hedge(self) -> tuple[float | None, ExpertClient | None]:
        """Return in how many seconds whom to ask beside the expert at work, as its entry says."""
        if self._hedging is None or not self._at_work:
            return None, None
        (silent, asked_at), *_ = self._at_work.values()
        wait_s = self._hedging.wait_s(silent, asked_at)
        covers = self._hedging.covers
        other = next((one for one in self._waiting if wait_s is not None and covers(silent, one)), None)
        return (None, None) if other is None else (wait_s, other)

    def _stand_in(self) -> ExpertClient | None:
        if self._time_left is None:
            return None
        enough = self._time_left.is_enough_for
        return next((client for client in self._waiting if enough(client.spec.name)), None)

    @property
    def is_last(self) -> bool:
        """Whether the order has no further expert."""
        return not self._waiting

    def excluded(self, expert: ExpertClient, cost_usd: float = 0.0) -> None:
        """The order goes on."""
        self._at_work.pop(expert.spec.name)

    def answered(self, answered: Answered[T]) -> None:
        """A usable answer ends it."""
        self._at_work.pop(answered.expert.spec.name)
        self._left = 0 if answered.unusable is None else self._left - 1

    def choose(self, answers: Sequence[Answered[T]]) -> Answered[T]:
        """Return the least unusable answer, the first among equals."""
        return least_unusable(answers)


def least_unusable(answers: Sequence[Answered[T]]) -> Answered[T]:
    """Return a usable answer if there is one, else the one of most use; the first among equals."""
    return min(answers, key=lambda answered: answered.unusable.reason.rank if answered.unusable else -1)
