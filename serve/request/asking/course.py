"""The course that asking takes: who is next, what came of each, and which answer is given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from experts.forms import Unusable
from experts.upstream import Failure
from serve.experts.client import ExpertClient

T = TypeVar("T")


@dataclass(frozen=True)
class Attempt:
    """An expert that was asked in vain: it failed, or its answer was not usable."""

    expert: str
    why: Failure | Unusable
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Answered(Generic[T]):
    """What an expert gave, and who was asked in vain."""

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
    agrees: bool  # whether it says what was given back


@dataclass(frozen=True)
class Agreement:
    """What several experts, asked in this order, said of one query."""

    opinions: tuple[Opinion, ...]
    probability: float  # that the answer given back is right


class Course(Protocol[T]):
    """Who is asked next, and which of the answers that came is given back."""

    def next_expert(self) -> ExpertClient | None:
        """Return whom to ask now; None to stop."""
        ...

    @property
    def is_last(self) -> bool:
        """Whether nobody could stand in for the expert that was named just now."""
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
    """The course of a routed request: one after the other, until an answer is usable."""

    def __init__(self, experts: Sequence[ExpertClient], most_answers: int | None = None) -> None:
        """Take ``experts`` in the order to try them; ``most_answers`` are paid at most, failures are none."""
        self._waiting = list(experts)
        self._left = len(experts) if most_answers is None else most_answers

    def next_expert(self) -> ExpertClient | None:
        """Return the next in the order, while no answer is usable."""
        return self._waiting.pop(0) if self._waiting and self._left > 0 else None

    @property
    def is_last(self) -> bool:
        """Whether the order is at its end."""
        return not self._waiting

    def excluded(self, expert: ExpertClient, cost_usd: float = 0.0) -> None:
        """The order goes on."""

    def answered(self, answered: Answered[T]) -> None:
        """A usable answer ends it."""
        self._left = 0 if answered.unusable is None else self._left - 1

    def choose(self, answers: Sequence[Answered[T]]) -> Answered[T]:
        """Return the least unusable answer, the first among equals."""
        return least_unusable(answers)


def least_unusable(answers: Sequence[Answered[T]]) -> Answered[T]:
    """Return a usable answer if there is one, else the one of most use; the first among equals."""
    return min(answers, key=lambda answered: answered.unusable.reason.rank if answered.unusable else -1)
