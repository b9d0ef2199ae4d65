"""Universes for an uncertain world: prices that move and traffic that shifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from universe.model.program import Program
from universe.model.risk import Risk
from universe.solver.heuristics import Candidate, SetValuer
from universe.solver.master import linear_rows
from universe.solver.routing import Scenario, ScenarioRouter
from universe.solver.solve import Solution, solve_program
from warehouse import InfeasibleError, InputError


@dataclass(frozen=True)
class RobustChoice:
    """The set for the world as it is, and the set for the worlds that may come, each valued in all of them.

    Scenario 0 is the world as it is. A value of -inf: the set cannot hold the limits there.
    """

    nominal: tuple[str, ...]
    robust: tuple[str, ...]
    nominal_values: NDArray[np.float64]  # [scenarios]
    robust_values: NDArray[np.float64]  # [scenarios]
    risk: Risk
    gap: float
    status: str

    @property
    def premium(self) -> float:
        """The cost of the robust set, in score, if nothing changes."""
        return float(self.nominal_values[0] - self.robust_values[0])

    @property
    def saving(self) -> float:
        """The gain of the robust set, in score, by the measure it was chosen by."""
        return self.risk.of(self.robust_values) - self.risk.of(self.nominal_values)


def uncertain_world(
    program: Program,
    *,
    price_spread: float = 0.5,
    traffic_spread: float = 0.3,
    scenarios: int = 48,
    seed: int = 0,
) -> list[Scenario]:
    """The world as it is, then ``scenarios`` others, drawn at random.

    Args:
        program: gives the prices and traffic of today.
        price_spread: standard deviation of the logarithm of each expert's price; 0: prices hold.
        traffic_spread: standard deviation of the logarithm of each domain's share; 0: traffic holds.
        scenarios: how many others.
        seed: of the draws.

    Raises:
        InputError: a spread is negative, or no scenario is asked for.
    """
    for name, value in (("price_spread", price_spread), ("traffic_spread", traffic_spread)):
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"must be a number of at least 0, not {value}", where=name)
    if scenarios < 1:
        raise InputError(f"must be at least 1, not {scenarios}", where="scenarios")
    rng = np.random.default_rng(seed)
    worlds = [Scenario(program.weight, np.ones(len(program.experts)))]
    for _ in range(scenarios):
        domain = np.exp(rng.normal(0, traffic_spread, len(program.domains)))
        weight = program.weight * domain[program.domain]
        worlds.append(
            Scenario(weight / weight.sum(), np.exp(rng.normal(0, price_spread, len(program.experts))))
        )
    return worlds


def select_robust(
    program: Program, worlds: Sequence[Scenario], *, risk: Risk | None = None, time_limit_s: float = 120.0
) -> RobustChoice:
    """Choose for the worst case over the worlds (or another :class:`Risk`), beside the choice for today.

    Every query limit (mean cost, domain scores, loads) must hold in every world, each routed for itself.

    Raises:
        InfeasibleError: no set holds the limits in every world.
    """
    risk = risk or Risk(weight=1.0)
    nominal = solve_program(program, time_limit_s=time_limit_s)
    warm = [nominal.best.members] if nominal.best is not None else []
    robust: Solution = solve_program(
        program, scenarios=worlds, risk=risk, time_limit_s=time_limit_s, warm_start=warm
    )
    if nominal.best is None or robust.best is None:
        raise InfeasibleError(
            "no set of experts holds all the limits in every scenario",
            fix="loosen a limit or narrow the scenarios",
        )
    names = np.array(program.experts)
    return RobustChoice(
        nominal=tuple(names[nominal.best.members]),
        robust=tuple(names[robust.best.members]),
        nominal_values=_values(program, worlds, nominal.best),
        robust_values=_values(program, worlds, robust.best),
        risk=risk,
        gap=max(0.0, robust.bound - robust.best.value),
        status=robust.status,
    )


def _values(program: Program, worlds: Sequence[Scenario], choice: Candidate) -> NDArray[np.float64]:
    rows = linear_rows(program)
    values = []
    for world in worlds:
        valuer = SetValuer(program, [ScenarioRouter(program, world)], rows, Risk())
        found = valuer.evaluate(choice.members, replicas=choice.replicas)
        values.append(found.value if found is not None else -np.inf)
    return np.array(values)
