"""The numbers of the universe program: expected scores, costs, weights and limits, checked and reduced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from universe.model.limits import Hosting, Limits
from warehouse import InfeasibleError, InputError

Floats = NDArray[np.floating]
FULL_PRECISION_CELLS = (
    8_000_000  # larger matrices are held in float32: a third of a cent in memory, 1e-6 in value
)
FEWEST_COMMON = 30  # questions that two experts must share before they can be called alike
GROUPS = 96


@dataclass(frozen=True)
class Program:
    """Choose experts so that the best of the chosen, question by question, is worth most.

    Rows are sorted by domain and cut into groups; a group is a slice of rows.
    """

    experts: tuple[str, ...]  # [m]
    score: Floats  # [n, m] expected, in [0, 1]
    cost_usd: Floats  # [n, m]
    weight: NDArray[np.float64]  # [n] share of the traffic, sums to 1
    domain: NDArray[np.int64]  # [n] index into domains, ascending
    domains: tuple[str, ...]
    hosting: tuple[Hosting, ...]  # [m]
    limits: Limits
    price_weight: float  # score that one USD per query is worth
    rows: NDArray[np.int64]  # [n] where each row came from (the first, for merged rows)

    def groups(self, count: int = GROUPS) -> list[slice]:
        """Slices of rows, each within one domain, about ``count`` in all."""
        edges = np.flatnonzero(np.diff(self.domain, prepend=-1, append=-1))
        size = max(1, len(self.weight) // count)
        slices = []
        for start, stop in pairwise(edges):
            parts = max(1, round((stop - start) / size))
            cuts = np.linspace(start, stop, parts + 1).astype(int)
            slices += [slice(a, b) for a, b in pairwise(cuts)]
        return slices

    @property
    def domain_weight(self) -> NDArray[np.float64]:
        """[number of domains] share of the traffic."""
        return np.bincount(self.domain, self.weight, minlength=len(self.domains)).astype(np.float64)

    def index(self, names: Sequence[str]) -> list[int]:
        """Positions of experts."""
        return [self.experts.index(name) for name in names]

    def take(self, rows: NDArray[np.int64]) -> Program:
        """The same program over some of the questions, in their order."""
        weight = self.weight[rows]
        return replace(
            self,
            score=np.ascontiguousarray(self.score[rows]),
            cost_usd=np.ascontiguousarray(self.cost_usd[rows]),
            weight=weight / weight.sum(),
            domain=self.domain[rows],
            rows=self.rows[rows],
        )

    def keep(self, columns: Sequence[int]) -> Program:
        """The same program over some of the experts; must-haves must be among them."""
        names = tuple(self.experts[j] for j in columns)
        limits = replace(
            self.limits,
            must_not=tuple(n for n in self.limits.must_not if n in names),
            exclusive=tuple(tuple(n for n in group if n in names) for group in self.limits.exclusive),
        )
        return replace(
            self,
            experts=names,
            score=np.ascontiguousarray(self.score[:, columns]),
            cost_usd=np.ascontiguousarray(self.cost_usd[:, columns]),
            hosting=tuple(self.hosting[j] for j in columns),
            limits=limits,
        )


def build_program(
    experts: Sequence[str],
    score: Floats,
    cost_usd: Floats,
    *,
    domains: NDArray[np.str_] | None = None,
    weight: Floats | None = None,
    hosting: Mapping[str, Hosting] | None = None,
    limits: Limits | None = None,
    price_weight: float = 0.0,
) -> Program:
    """Check the numbers and build the program; rows identical in all columns become one, weights added.

    Args:
        experts: [m] names.
        score: [n, m] expected scores in [0, 1], no NaN.
        cost_usd: [n, m] or [m] expected cost of asking, no NaN.
        domains: [n] domain of each question; one domain by default.
        weight: [n] relative traffic of each question; even by default.
        hosting: by expert name; experts not named cost nothing to host.
        limits: the constraints.
        price_weight: score that one USD per query is worth.

    Raises:
        InputError: a number is impossible; the message names the field, the expert and the row.
        InfeasibleError: the limits exclude each other.
    """
    limits = limits or Limits()
    experts = tuple(experts)
    score = np.asarray(score)
    if score.ndim != 2 or score.shape[1] != len(experts) or score.shape[0] == 0:
        raise InputError(f"needs shape [questions, {len(experts)}], not {list(score.shape)}", where="score")
    n, m = score.shape
    if len(set(experts)) != m:
        raise InputError("an expert's name appears twice", where="experts")
    cost_usd = np.broadcast_to(np.asarray(cost_usd), (n, m))
    _check_cells("score", score, experts, upper=1.0)
    _check_cells("cost_usd", cost_usd, experts)
    if not (np.isfinite(price_weight) and price_weight >= 0):
        raise InputError(f"must be a number of at least 0, not {price_weight}", where="price_weight")
    names = np.full(n, "all") if domains is None else np.asarray(domains)
    shares = np.full(n, 1 / n) if weight is None else np.asarray(weight, dtype=np.float64)
    if shares.shape != (n,) or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise InputError("needs one number of at least 0 per question, not all 0", where="weight")
    known = tuple(np.unique(names).tolist())
    _check_names(experts, limits, hosting or {}, known)

    dtype = np.float64 if n * m <= FULL_PRECISION_CELLS else np.float32
    codes = np.searchsorted(known, names)
    order = np.argsort(codes, kind="stable")
    first, counts = _merge_identical(codes[order], score[order], cost_usd[order], shares[order])
    rows = order[first]
    program = Program(
        experts=experts,
        score=np.ascontiguousarray(score[rows], dtype=dtype),
        cost_usd=np.ascontiguousarray(cost_usd[rows], dtype=dtype),
        weight=counts / counts.sum(),
        domain=codes[rows].astype(np.int64),
        domains=known,
        hosting=tuple((hosting or {}).get(name, Hosting()) for name in experts),
        limits=limits,
        price_weight=float(price_weight),
        rows=rows,
    )
    allowed = program.index([name for name in experts if name not in limits.must_not])
    if not allowed:
        raise InputError("every expert is excluded", where="must_not", fix="leave at least one in")
    least = {
        "max_cost_usd": float(program.weight @ program.cost_usd[:, allowed].min(axis=1)),
        "max_usd_per_hour": min(
            h.usd_per_hour * h.min_replicas for h in (program.hosting[j] for j in allowed)
        ),
    }
    for name, cheapest in least.items():
        budget = getattr(limits, name)
        if budget is not None and budget < cheapest * (1 - 1e-9):
            unit, per = ("USD per 1,000 queries", 1000) if name == "max_cost_usd" else ("USD per hour", 1)
            raise InfeasibleError(
                f"{budget * per:.6g} {unit} is below the {cheapest * per:.6g} that the cheapest expert costs",
                where=name,
                fix=f"raise it to at least {cheapest * per:.6g} {unit}",
            )
    return program


def drop_dominated(program: Program) -> tuple[Program, dict[str, str]]:
    """Drop experts that another one matches or beats on every question, at no higher cost or hosting.

    An optimal universe without them always exists. Experts in must-have lists, in exclusive groups or with
    their own load limits are left alone.

    Returns:
        The smaller program, and dropped expert -> the expert that dominates it.
    """
    m = len(program.experts)
    special = {*program.limits.must_have, *(n for group in program.limits.exclusive for n in group)}
    sample = np.linspace(0, len(program.weight) - 1, min(512, len(program.weight))).astype(int)
    mean = program.weight @ program.score
    dropped: dict[int, int] = {}
    for j in sorted(range(m), key=lambda j: mean[j]):
        if program.experts[j] in special or program.experts[j] in program.limits.must_not:
            continue
        for k in range(m):
            if k == j or k in dropped or program.experts[k] in program.limits.must_not:
                continue
            if program.experts[k] in special and program.experts[k] not in program.limits.must_have:
                continue
            if _hosts_cheaper(program.hosting[k], program.hosting[j]) and all(
                (program.score[rows, k] >= program.score[rows, j]).all()
                and (program.cost_usd[rows, k] <= program.cost_usd[rows, j]).all()
                for rows in (sample, slice(None))
            ):
                dropped[j] = k
                break
    kept = [j for j in range(m) if j not in dropped]
    return program.keep(kept), {program.experts[j]: program.experts[k] for j, k in dropped.items()}


def near_identical(
    experts: Sequence[str], score: Floats, *, agreement: float = 0.98
) -> tuple[tuple[str, ...], ...]:
    """Group experts whose scores agree on at least ``agreement`` of the questions both answered, 30 or more.

    Groups are connected components of the agreement graph: use them as ``Limits.exclusive``.
    """
    known = np.isfinite(score)
    right = np.where(known, score, 0) > 0.5
    m = len(experts)
    parent = list(range(m))

    def root(j: int) -> int:
        while parent[j] != j:
            j = parent[j]
        return j

    for j in range(m):
        for k in range(j):
            both = known[:, j] & known[:, k]
            if both.sum() >= FEWEST_COMMON and (right[both, j] == right[both, k]).mean() >= agreement:
                parent[root(j)] = root(k)
    members: dict[int, list[str]] = {}
    for j in range(m):
        members.setdefault(root(j), []).append(experts[j])
    return tuple(tuple(group) for group in members.values() if len(group) > 1)


def _hosts_cheaper(one: Hosting, other: Hosting) -> bool:
    resources = one.node_type == other.node_type or (one.gpus == 0 and one.gpu_memory_gib == 0)
    return (
        resources
        and one.usd_per_hour <= other.usd_per_hour
        and one.gpus <= other.gpus
        and one.gpu_memory_gib <= other.gpu_memory_gib
        and one.min_replicas <= other.min_replicas
        and one.queries_per_s >= other.queries_per_s
    )


def _check_cells(name: str, cells: Floats, experts: tuple[str, ...], upper: float | None = None) -> None:
    bad = ~np.isfinite(cells) | (cells < 0)
    if upper is not None:
        bad |= cells > upper
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        span = f"in [0, {upper:g}]" if upper is not None else "of at least 0"
        raise InputError(
            f"must be a number {span}, not {cells[row, column]} ({int(bad.sum())} such cells)",
            where=f"{name}, expert {experts[column]!r}, row {row}",
        )


def _check_names(
    experts: tuple[str, ...], limits: Limits, hosting: Mapping[str, Hosting], domains: tuple[str, ...]
) -> None:
    for name in limits.names():
        if name not in experts:
            raise InputError(f"no expert is called {name!r}", fix=f"use one of: {', '.join(experts)}")
    for name in hosting:
        if name not in experts:
            raise InputError(f"no expert is called {name!r}", where="hosting")
    for domain in limits.min_score:
        if domain not in domains:
            raise InputError(
                f"no domain is called {domain!r}", where="min_score", fix=f"use one of: {', '.join(domains)}"
            )


def _merge_identical(
    codes: NDArray[np.int64], score: Floats, cost: Floats, weight: Floats
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First position and summed weight of each distinct row, in order of appearance."""
    rng = np.random.default_rng(
        0
    )  # a random projection in float64 tells rows apart; equality is checked below
    key = score @ rng.standard_normal(score.shape[1]) + cost @ rng.standard_normal(score.shape[1]) * 1e3
    _, first, inverse = np.unique(np.stack([codes, key]), axis=1, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    same = (score == score[first[inverse]]).all(axis=1) & (cost == cost[first[inverse]]).all(axis=1)
    if not same.all():  # a collision of the projection: leave the rows as they are
        return np.arange(len(codes)), weight.astype(np.float64)
    total = np.bincount(inverse, weight, minlength=len(first)).astype(np.float64)
    order = np.argsort(first)
    return first[order].astype(np.int64), total[order]
