"""What to ask whom: budgets hold, money goes where the choice is open, and empty cells are filled well."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.selection.explorer import choose_pairs, complete_scores
from warehouse import InputError


def groupings(n, regions):
    fine = np.arange(n) % regions
    return fine, fine // 2, np.zeros(n, np.intp)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(8, 60),
    m=st.integers(1, 5),
    regions=st.integers(2, 5),
    share=st.floats(0, 1.2),
    known=st.floats(0, 0.6),
    seed=st.integers(0, 1000),
)
def test_the_budget_holds_and_only_open_pairs_are_asked(n, m, regions, share, known, seed):
    rng = np.random.default_rng(seed)
    score = np.where(rng.random((n, m)) < known, rng.integers(0, 2, (n, m)), np.nan)
    cost = rng.lognormal(0, 2, (1, m)) * rng.uniform(0.5, 2, (n, m))
    askable = rng.random((n, m)) < 0.9
    possible = askable & np.isnan(score)
    budget = share * float((cost * possible).sum())
    chosen = choose_pairs(groupings(n, regions), score, cost, budget, askable=askable, seed=seed)
    assert not (chosen & ~possible).any()
    assert (cost * chosen).sum() <= budget * (1 + 1e-9)
    if share >= 1:
        assert (chosen == possible).all()
    # A budget that is left over would not buy the cheapest answer of each cell's share any more.
    if 0.1 < share < 1 and possible.any():
        assert (cost * chosen).sum() >= budget - 2 * m * regions * cost.max()
    again = choose_pairs(groupings(n, regions), score, cost, budget, askable=askable, seed=seed)
    assert (again == chosen).all()


def test_cheap_experts_are_asked_more_than_dear_ones():
    score = np.full((400, 3), np.nan)
    cost = np.broadcast_to([1.0, 10.0, 100.0], score.shape)
    chosen = choose_pairs(groupings(400, 8), score, cost, 0.3 * cost.sum())
    asked = chosen.sum(axis=0)
    assert asked[0] == 400
    assert asked[0] >= asked[1] > asked[2] > 0


def test_dear_answers_go_where_the_choice_is_open():
    """Region 0: both experts are always right. Region 1: both half the time."""
    rng = np.random.default_rng(0)
    n = 800
    fine = np.arange(n) % 2
    score = np.full((n, 2), np.nan)
    known = np.arange(n) < 200
    score[known, 0] = np.where(fine[known] == 0, 1.0, rng.integers(0, 2, known.sum()))
    score[known, 1] = np.where(fine[known] == 0, 1.0, rng.integers(0, 2, known.sum()))
    cost = np.broadcast_to([1.0, 20.0], score.shape)
    labels = (fine, fine, np.zeros(n, np.intp))
    chosen = choose_pairs(labels, score, cost, 0.3 * (cost * np.isnan(score)).sum())
    asked = [int(chosen[fine == region, 1].sum()) for region in (0, 1)]
    assert asked[1] > 1.5 * asked[0] > 0, asked


def test_a_region_without_questions_changes_nothing():
    score = np.full((60, 2), np.nan)
    cost = np.broadcast_to([1.0, 5.0], score.shape)
    labels = groupings(60, 4)
    gaps = (labels[0] * 3 + 1, labels[1], labels[2])
    chosen = choose_pairs(labels, score, cost, 120.0)
    assert (choose_pairs(gaps, score, cost, 120.0) == chosen).all()
    assert 100 < (cost * chosen).sum() <= 120


def test_bad_input_is_refused():
    score = np.full((10, 2), np.nan)
    with pytest.raises(InputError, match="budget of -1"):
        choose_pairs(groupings(10, 2), score, np.ones((10, 2)), -1)
    with pytest.raises(InputError, match="same questions"):
        choose_pairs(groupings(9, 2), score, np.ones((10, 2)), 1)


def test_completion_keeps_what_is_known_and_beats_the_mean_elsewhere():
    """Experts share a question's difficulty; the dear one was asked a third, and not at random."""
    rng = np.random.default_rng(1)
    n = 1500
    ease = rng.normal(size=(n, 1))
    truth = (ease + 0.7 * rng.normal(size=(n, 4)) + [0.0, 0.2, 0.4, 0.9] > 0).astype(float)
    # Asked where the first expert failed, more often: its plain mean misleads, its completion must not.
    asked = np.ones((n, 4), bool)
    asked[:, 3] = rng.random(n) < np.where(truth[:, 0] == 0, 0.6, 0.15)
    score = np.where(asked, truth, np.nan)
    labels = (np.arange(n) % 10, np.arange(n) % 3, np.zeros(n, np.intp))
    filled = complete_scores(labels, score)
    assert np.array_equal(filled[asked], truth[asked].astype(np.float32))
    assert ((filled >= 0) & (filled <= 1)).all()
    open_cells = ~asked[:, 3]
    plain = np.nanmean(score[:, 3])
    error = np.mean((filled[open_cells, 3] - truth[open_cells, 3]) ** 2)
    assert error < 0.8 * np.mean((plain - truth[open_cells, 3]) ** 2)
    assert abs(filled[:, 3].mean() - truth[:, 3].mean()) < 0.5 * abs(plain - truth[:, 3].mean())
