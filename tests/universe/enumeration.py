"""Every set, valued one by one with a linear program of its own: the truth that the solver must match."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from scipy.optimize import linprog

from universe.model.program import Program
from universe.solver.master import hosting_price, linear_rows


def routed_value(program: Program, members: tuple[int, ...], replicas: np.ndarray) -> float:
    """The routing as a plain linear program; -inf when the limits cannot be held."""
    n, k = len(program.weight), len(members)
    limits = program.limits
    score, cost = program.score[:, members], program.cost_usd[:, members]
    w = program.weight[:, None]
    rows, upper = [], []
    if limits.max_cost_usd is not None:
        rows.append((w * cost).ravel())
        upper.append(limits.max_cost_usd)
    for domain, floor in limits.min_score.items():
        here = (program.domain == program.domains.index(domain))[:, None]
        rows.append((-w * here * score).ravel() / program.weight[here[:, 0]].sum())
        upper.append(-floor)
    if limits.queries_per_s is not None:
        for column, j in enumerate(members):
            if np.isfinite(program.hosting[j].queries_per_s):
                load = np.zeros((n, k))
                load[:, column] = program.weight
                rows.append(load.ravel())
                upper.append(replicas[j] * program.hosting[j].queries_per_s / limits.queries_per_s)
    if not rows:
        return float(program.weight @ (score - program.price_weight * cost).max(axis=1))
    found = linprog(
        -(w * (score - program.price_weight * cost)).ravel(),
        A_ub=np.array(rows),
        b_ub=upper,
        A_eq=np.kron(np.eye(n), np.ones(k)),
        b_eq=np.ones(n),
        method="highs",
    )
    return -found.fun if found.success else -np.inf


def packs(program: Program, replicas: np.ndarray) -> bool:
    """Whether the replicas lie on the nodes, each whole on one: every placement is tried."""

    def place(needs: list[tuple[float, float]], free: list[list[float]]) -> bool:
        if not needs:
            return True
        (gpus, memory), rest = needs[0], needs[1:]
        for node in free:
            if node[0] >= gpus and node[1] >= memory:
                node[0] -= gpus
                node[1] -= memory
                if place(rest, free):
                    return True
                node[0] += gpus
                node[1] += memory
        return False

    return all(
        place(
            [(h.gpus, h.gpu_memory_gib) for h, count in zip(program.hosting, replicas, strict=True)
             for _ in range(int(count)) if h.node_type == name],
            [[node.gpus, node.gpu_memory_gib] for _ in range(node.count)],
        )
        for name, node in program.limits.nodes.items()
    )  # fmt: skip


def best_value(program: Program) -> float:
    """The best value over all sets and all replica counts; -inf when none holds the limits."""
    m = len(program.experts)
    rows = linear_rows(program)
    price = hosting_price(program)
    minimum = np.array([h.min_replicas for h in program.hosting])
    qps = program.limits.queries_per_s or 0.0
    most = np.maximum(minimum, [int(np.ceil(qps / h.queries_per_s)) for h in program.hosting])
    best = -np.inf
    for size in range(1, m + 1):
        for members in combinations(range(m), size):
            y = np.zeros(m)
            y[list(members)] = 1
            for counts in product(*(range(minimum[j], most[j] + 1) for j in members)):
                replicas = np.zeros(m)
                replicas[list(members)] = counts
                if all(r.of_y @ y + r.of_replicas @ replicas <= r.upper + 1e-9 for r in rows) and packs(
                    program, replicas
                ):
                    best = max(best, routed_value(program, members, replicas) - price @ replicas)
    return best
