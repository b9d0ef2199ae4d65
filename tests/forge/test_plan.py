"""The plan's arithmetic: what is expected of a specialist, what it costs, and when it pays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.forge.closing.compare import Comparison, Interval, contest
from pipelines.forge.closing.plan import CurvePoint, Prices, expect_accuracy, plan_gap, value_hypothetical
from universe.analysis.candidate import CandidateValue
from universe.model.expectation import Expected
from warehouse import InputError, Outcomes, TooFewError

SHARE = st.floats(0, 1)


def world(n: int = 80, gap: int = 20) -> tuple[Outcomes, Expected, np.ndarray]:
    """Two experts: the dearer one is better outside the gap, neither can do the gap."""
    in_gap = np.arange(n) < gap
    score = np.where(in_gap[:, None], 0.25, np.array([[0.6, 0.8]]))
    cost = np.tile([[1e-6, 2e-6]], (n, 1))
    names = np.array([f"q{i}" for i in range(n)])
    domains = np.where(in_gap, "arithmetic", "capitals")
    texts = tuple(names.tolist())
    small = np.ones((n, 2), np.float32)
    outcomes = Outcomes(
        names, texts, texts, domains, domains, domains, np.full(n, 0.25, np.float32), ("small", "large"),
        score.astype(np.float32), cost, small, small, small,
    )  # fmt: skip
    return outcomes, Expected(score, cost), in_gap


@given(first=SHARE, second=SHARE, validation=st.integers(10, 500), questions=st.integers(200, 50_000))
def test_what_is_expected_is_ordered_and_never_below_what_was_reached(
    first: float, second: float, validation: int, questions: int
) -> None:
    curve = [CurvePoint(0, 0.25), CurvePoint(100, first), CurvePoint(200, second)]
    expected = expect_accuracy(curve, validation, questions)
    assert 0 <= expected.low <= expected.value + 1e-9
    assert expected.value <= expected.high + 1e-9 <= 1 + 2e-9
    assert expected.low <= second + 1e-9 or second == 0
    if second <= first:
        assert expected.value == pytest.approx(second)


def test_a_doubling_adds_half_of_the_last_one() -> None:
    curve = [CurvePoint(500, 0.4), CurvePoint(1_000, 0.5)]
    assert expect_accuracy(curve, 100, 2_000).value == pytest.approx(0.55)
    assert expect_accuracy(curve, 100, 4_000).value == pytest.approx(0.575)
    assert expect_accuracy(curve, 100, 4_000).high == pytest.approx(0.7)


def test_a_curve_of_one_point_is_refused() -> None:
    with pytest.raises(TooFewError, match="learning curve of 1 points"):
        expect_accuracy([CurvePoint(0, 0.2), CurvePoint(100, 0.4)], 60, 1_000)


def test_the_universe_takes_a_specialist_that_can_do_the_gap_and_no_other() -> None:
    outcomes, expected, in_gap = world()
    good = value_hypothetical(outcomes, expected, "small", in_gap, 0.9)
    assert good.chosen
    assert good.gain == pytest.approx(0.25 * 0.65, abs=1e-3)
    same = value_hypothetical(outcomes, expected, "small", in_gap, 0.25)
    assert not same.chosen


@pytest.mark.parametrize(("base", "mask"), [("nobody", True), ("small", False)])
def test_a_base_or_a_gap_without_outcomes_is_refused(base: str, mask: bool) -> None:
    outcomes, expected, in_gap = world()
    with pytest.raises(InputError):
        value_hypothetical(outcomes, expected, base, in_gap & mask, 0.9)


def plan(prices: Prices, chosen: bool = True):
    value = CandidateValue("s", 0.6, 0.7, chosen, (), 1e-6, 2e-6)
    return plan_gap(
        "arithmetic", "small", questions=3_600, share=0.1, now=0.3, expected=Interval(0.7, 0.6, 0.8),
        seconds_per_question=0.5, value=value, prices=prices,
    )  # fmt: skip


def test_a_plan_pays_by_its_low_end() -> None:
    made = plan(Prices(usd_per_hour=0.2, score_price_usd=0.001, queries_per_month=100_000, months=6))
    assert made.training_hours == pytest.approx(0.5)
    assert made.training_usd == pytest.approx(0.1)
    assert made.worth_usd_per_month.low == pytest.approx(0.1 * 0.3 * 0.001 * 100_000)
    assert made.pays
    assert made.reason.startswith("yes: worth 3.0000 USD a month")


@pytest.mark.parametrize(
    "prices",
    [
        Prices(usd_per_hour=0.2, score_price_usd=0.001, queries_per_month=10),
        Prices(usd_per_hour=0.2),
        Prices(usd_per_hour=0.2, hosting_usd_per_hour=1, score_price_usd=0.001, queries_per_month=100_000),
    ],
    ids=["no traffic", "nothing is worth anything", "hosting eats it"],
)
def test_a_plan_that_does_not_pay_says_so_with_figures(prices: Prices) -> None:
    made = plan(prices)
    assert not made.pays
    assert made.reason.startswith("no: worth")
    assert f"training {made.training_usd:.4f}" in made.reason


def test_what_the_universe_would_not_take_does_not_pay() -> None:
    made = plan(Prices(usd_per_hour=0.2, score_price_usd=1, queries_per_month=1e9), chosen=False)
    assert not made.pays
    assert "would not take it" in made.reason


@pytest.mark.parametrize("field", ["usd_per_hour", "queries_per_month", "months"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_prices_that_are_no_prices_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        Prices(**{"usd_per_hour": 0.1} | {field: value})


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_contest_is_paired(pairs: list[tuple[bool, bool]]) -> None:
    base, mine = (np.array(column) for column in zip(*pairs, strict=True))
    found = contest("the gap", base, mine, 0.25)
    assert found.difference.value == pytest.approx(found.specialist.value - found.base.value)
    for interval in (found.base, found.specialist, found.difference):
        assert interval.low - 1e-9 <= interval.value <= interval.high + 1e-9
    if (base == mine).all():
        assert found.difference == Interval(0, 0, 0)


@pytest.mark.parametrize(
    ("right", "other", "is_closed", "forgets"),
    [(0.8, 0.0, True, False), (0.5, 0.0, False, False), (0.8, -0.1, True, True)],
)
def test_a_verdict_asks_for_the_gap_and_against_forgetting(
    right: float, other: float, is_closed: bool, forgets: bool
) -> None:
    n = 100
    base, mine = np.arange(n) < 25, np.arange(n) < int(right * n)
    elsewhere = np.arange(n) < 60
    after = np.arange(n) < 60 + int(other * n)
    verdict = Comparison(contest("gap", base, mine, 0.25), (), contest("else", elsewhere, after, 0.25))
    assert (verdict.is_closed, verdict.forgets) == (is_closed, forgets)
