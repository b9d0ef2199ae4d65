"""Good sets fast: greedy growth and local search, and the baselines that papers use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from universe.model.packing import pack_first_fit
from universe.model.program import Program
from universe.model.risk import Risk
from universe.solver.master import Row, hosting_price
from universe.solver.routing import TOLERANCE, Routed, ScenarioRouter

Vector = NDArray[np.float64]
Members = NDArray[np.bool_]


@dataclass(frozen=True)
class Candidate:
    """A set that holds every limit, with its routing in each scenario and its risk-adjusted value."""

    members: Members
    replicas: Vector
    routed: tuple[Routed, ...]
    value: float


class SetValuer:
    """Values whole sets exactly, and the gains of single moves at fixed multipliers."""

    def __init__(
        self, program: Program, routers: Sequence[ScenarioRouter], rows: Sequence[Row], risk: Risk
    ) -> None:
        self.program, self.routers, self.risk = program, routers, risk
        self.of_y = np.stack([r.of_y for r in rows])
        self.of_replicas = np.stack([r.of_replicas for r in rows])
        self.upper = np.array([r.upper for r in rows])
        self.price = hosting_price(program)
        self.min_replicas = np.array([float(h.min_replicas) for h in program.hosting])
        self.grows = (self.of_y >= 0).all(axis=1)

    def fits(self, members: Members, replicas: Vector | None = None, *, may_grow: bool = False) -> bool:
        """Whether the limits on the set hold; ``may_grow``: whether adding experts could still mend it.

        The minimum of replicas counts where none are given.
        """
        replicas = self.min_replicas * members if replicas is None else replicas
        ok = self._slack(members, replicas) >= -TOLERANCE
        return bool((ok | (may_grow & ~self.grows)).all()) and pack_first_fit(self.program, replicas)

    def evaluate(
        self,
        members: Members,
        *,
        replicas: Vector | None = None,
        starts: Sequence[Vector | None] | None = None,
    ) -> Candidate | None:
        """Route over a set in every scenario; None when a limit does not hold.

        Without given replicas, each expert gets those that its unlimited share of the traffic needs, and they
        must lie on the nodes by first fit. Given replicas come from a master that has placed them.
        """
        starts = starts or [None] * len(self.routers)
        if replicas is None:
            if not self.fits(members):
                return None
            replicas = self.min_replicas * members
            if self.routers[0].loaded:
                ample = np.where(members, 1e9, 0.0)
                shares = np.max([r.evaluate(members, ample).share for r in self.routers], axis=0)
                qps = self.program.limits.queries_per_s or 0.0
                rate = np.array([h.queries_per_s for h in self.program.hosting])
                replicas = np.maximum(replicas, np.ceil(shares * qps / rate - 1e-9))
                if not self.fits(members, replicas):
                    return None
        elif (self._slack(members, replicas) < -TOLERANCE).any():
            return None
        routed = tuple(r.evaluate(members, replicas, s) for r, s in zip(self.routers, starts, strict=True))
        if any(r.violation > 0 for r in routed):
            return None
        value = self.risk.of(np.array([r.value for r in routed])) - float(self.price @ replicas)
        return Candidate(members.copy(), replicas, routed, value)

    def _slack(self, members: Members, replicas: Vector) -> Vector:
        slack: Vector = self.upper - self.of_y @ members - self.of_replicas @ replicas
        return slack

    def gains(self, members: Members, multipliers: Sequence[Vector]) -> tuple[float, Vector]:
        """Mean worth of a set at fixed multipliers, and what each expert would add to it [m]."""
        worth, gains = 0.0, np.zeros(len(members))
        for router, mu in zip(self.routers, multipliers, strict=True):
            for rows in router.groups:
                utility = router.utility(rows, slice(None), mu)
                weight = router.scenario.weight[rows].astype(utility.dtype)
                # with nothing chosen yet, count from the worst choice
                best = utility[:, members].max(axis=1) if members.any() else utility.min(axis=1)
                worth += float(weight @ best)
                excess = utility - best[:, None]
                np.maximum(excess, 0, out=excess)
                gains += weight @ excess
        count = len(self.routers)
        replicas = self.min_replicas * self.price
        return worth / count - float(replicas @ members), gains / count - replicas


def grow_greedily(valuer: SetValuer, multipliers: Sequence[Vector], *, per_resource: bool = False) -> Members:
    """Add the expert of the largest gain until none fits or helps (Nemhauser, Wolsey and Fisher 1978).

    ``per_resource`` divides the gain by the largest share of any limit that the expert takes.
    """
    members = np.zeros(len(valuer.program.experts), dtype=bool)
    members[valuer.program.index(valuer.program.limits.must_have)] = True
    shares = (
        np.abs(valuer.of_y + valuer.of_replicas * valuer.min_replicas)
        / np.maximum(np.abs(valuer.upper), 1e-12)[:, None]
    )
    take = np.maximum(shares[valuer.grows].max(axis=0, initial=0.0), 1e-3)
    while True:
        _, gains = valuer.gains(members, multipliers)
        if per_resource:
            gains = gains / take
        gains[members] = -np.inf
        for j in np.argsort(-gains):
            if gains[j] <= 1e-9 and members.any():
                return members
            if members[j] or gains[j] == -np.inf:
                return members
            members[j] = True
            if valuer.fits(members, may_grow=True):
                break
            members[j] = False
        else:
            return members


def search_locally(
    valuer: SetValuer, start: Candidate, *, stop: Callable[[], bool] = lambda: False, sweeps: int = 20
) -> Candidate:
    """Improve a set by single additions, removals and swaps until none helps.

    A move's worth at the multipliers of the present set bounds its true value from above (in one
    scenario), so only moves whose bound beats the present value are valued exactly.
    """
    best = start
    must = set(valuer.program.index(valuer.program.limits.must_have))
    for _ in range(sweeps):
        multipliers = [r.multiplier for r in best.routed]
        offset = float(
            np.mean(
                [mu @ r.capacity(best.replicas) for mu, r in zip(multipliers, valuer.routers, strict=True)]
            )
        )
        moves: list[tuple[float, int | None, int | None]] = []
        for out in [None, *(j for j in np.flatnonzero(best.members) if j not in must)]:
            if stop():
                return best
            rest = best.members.copy()
            if out is not None:
                rest[out] = False
            worth, gains = valuer.gains(rest, multipliers)
            if out is not None and rest.any():
                moves.append((worth + offset, out, None))
            moves += [(worth + gains[j] + offset, out, int(j)) for j in np.flatnonzero(~best.members)]
        moves.sort(key=lambda move: -move[0])
        improved = None
        tried = 0
        for bound, out, into in moves:
            if bound <= best.value + 1e-9 or tried >= 25 or stop():
                break
            members = best.members.copy()
            if out is not None:
                members[out] = False
            if into is not None:
                members[into] = True
            if not valuer.fits(members):
                continue
            tried += 1
            found = valuer.evaluate(members, starts=multipliers)
            if found is not None and found.value > best.value + 1e-9:
                improved = found
                break
        if improved is None:
            return best
        best = improved
    return best
