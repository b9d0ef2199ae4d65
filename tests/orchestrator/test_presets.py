"""Presets keep to what they are meant for and to what they promise, whatever they were chosen on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from orchestrator import Orchestrator, Prediction
from orchestrator.pool_changes import retire_expert
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.presets import ECONOMY_SHARE, Preset, choose_presets


def population(n, seed, *, tilt=0.0):
    """Forecasts, scores and costs of three experts, the dearer the better; ``tilt`` overstates the last."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 1, (n, 1))
    chance = 1 / (1 + np.exp(-(ease + np.array([0.0, 0.6, 1.2]) + rng.normal(0, 0.7, (n, 3)))))
    forecast = np.clip(chance + np.array([0, 0, tilt]), 0, 1).astype(np.float32)
    expected = np.array([1e-4, 5e-4, 2e-3]) * rng.uniform(0.7, 1.3, (n, 1))
    paid = expected * rng.lognormal(-0.08, 0.4, (n, 3))
    return Prediction(("a", "b", "c"), forecast, expected), (rng.random((n, 3)) < chance).astype(float), paid


def take(population, rows):
    prediction, score, paid = population
    chosen = replace(prediction, success=prediction.success[rows], cost_usd=prediction.cost_usd[rows])
    return chosen, score[rows], paid[rows]


class Truth:
    """What multipliers cost and score over a whole population."""

    def __init__(self, population):
        prediction, score, paid = population
        frontier = find_frontier(prediction.success, prediction.cost_usd)
        self.multipliers = frontier.multipliers
        self.cost, self.success = frontier.mean_of(paid), frontier.mean_of(score)
        self.best_single_usd = paid[:, score.mean(axis=0).argmax()].mean()

    def of(self, preset):
        at = np.searchsorted(self.multipliers, preset.multiplier, side="right") - 1
        return self.cost[at], self.success[at]


def test_under_resampling_every_price_is_within_a_tenth_of_its_promise():
    truth, learned = Truth(population(40_000, 0)), population(2000, 1)
    _, most = truth.of(Preset(0.0))
    rng = np.random.default_rng(2)
    off, shares, lost = [], [], []
    for _ in range(200):
        presets = choose_presets(*take(learned, rng.integers(0, 2000, 2000)))
        real = {name: truth.of(preset) for name, preset in presets.items()}
        off.append([real[name][0] / preset.expected.cost_usd - 1 for name, preset in presets.items()])
        shares.append(real["economy"][0] / truth.best_single_usd)
        lost.append(most - real["balanced"][1])
        assert real["economy"][0] <= real["balanced"][0] <= real["quality"][0]
    assert (np.abs(off) <= 0.1).all()
    assert np.quantile(shares, 0.9) <= ECONOMY_SHARE * 1.02
    assert np.mean(shares) >= 0.27  # and it spends what it may
    assert np.max(lost) <= 0.03


def test_intervals_hold_and_promises_are_not_flattered_by_the_choice():
    truth = Truth(population(40_000, 0))
    held, above = [], []
    for seed in range(40):
        for name, preset in choose_presets(*population(400, 100 + seed)).items():
            cost, success = truth.of(preset)
            e = preset.expected
            held.append(
                e.cost_low_usd <= cost <= e.cost_high_usd and e.success_low <= success <= e.success_high
            )
            if name == "balanced":
                above.append(e.success - success)
    assert np.mean(held) >= 0.8  # both at once, of 95% each
    assert abs(np.mean(above)) <= 3 * np.std(above) / len(above) ** 0.5


def test_a_forecast_that_overstates_the_dearest_does_not_cost_the_balanced_preset():
    overstated = population(4000, 3, tilt=0.4)
    presets = choose_presets(*overstated)
    honest = choose_presets(*population(4000, 3))
    truth = Truth(population(40_000, 4, tilt=0.4))
    assert truth.of(presets["quality"])[0] > truth.of(presets["balanced"])[0]
    assert presets["balanced"].expected.success == pytest.approx(
        honest["balanced"].expected.success, abs=0.02
    )


@pytest.mark.parametrize("cost", [0.0, 1e-3])
def test_a_pool_where_nothing_can_be_saved_has_presets_all_the_same(cost):
    n = 30
    prediction = Prediction(("a",), np.full((n, 1), 0.5, np.float32), np.full((n, 1), cost))
    presets = choose_presets(prediction, np.full((n, 1), np.nan), np.full((n, 1), np.nan))
    assert {preset.multiplier for preset in presets.values()} == {0.0}
    assert all(preset.expected.cost_usd == pytest.approx(cost) for preset in presets.values())


def test_equal_questions_are_drawn_together():
    few = population(100, 5)
    twice = take(few, np.repeat(np.arange(100), 8))
    apart = choose_presets(*twice)["quality"].expected
    together = choose_presets(*twice, groups=np.repeat(np.arange(100), 8))["quality"].expected
    assert together.success_high - together.success_low > 2 * (apart.success_high - apart.success_low)


def test_what_is_expected_is_saved_and_forgotten_with_the_pool(orchestrator, tmp_path):
    assert all(preset.expected for preset in orchestrator.presets.values())
    orchestrator.save(tmp_path)
    assert Orchestrator.load(tmp_path).presets == orchestrator.presets
    path = tmp_path / "orchestrator.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps(header | {"presets": {"quality": 0.0, "balanced": 9, "cost": 70.5}}))
    earlier = Orchestrator.load(tmp_path).presets
    assert earlier == {"quality": Preset(0.0), "balanced": Preset(9.0), "economy": Preset(70.5)}
    smaller = retire_expert(orchestrator, "chemist").presets
    assert [preset.expected for preset in smaller.values()] == [None] * 3
