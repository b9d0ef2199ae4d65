"""Universes over more questions than fit: solve samples, value the winner on all, give an interval."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from universe.model.program import Program
from universe.model.risk import Risk
from universe.solver.heuristics import Candidate, SetValuer
from universe.solver.master import linear_rows
from universe.solver.routing import Scenario, ScenarioRouter
from universe.solver.solve import solve_program
from warehouse import InputError


@dataclass(frozen=True)
class SampledSolution:
    """The best of the samples' sets, valued on every question, and how far it may be from the optimum."""

    best: Candidate
    bound: float  # mean of the samples' bounds
    bound_interval: tuple[float, float]  # 95%, Student's t over the samples
    samples: int
    questions: int  # in each sample

    @property
    def gap_interval(self) -> tuple[float, float]:
        """95% interval of the distance between the set's value and the optimum."""
        low, high = self.bound_interval
        return max(0.0, low - self.best.value), max(0.0, high - self.best.value)


def solve_by_sampling(
    program: Program, *, questions: int = 5_000, samples: int = 5, time_limit_s: float = 60.0, seed: int = 0
) -> SampledSolution:
    """Sample average approximation (Mak, Morton and Wood 1999): samples' mean optimum bounds from above.

    Each sample draws questions with replacement by their weight. The sets found are valued on the whole
    program; the best one is returned.

    Args:
        program: the whole program.
        questions: questions in each sample.
        samples: how many samples, at least 2.
        time_limit_s: for each sample.
        seed: of the draws.

    Raises:
        InputError: too few samples, or no sample's set holds the limits on the whole.
    """
    from scipy.stats import t as student

    if samples < 2 or questions < 2:
        raise InputError("an interval needs at least 2 samples of 2 questions", where="samples")
    rng = np.random.default_rng(seed)
    whole = SetValuer(
        program,
        [ScenarioRouter(program, Scenario(program.weight, np.ones(len(program.experts))))],
        linear_rows(program),
        Risk(),
    )
    bounds, best = [], None
    for _ in range(samples):
        part = _draw(program, questions, rng)
        solution = solve_program(part, time_limit_s=time_limit_s, warm_start=[best.members] if best else [])
        bounds.append(solution.bound)
        found = whole.evaluate(solution.best.members) if solution.best is not None else None
        if found is not None and (best is None or found.value > best.value):
            best = found
        if solution.status == "interrupted":
            break
    if best is None:
        raise InputError("no set found on a sample holds the limits on the whole", fix="draw larger samples")
    mean = float(np.mean(bounds))
    if len(bounds) < 2:
        return SampledSolution(best, mean, (-np.inf, np.inf), len(bounds), questions)
    half = float(student.ppf(0.975, len(bounds) - 1) * np.std(bounds, ddof=1) / np.sqrt(len(bounds)))
    return SampledSolution(best, mean, (mean - half, mean + half), len(bounds), questions)


def _draw(program: Program, questions: int, rng: np.random.Generator) -> Program:
    rows: NDArray[np.int64] = np.sort(rng.choice(len(program.weight), questions, p=program.weight))
    rows, counts = np.unique(rows, return_counts=True)
    return replace(program.take(rows), weight=counts / counts.sum())
