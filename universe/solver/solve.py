"""The best set with a proof."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from universe.model.program import Program
from universe.model.risk import Risk
from universe.solver.heuristics import Candidate
from universe.solver.routing import Scenario
from universe.solver.search import Progress, Search

GAP = 1e-5  # score; below the noise of any outcome table


@dataclass(frozen=True)
class Solution:
    """The best set found (None: none exists, or none was found in time) and what is proven of it."""

    best: Candidate | None
    bound: float
    status: str  # optimal | time limit | interrupted | stalled (by rounding) | infeasible
    wall_s: float
    lp_bound: float
    cuts: int
    rounds: int


def solve_program(
    program: Program,
    *,
    scenarios: Sequence[Scenario] | None = None,
    risk: Risk | None = None,
    gap: float = GAP,
    time_limit_s: float = 60.0,
    solver: str = "gscip",
    on_progress: Callable[[Progress], None] | None = None,
    warm_start: Sequence[np.ndarray] = (),
) -> Solution:
    """Find the set of the highest value, and a bound that proves how good it is.

    Branch and cut with Benders cuts (see :mod:`universe.solver.routing`): first the linear relaxation, on
    large tables of a sample before the whole, then the integer master, each answered with the cuts that its
    solution breaks. Greedy and local search give the sets; experts whose reduced cost proves them out (or
    in) are fixed. Ctrl-C or the time limit ends the search with the best set so far and its gap.

    Args:
        program: from :func:`universe.model.program.build_program`.
        scenarios: states of the world; the program's own weights and prices by default.
        risk: how scenario values are joined; their mean by default.
        gap: absolute gap, in score, at which the set counts as optimal.
        time_limit_s: wall time; the answer may come later by the length of one round.
        solver: of the integer master: ``gscip``, or ``highs``, which hears Ctrl-C only between its solves.
        on_progress: called after every round.
        warm_start: sets [m] of bool to begin from, where they hold the limits.
    """
    began = time.perf_counter()
    with _interruptible() as interrupted:

        def seconds_left() -> float:
            return 0.0 if interrupted() else time_limit_s - (time.perf_counter() - began)

        def tell(stage: str) -> None:
            if on_progress:
                value = search.best.value if search.best else -math.inf
                wall_s = time.perf_counter() - began
                on_progress(Progress(stage, value, search.bound, wall_s, search.rounds))

        search = Search(
            program,
            scenarios or [Scenario(program.weight, np.ones(len(program.experts)))],
            risk or Risk(),
            gap=gap,
            solver=solver,
            seconds_left=seconds_left,
            tell=tell,
        )
        for members in warm_start:
            search.offer(search.valuer.evaluate(np.asarray(members, dtype=bool)))
        status = search.run()
        if status == "stopped":
            status = "interrupted" if interrupted() else "time limit"
    bound = max(search.bound, search.best.value) if search.best else search.bound
    wall_s = time.perf_counter() - began
    return Solution(search.best, bound, status, wall_s, search.lp_bound, search.cuts, search.rounds)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag; a second one interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    raised = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def note(signum: int, frame: object) -> None:
        if raised.is_set():
            signal.default_int_handler(signum, None)
        raised.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield raised.is_set
    finally:
        signal.signal(signal.SIGINT, before)
