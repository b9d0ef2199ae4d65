import numpy as np
import pytest

from orchestrator.evaluation.improvement import accuracy_at_cost


def test_settings_are_mixed_by_cost_alone():
    # Three settings by rising price on cost: mean costs 3, 2, 1 and scores .5, 1, 0.
    score = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    cost = np.array([[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]])
    assert accuracy_at_cost(score, cost, 1.5)[0] == pytest.approx(0.5)
    assert accuracy_at_cost(score, cost, 2.5)[0] == pytest.approx(0.75)
    assert accuracy_at_cost(score, cost, 0.1)[0] == 0.0
    # Dearer and worse is not avoided with hindsight.
    assert accuracy_at_cost(score, cost, 9.0)[0] == 0.5


def test_weights_give_replicates():
    score = np.array([[1.0, 0.0]])
    cost = np.ones((1, 2))
    values = accuracy_at_cost(score, cost, 1.0, np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert values.tolist() == [0.5, 1.0, 0.0]
