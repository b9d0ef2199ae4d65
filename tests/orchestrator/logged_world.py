"""A made-up world of logged traffic in which the truth about two versions is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.off_policy.estimate import LoggedTraffic
from orchestrator.off_policy.sequential import CanaryLog
from orchestrator.selection.exploration import explore
from orchestrator.selection.value import net_value

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What a world is like; two versions read each expert's success with noise of their own."""

    requests: int = 3000
    experts: int = 4
    explore_share: float = 0.1
    temperature: float = 0.1
    rated_share: float = 1.0
    forecast_noise: float = 0.08
    forecast_error: float = (
        0.0  # by which forecasts of the dearest expert are too high, the cheapest's too low
    )
    worse: float = 0.0  # share of what the challenger reads that is chance alone
    cost_spread: float = 1.0  # of the logarithm of a cost around its mean
    repeats: int = 1  # requests of one conversation, that hang together
    multiplier: float = 10.0


@dataclass(frozen=True)
class Drawn:
    """Traffic that was drawn, and what two versions are worth on it in truth."""

    logged: LoggedTraffic
    challenger: Floats  # [n, m]
    champion: Floats  # [n, m]
    success: Floats  # [n, m] in truth
    cost_usd: Floats  # [n, m] in truth, in the mean

    def truth(self) -> tuple[float, float]:
        """Challenger less champion: success and cost."""
        difference = self.challenger - self.champion
        return tuple(float((difference * of).sum(axis=1).mean()) for of in (self.success, self.cost_usd))


def draw(world: World, seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    n, m = world.requests, world.experts
    unit = np.arange(n) // world.repeats
    steady = np.linspace(0.45, 0.7, m)
    success = np.clip(steady + rng.normal(0, 0.12, (n, m))[unit], 0.02, 0.98)
    cost = 1e-4 * 3.0 ** np.arange(m) * np.exp(rng.normal(0, 0.3, (n, 1)))
    lean = world.forecast_error * np.linspace(-1, 1, m)
    reads = [np.clip(success + rng.normal(0, world.forecast_noise, (n, m))[unit], 0, 1) for _ in range(2)]
    reads[1] = (1 - world.worse) * reads[1] + world.worse * rng.random((n, m))
    values = [net_value(read, cost, world.multiplier) for read in reads]
    everybody = np.ones((n, m), bool)
    chosen, propensity = explore(values[0], everybody, world.explore_share, world.temperature, rng)
    rows = np.arange(n)
    reward = (rng.random(n) < success[rows, chosen]).astype(float)
    reward[rng.random(n) >= world.rated_share] = np.nan
    spread = world.cost_spread
    paid = cost[rows, chosen] * np.exp(rng.normal(-(spread**2) / 2, spread, n))
    logged = LoggedTraffic.from_arrays(
        tuple(f"expert-{place}" for place in range(m)),
        *(chosen, propensity, reward, paid, np.clip(reads[0] + lean, 0, 1), cost * np.exp(lean)),
        unit=unit,
    )
    greedy = [np.eye(m)[value.argmax(axis=1)] for value in values]
    return Drawn(logged, greedy[1], greedy[0], success, cost)


def true_difference(world: World, draws: int = 20) -> tuple[float, float]:
    """What the challenger gains on all traffic of a world: success, and cost."""
    found = [draw(replace(world, requests=20_000), 10_000 + seed).truth() for seed in range(draws)]
    return float(np.mean([one[0] for one in found])), float(np.mean([one[1] for one in found]))


def draw_canary(
    seed: int,
    units: int = 2000,
    *,
    share: float = 0.2,
    better: float = 0.0,
    dearer: float = 1.0,
    rated: float = 1.0,
    spread: float = 1.0,
) -> CanaryLog:
    """What a canary comes to that is ``better`` by so much success and ``dearer`` so many times."""
    rng = np.random.default_rng(seed)
    drawn = rng.random(units) < share
    reward = (rng.random(units) < 0.6 + better * drawn).astype(float)
    reward[rng.random(units) >= rated] = np.nan
    cost = 2e-3 * np.where(drawn, dearer, 1.0) * np.exp(rng.normal(-(spread**2) / 2, spread, units))
    return CanaryLog(drawn, np.full(units, share), reward, cost)
