"""Whether closing a gap pays: expected gain from a probe's learning curve, its costs, and what it is worth.

The probe is a short training. Its validation accuracy, with the interval of so few questions, is what the
specialist surely reaches; what the rest of the training adds is guessed from the last doubling of the data,
which rarely underestimates: the value is reckoned at the low end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.answering.domains import accuracy_interval
from pipelines.forge.closing.compare import Interval
from universe.analysis.candidate import CandidateValue, value_candidate
from universe.model.expectation import Expected
from universe.model.program import build_program
from warehouse import InputError, Outcomes, TooFewError

HOURS_PER_MONTH = 730.0


@dataclass(frozen=True)
class CurvePoint:
    """Validation accuracy after so many training questions, chance not taken out."""

    questions: int
    accuracy: float


@dataclass(frozen=True)
class Prices:
    """What the work costs, and what a right answer is worth."""

    usd_per_hour: float  # of the machine that trains
    hosting_usd_per_hour: float = 0.0  # that the adapter adds to its base's engine
    score_price_usd: float = 0.0  # of one whole point of score on one query
    queries_per_month: float = 0.0
    months: float = 6.0  # in which it has to pay for itself

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"must be a number of at least 0, not {value}", where=f"prices, {name}")


@dataclass(frozen=True)
class GapPlan:
    """What closing a gap takes and brings; ``pays`` at the low end of the expected accuracy."""

    gap: str
    base: str
    questions: int
    share: float  # of the traffic, or of the questions
    now: float  # accuracy of the best expert there
    expected: Interval  # accuracy of the specialist
    training_hours: float
    training_usd: float
    hosting_usd_per_month: float
    worth_usd_per_month: Interval  # at the low end, the middle and the high end
    value: CandidateValue  # of the hypothetical expert to the universe, at its base's price
    months: float

    @property
    def pays(self) -> bool:
        """Whether the universe takes it and it earns its training and hosting in the months given."""
        earned = (self.worth_usd_per_month.low - self.hosting_usd_per_month) * self.months
        return self.value.chosen and earned > self.training_usd

    @property
    def reason(self) -> str:
        """The decision in a sentence, with its figures."""
        if not self.value.chosen:
            return (
                f"no: the universe would not take it (score {self.value.gain:+.4f} at"
                f" {1000 * self.value.price_usd:.6f} USD per 1,000 queries)"
            )
        income = self.worth_usd_per_month.low - self.hosting_usd_per_month
        sums = (
            f"{self.worth_usd_per_month.low:.4f} USD a month at the low end, hosting"
            f" {self.hosting_usd_per_month:.4f}, training {self.training_usd:.4f} once"
        )
        if self.pays:
            return f"yes: worth {sums}; paid for after {self.training_usd / income:.1f} months"
        return f"no: worth {sums}; it does not earn that in {self.months:g} months"


def expect_accuracy(curve: Sequence[CurvePoint], validation: int, questions: int) -> Interval:
    """Accuracy after ``questions`` training questions, from a probe's curve.

    The low end is the low end of what the probe has reached (95%, Agresti and Coull 1998, of so many
    validation questions); the middle adds half of the last doubling's gain for each doubling to come, each
    time halved again; the high end goes on at the last doubling's pace, up to 1.

    Raises:
        TooFewError: the curve has fewer than two points with questions.
    """
    points = sorted((p for p in curve if p.questions > 0), key=lambda p: p.questions)
    if len(points) < 2 or validation < 1:
        raise TooFewError(
            f"a learning curve of {len(points)} points says nothing of what more questions bring",
            where="the probe",
            fix="give it more steps, so that it is evaluated twice at least (--probe-steps)",
        )
    last = points[-1]
    before = min(points[:-1], key=lambda p: abs(math.log2(last.questions / p.questions) - 1))
    pace = max(0.0, last.accuracy - before.accuracy) / max(math.log2(last.questions / before.questions), 1e-9)
    doublings = max(0.0, math.log2(questions / last.questions))
    low, high = accuracy_interval(last.accuracy, validation)
    middle = last.accuracy + pace * (1 - 0.5**doublings)  # the sum of pace/2, pace/4, ...
    return Interval(min(1.0, middle), low, min(1.0, max(high, last.accuracy + pace * doublings, middle)))


def value_hypothetical(
    outcomes: Outcomes, expected: Expected, base: str, in_gap: np.ndarray, accuracy: float,
    *, price_weight: float = 0.0,
) -> CandidateValue:  # fmt: skip
    """What an expert that is its base elsewhere and reaches ``accuracy`` in the gap is worth to the universe.

    Args:
        outcomes: n questions, m experts.
        expected: cross-fitted, rows as in ``outcomes``.
        base: one of the experts.
        in_gap: mask [n] of the gap's questions.
        accuracy: of the specialist there.
        price_weight: the score that one USD per query has to buy.

    Raises:
        InputError: no such expert, or no question lies in the gap.
    """
    if base not in outcomes.experts:
        raise InputError(f"no outcomes of {base!r}", where="--base", fix="ask it some questions first")
    if not in_gap.any():
        raise InputError("no question of the gap is among the outcomes", fix="play a round with that domain")
    j = outcomes.experts.index(base)
    own = expected.score[:, [j]].copy()
    own[in_gap] = accuracy
    program = build_program(
        (*outcomes.experts, f"{base}-specialist"),
        np.hstack([expected.score, own]),
        np.hstack([expected.cost_usd, expected.cost_usd[:, [j]]]),
        domains=outcomes.domains,
        price_weight=price_weight,
    )
    return value_candidate(program, f"{base}-specialist")


def plan_gap(
    gap: str,
    base: str,
    *,
    questions: int,
    share: float,
    now: float,
    expected: Interval,
    seconds_per_question: float,
    value: CandidateValue,
    prices: Prices,
) -> GapPlan:
    """Put a plan together: hours, costs and worth from the probe's pace and the prices."""
    hours = questions * seconds_per_question / 3600
    per_point = share * prices.score_price_usd * prices.queries_per_month
    gains = [max(0.0, reached - now) for reached in (expected.value, expected.low, expected.high)]
    return GapPlan(
        gap=gap,
        base=base,
        questions=questions,
        share=share,
        now=now,
        expected=expected,
        training_hours=hours,
        training_usd=hours * prices.usd_per_hour,
        hosting_usd_per_month=prices.hosting_usd_per_hour * HOURS_PER_MONTH,
        worth_usd_per_month=Interval(*(gain * per_point for gain in gains)),
        value=value,
        months=prices.months,
    )
