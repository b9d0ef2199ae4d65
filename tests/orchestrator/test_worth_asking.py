"""What is asked again: within its budget, never whom nobody may ask, and where a choice could change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.text.tokens import unit_rows
from orchestrator.traffic.worth_asking import choose_shadows
from warehouse import InputError


def situation(seed: int, n: int, m: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    success, cost = rng.random((n, m)), rng.exponential(1e-3, (n, m))
    success[rng.random((n, m)) < 0.2] = np.nan
    embedding = unit_rows(rng.normal(size=(n, 8)).astype(np.float32))
    return success, cost, embedding, embedding[: n // 2], (rng.random(n) < 0.8).astype(float)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 6), st.floats(0, 0.05), st.integers(1, 40),
    st.floats(0, 1e-3),
)  # fmt: skip
def test_pairs_keep_every_limit(
    seed: int, n: int, m: int, budget_usd: float, most: int, judge_usd: float
) -> None:
    success, cost, embedding, seen, weights = situation(seed, n, m)
    answered = np.random.default_rng(seed).integers(-1, m, n)
    pairs = choose_shadows(
        success, cost, embedding, seen, budget_usd, weights,
        multiplier=3.0, answered=answered, judge_usd=judge_usd, most_requests=most,
    )  # fmt: skip
    assert len(set(pairs)) == len(pairs)
    assert all(weights[row] > 0 and np.isfinite(success[row, expert]) for row, expert in pairs)
    assert len({row for row, _ in pairs}) <= most
    spent = sum(judge_usd + (cost[i, j] if answered[i] != j else 0.0) for i, j in pairs)
    assert spent <= budget_usd + 1e-12


def test_close_forecasts_are_asked_before_clear_ones() -> None:
    success = np.array([[0.9, 0.2], [0.6, 0.59], [0.9, 0.1]])
    cost, embedding = np.full((3, 2), 1e-3), np.eye(3, dtype=np.float32)
    pairs = choose_shadows(success, cost, embedding, embedding[:0], 2e-3, np.ones(3))
    assert {row for row, _ in pairs} == {1}


def test_what_is_new_is_asked_before_what_is_known() -> None:
    success, cost = np.full((2, 2), 0.5) - [0, 0.05], np.full((2, 2), 1e-3)
    embedding = np.eye(2, dtype=np.float32)
    pairs = choose_shadows(success, cost, embedding, embedding[:1], 1e-3, np.ones(2))
    assert [row for row, _ in pairs] == [1]


def test_of_requests_that_are_alike_not_all_are_asked() -> None:
    embedding = np.repeat(np.eye(2, dtype=np.float32), [9, 1], axis=0)
    success = np.full((10, 2), 0.5)
    success[9] = [0.5, 0.45]  # worth a little less than one of the nine, but not than the third of them
    pairs = choose_shadows(success, np.full((10, 2), 1e-3), embedding, embedding[:0], 6e-3, np.ones(10))
    assert 9 in {row for row, _ in pairs}


def test_nothing_to_choose_from() -> None:
    nothing = np.empty((0, 3))
    assert choose_shadows(nothing, nothing, nothing, nothing, 1.0, np.empty(0)) == []


@pytest.mark.parametrize("budget_usd", [-1e-9, float("nan")])
def test_a_budget_below_nothing_is_refused(budget_usd: float) -> None:
    success, cost, embedding, seen, weights = situation(0, 4, 3)
    with pytest.raises(InputError, match="budget"):
        choose_shadows(success, cost, embedding, seen, budget_usd, weights)


def test_arrays_of_other_requests_are_refused() -> None:
    success, cost, embedding, seen, weights = situation(0, 4, 3)
    with pytest.raises(InputError, match="not of the same requests"):
        choose_shadows(success, cost, embedding, seen, 1.0, weights[:3])
