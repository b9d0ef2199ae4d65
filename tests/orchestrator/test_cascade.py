import numpy as np
import pytest

from orchestrator.cascade import CascadePolicy


@pytest.fixture(scope="module")
def world():
    """A cheap expert that knows when it is wrong, and a dear one that is mostly right."""
    rng = np.random.default_rng(0)
    n = 4000
    score = np.column_stack([rng.random(n) < 0.6, rng.random(n) < 0.9]).astype(float)
    confidence = np.full((n, 2), np.nan)
    confidence[:, 0] = np.where(rng.random(n) < 0.9, score[:, 0], 1 - score[:, 0])
    success = np.tile([0.6, 0.9], (n, 1))
    cost = np.tile([0.001, 0.02], (n, 1))
    return success, confidence, score, cost


def test_it_escalates_only_where_confidence_is_low_and_beats_routing(world):
    success, confidence, score, cost = world
    policy = CascadePolicy().fit(success[:2000], confidence[:2000], score[:2000])
    test = slice(2000, None)
    arguments = success[test], cost[test], confidence[test], score[test]
    assert policy.choose_first(*(a[:2000] for a in (success, cost, confidence, score)), 10.0) == 0
    result = policy.run(0, *arguments, 10.0)
    escalated = result.last == 1
    assert confidence[test][~escalated, 0].min() == 1
    assert confidence[test][escalated, 0].max() == 0
    plain = policy.run(None, *arguments, 10.0)
    assert result.score.mean() - 10 * result.cost_usd.mean() > plain.score.mean() - 10 * plain.cost_usd.mean()
    assert result.score.mean() > 0.9
    assert result.cost_usd.mean() < 0.6 * 0.02


def test_cost_counts_every_expert_asked(world):
    success, confidence, score, cost = world
    policy = CascadePolicy().fit(success, confidence, score)
    result = policy.run(0, success, cost, confidence, score, 10.0)
    assert np.allclose(result.cost_usd, np.where(result.last == 1, 0.021, 0.001))


def test_without_any_confidence_it_routes(world):
    success, confidence, score, cost = world
    nothing = np.full_like(confidence, np.nan)
    policy = CascadePolicy().fit(success, nothing, score)
    assert policy.choose_first(success, cost, nothing, score, 1.0) is None
