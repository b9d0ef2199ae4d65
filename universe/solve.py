"""The best set with a proof: heuristics below, Benders cuts above, until the two meet or the time is up."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from universe.heuristics import Candidate, SetValuer, grow_greedily, search_locally
from universe.master import Master
from universe.program import Program
from universe.risk import Risk
from universe.routing import TOLERANCE, Router, Scenario, Vector
from warehouse import InputError

GAP = 1e-5  # score; below the noise of any outcome table
LP_ROUNDS = 200


@dataclass(frozen=True)
class Progress:
    """Where the search stands; given to the caller after every round."""

    stage: str
    value: float  # -inf while no set is known
    bound: float
    wall_s: float
    rounds: int


@dataclass(frozen=True)
class Solution:
    """The best set found (None: none exists, or none was found in time) and what is proven of it."""

    best: Candidate | None
    bound: float
    status: str  # optimal | time limit | interrupted | infeasible
    wall_s: float
    lp_bound: float
    heuristic_value: float
    cuts: int
    rounds: int


def solve_program(
    program: Program,
    *,
    scenarios: Sequence[Scenario] | None = None,
    risk: Risk | None = None,
    gap: float = GAP,
    time_limit_s: float = 60.0,
    solver: str = "highs",
    on_progress: Callable[[Progress], None] | None = None,
    warm_start: Sequence[np.ndarray] = (),
) -> Solution:
    """Find the set of the highest value, and a bound that proves how good it is.

    Branch and cut with Benders cuts (see :mod:`universe.routing`): first the linear relaxation, then the
    integer master, each answered with the cuts that its solution breaks. Greedy and local search give
    the sets; experts whose reduced cost proves them out (or in) are fixed. Ctrl-C or the time limit ends
    the search with the best set so far and its gap.

    Args:
        program: from :func:`universe.program.build_program`.
        scenarios: states of the world; the program's own weights and prices by default.
        risk: how scenario values are joined; their mean by default.
        gap: absolute gap, in score, at which the set counts as optimal.
        time_limit_s: wall time; the answer may come later by the length of one round.
        solver: of the integer master: ``highs``, ``gscip``, or ``cp_sat`` where there is no load to carry
            (it rounds coefficients, and with counted replicas it gave wrong answers).
        on_progress: called after every round.
        warm_start: sets [m] of bool to begin from, where they hold the limits.
    """
    if solver == "cp_sat" and program.limits.queries_per_s is not None:
        raise InputError(
            "CP-SAT rounds the rows of counted replicas", where="solver", fix="use highs or gscip"
        )
    began = time.perf_counter()
    risk = risk or Risk()
    scenarios = scenarios or [Scenario(program.weight, np.ones(len(program.experts)))]
    routers = [Router(program, s) for s in scenarios]
    master = Master(program, routers, risk)
    valuer = SetValuer(program, routers, master.rows, risk)
    best: Candidate | None = None
    bound, lp_bound, heuristic_value, cuts, rounds = math.inf, math.inf, -math.inf, 0, 0
    with _interruptible() as interrupted:

        def elapsed() -> float:
            return time.perf_counter() - began

        def out_of_time() -> bool:
            return interrupted() or elapsed() >= time_limit_s

        def offer(candidate: Candidate | None) -> None:
            nonlocal best
            if candidate is not None and (best is None or candidate.value > best.value):
                best = candidate

        def tell(stage: str) -> None:
            if on_progress:
                on_progress(Progress(stage, best.value if best else -math.inf, bound, elapsed(), rounds))

        def closed() -> bool:
            return best is not None and bound - best.value <= gap

        def finish(status: str) -> Solution:
            if status == "stopped":
                status = "interrupted" if interrupted() else "time limit"
            proven = max(bound, best.value) if best else bound
            return Solution(best, proven, status, elapsed(), lp_bound, heuristic_value, cuts, rounds)

        def look_for_sets(multipliers: Sequence[Vector]) -> None:
            for per_resource in (False, True):
                found = valuer.evaluate(grow_greedily(valuer, multipliers, per_resource=per_resource))
                if found is not None and (best is None or found.value > best.value - 0.01):
                    offer(search_locally(valuer, found, stop=out_of_time))

        def separate(y: Vector, replicas: Vector, starts: list[Vector], *, integral: bool) -> float:
            """Add the cuts that are tight at y; return the value of y (an upper bound in the relaxation)."""
            nonlocal cuts
            values = []
            # any multipliers give a valid cut: in the relaxation they need be no finer than the gap
            far = bound - best.value if best is not None and math.isfinite(bound) else 0.0
            tolerance = TOLERANCE if integral else max(TOLERANCE, far / 50)
            for s, router in enumerate(routers):
                value, mu, _, usage = router.route(y, replicas, start=starts[s], tolerance=tolerance)
                violation = float(np.max(usage - router.capacity(replicas), initial=0.0))
                if violation > 1e-5:
                    _, ray, _, _ = router.route(y, replicas, feasibility=True)
                    if ray.any():
                        master.add(s, router.cut(y, ray, feasibility=True))
                    value = -math.inf
                starts[s] = mu
                master.add(s, router.cut(y, mu))
                if integral:
                    master.add(s, router.cut(y, mu, runner_up=True))
                cuts += len(router.groups)
                values.append(value)
            return risk.of(np.array(values)) - float(valuer.price @ replicas)

        multipliers = [np.zeros(len(r.names)) for r in routers]
        for members in warm_start:
            offer(valuer.evaluate(np.asarray(members, dtype=bool)))
        look_for_sets(multipliers)
        everyone = np.ones(len(program.experts))
        for s, router in enumerate(routers):
            master.add(s, router.cut(everyone, multipliers[s]))
        if best is not None:
            separate(
                best.members.astype(float), best.replicas, [r.multiplier for r in best.routed], integral=True
            )

        # The linear relaxation.
        master.relax(relaxed=True)
        stalled, solution = 0, None
        while rounds < LP_ROUNDS and not out_of_time():
            solution = master.solve("glop", time_limit_s=time_limit_s - elapsed())
            if solution.infeasible:
                return finish("infeasible")
            if solution.y is None or solution.replicas is None:
                break
            rounds += 1
            stalled = stalled + 1 if bound - solution.bound < 1e-6 else 0
            bound = lp_bound = min(bound, solution.bound)
            tell("relaxation")
            if closed():
                return finish("optimal")
            value = separate(solution.y, solution.replicas, multipliers, integral=False)
            if solution.bound - value <= gap / 10 or stalled >= 10:
                break
        look_for_sets(multipliers)
        heuristic_value = best.value if best else -math.inf
        if closed():
            return finish("optimal")
        if best is not None and solution is not None and solution.reduced_cost is not None:
            for j, d in enumerate(solution.reduced_cost):
                if abs(d) > bound - best.value + gap:
                    master.fix(j, int(d > 0))

        # The integer program.
        master.relax(relaxed=False)
        while not out_of_time():
            solution = master.solve(solver, time_limit_s=time_limit_s - elapsed(), gap=gap / 2)
            if solution.infeasible:
                if best is None:
                    return finish("infeasible")
                bound = best.value  # nothing better than the best remains
                return finish("optimal")
            rounds += 1
            bound = min(bound, solution.bound)
            tell("integer")
            if solution.y is None or solution.replicas is None:
                break
            offer(valuer.evaluate(solution.y > 0.5, replicas=solution.replicas))
            if closed():
                return finish("optimal")
            separate(solution.y, solution.replicas, multipliers, integral=True)
        return finish("stopped")


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
