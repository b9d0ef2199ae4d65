"""A draw of questions keeps every expert's answers in view."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text.splits import thin


@given(st.integers(1, 200), st.integers(1, 6), st.integers(1, 250), st.integers(0, 9), st.floats(0, 1))
def test_a_draw_holds_its_number_and_a_fair_part_of_each_experts_answers(
    n: int, m: int, most: int, seed: int, rare: float
) -> None:
    random = np.random.default_rng(seed)
    answered = random.random((2 * n, m)) < np.linspace(rare, 1, m)
    rows = np.sort(random.choice(2 * n, n, replace=False))
    drawn = thin(rows, answered, most, seed=seed)
    assert len(drawn) == min(n, most)
    assert np.array_equal(drawn, np.unique(drawn))
    assert np.isin(drawn, rows).all()
    share = most // (2 * m)
    for own in answered.T:
        assert own[drawn].sum() >= min(share, own[rows].sum())
    assert np.array_equal(drawn, thin(rows, answered, most, seed=seed))


def test_of_many_questions_a_few_choose_and_all_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.toy_outcomes import toy_outcomes
    from orchestrator import train_router

    monkeypatch.setattr("orchestrator.train.SETTINGS_QUESTIONS", 150)
    random = np.random.default_rng(0)
    texts = [f"{random.choice(['sum', 'capital', 'river'])} of number {i}" for i in range(600)]
    chances = random.random((600, 2))
    trained = train_router(
        toy_outcomes(texts, ("a", "b"), chances, [1e-6, 2e-6]), embedder="wordllama", predictor="knn"
    ).orchestrator
    remembered = trained.predictor.state().arrays["memory"]
    assert 450 < len(remembered) < 510  # all but the fifth that no training looks at
    assert trained.info["questions"] == 600
