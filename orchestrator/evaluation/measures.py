"""Every measure of every policy on one split's questions, with its bootstrap samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation import metrics
from orchestrator.evaluation.seed_result import POINT_POLICIES, SeedResult
from orchestrator.selection.hull import convex_hull, hull_value
from orchestrator.selection.sweep import PolicyPoints

Floats = NDArray[np.float64]
Samples = dict[tuple[str, str], Floats]  # (policy, measure) -> [replicates]


def measure_seed(
    result: SeedResult, drawn: Floats, names: Sequence[str], budgets: Sequence[float]
) -> Samples:
    """Measure the policies on one split.

    Args:
        result: what every policy did.
        drawn: [replicates, all questions] bootstrap weights, as counts.
        names: of the policies.
        budgets: shares of the best single expert's cost.

    Returns:
        ``accuracy`` and ``cost_usd`` with no budget pressure, and there ``arena_style``, ``opt_sel``,
        ``opt_cost`` and ``opt_acc``, ``calls``, answers in series, and ``latency_s``, how long these took;
        of curves ``aiq``, ``headroom`` (``_log``: over log cost; ``_log_twice``: up to twice the best single
        expert's cost), ``qnc``, ``perf_gain``, ``cost_save``, ``nauc``; of pools of two ``apgr``, ``cpt@20``
        to ``cpt@80``; for each budget ``accuracy@``, ``cost@``, ``calls@``, ``latency_s@`` and, of learned
        policies, ``regret@``. NaN where there is no such figure.
    """
    weight = drawn[:, result.rows]
    weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1)
    quality = {name: weight @ result.test[name].score.T for name in names}  # [replicates, settings]
    cost = {name: weight @ result.test[name].cost_usd.T for name in names}
    out = _measure_areas(quality, cost)
    for name in names:
        plain = result.best_single if name == "zero-router" else 0
        out[name, "accuracy"], out[name, "cost_usd"] = quality[name][:, plain], cost[name][:, plain]
        if name in result.calls:
            out[name, "calls"] = weight @ result.calls[name][plain]
        if name in result.latency_s and np.isfinite(result.latency_s[name]).all():
            out[name, "latency_s"] = weight @ result.latency_s[name][plain]
        out[name, "arena_style"] = np.array(
            [
                metrics.arena_style_score(a, 1000 * c)
                for a, c in zip(out[name, "accuracy"], out[name, "cost_usd"], strict=True)
            ]
        )
        if result.test[name].choice[plain, 0] >= 0:
            chosen = metrics.optimality(
                result.test[name].choice[plain],
                result.test["zero-router"].score.T,
                result.test["zero-router"].cost_usd.T,
                paid_usd=result.test[name].cost_usd[plain],
                weight=weight,
            )
            out[name, "opt_sel"], out[name, "opt_cost"] = chosen.selection, chosen.cost
            out[name, "opt_acc"] = chosen.accuracy
    _measure_budgets(out, result, quality, cost, weight, budgets)
    if len(result.test["zero-router"].score) == 2:
        out |= _measure_pair(result, weight, quality)
    return out


def setting_at_budget(validation: PolicyPoints, budget_usd: float) -> int:
    """The setting that makes most of the budget on validation; the cheapest where none is within it.

    Accuracy on validation has no say: of some seventy settings that differ by tenths of a point, the most
    accurate there is the luckiest.
    """
    cost = validation.cost_usd.mean(axis=1)
    within = cost <= budget_usd * (1 + 1e-9)
    return int(np.where(within, cost, -np.inf).argmax()) if within.any() else int(cost.argmin())


def _measure_areas(quality: dict[str, Floats], cost: dict[str, Floats]) -> Samples:
    """What the whole curve is worth, of every policy that has one."""
    single_cost, single_quality = cost["zero-router"], quality["zero-router"]
    best_cost, best_quality = cost["best single"][:, 0], quality["best single"][:, 0]
    curves = [name for name in quality if name not in POINT_POLICIES]
    out: Samples = {}
    for suffix, log_cost, up_to in (
        ("", False, None),
        ("_log", True, None),
        ("_log_twice", True, 2 * best_cost),
    ):
        values = {
            name: np.array(
                [
                    metrics.aiq(c, q, sc, sq, log_cost=log_cost, high_usd=None if up_to is None else up_to[i])
                    for i, (c, q, sc, sq) in enumerate(
                        zip(cost[name], quality[name], single_cost, single_quality, strict=True)
                    )
                ]
            )
            for name in curves
        }
        room = values["oracle"] - values["zero-router"]
        for name, value in values.items():
            out[name, f"aiq{suffix}"] = value
            out[name, f"headroom{suffix}"] = np.where(
                room > 0, (value - values["zero-router"]) / np.where(room > 0, room, 1.0), 0.0
            )
    for name in curves:
        best = list(zip(cost[name], quality[name], best_quality, best_cost, strict=True))
        out[name, "qnc"] = np.array([metrics.qnc(*curve) for curve in best], float)  # None is NaN
        out[name, "cost_save"] = 1 - out[name, "qnc"]
        out[name, "perf_gain"] = np.array([metrics.perf_gain(q, top) for _, q, top, _ in best])
        out[name, "nauc"] = np.array(
            [
                metrics.nauc(c, q, dearest)
                for c, q, dearest in zip(cost[name], quality[name], single_cost.max(axis=1), strict=True)
            ]
        )
    return out


def _measure_budgets(
    out: Samples,
    result: SeedResult,
    quality: dict[str, Floats],
    cost: dict[str, Floats],
    weight: Floats,
    budgets: Sequence[float],
) -> None:
    """Add accuracy within a share of the best single expert's cost, the setting taken on validation.

    The regret is what the best setting in hindsight, within the budget on these very questions, would have
    had over that.
    """
    best_cost = cost["best single"][:, 0]
    for share in budgets:
        budget_usd = share * float(best_cost[0])
        for name in quality:
            at = f"@{share:g}"
            if name in result.validation:
                i = setting_at_budget(result.validation[name], budget_usd)
                out[name, f"accuracy{at}"], out[name, f"cost{at}"] = quality[name][:, i], cost[name][:, i]
                if name in result.calls:
                    out[name, f"calls{at}"] = weight @ result.calls[name][i]
                if (name, "latency_s") in out:
                    out[name, f"latency_s{at}"] = weight @ result.latency_s[name][i]
                within = cost[name] <= np.maximum(budget_usd, cost[name].min(axis=1))[:, None] * (1 + 1e-9)
                hindsight = np.where(within, quality[name], -np.inf).max(axis=1)
                out[name, f"regret{at}"] = hindsight - quality[name][:, i]
            elif name in ("zero-router", "oracle"):
                hulls = [convex_hull(c, q) for c, q in zip(cost[name], quality[name], strict=True)]
                out[name, f"cost{at}"] = np.array(
                    [min(share * b, hull[0][-1]) for b, hull in zip(best_cost, hulls, strict=True)]
                )
                out[name, f"accuracy{at}"] = np.array(
                    [hull_value(share * b, *hull) for b, hull in zip(best_cost, hulls, strict=True)]
                )


def _measure_pair(result: SeedResult, weight: Floats, quality: dict[str, Floats]) -> Samples:
    """APGR and CPT of a pool of two, the dearer one the strong one; NaN where it is not stronger."""
    singles = result.test["zero-router"]
    strong = int(singles.cost_usd.mean(axis=1).argmax())
    out: Samples = {}
    for name in result.validation:
        share = weight @ (result.test[name].choice == strong).T.astype(float)  # [replicates, settings]
        found = [
            metrics.gap_recovered(s, q, weak=pair[1 - strong], strong=pair[strong])
            if pair[strong] > pair[1 - strong]
            else None
            for s, q, pair in zip(share, quality[name], quality["zero-router"], strict=True)
        ]
        out[name, "apgr"] = np.array([one.apgr if one else np.nan for one in found])
        for percent in (20, 50, 80):
            out[name, f"cpt@{percent}"] = np.array([one.cpt[percent] if one else np.nan for one in found])
    return out
