"""Bench of the universe constructor: ``python -m bench.universe PART --recorded DIR --out DIR``.

Each part prints its figures and writes them to ``OUT/<part>.json``. Times are wall times on the machine at
hand, with the CPU time beside them where other work may have shared it.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from bench.universe_data import expect, generate_table, hold_out, load_pool, read_examples
from universe.expected import Expected
from universe.explain import marginal_values
from universe.figures import draw_frontier, draw_gaps, draw_marginal_values, draw_robustness
from universe.frontier import default_budgets, trace_frontier
from universe.gaps import find_gaps
from universe.held_out import route_held_out
from universe.heuristics import SetValuer
from universe.limits import Limits
from universe.master import linear_rows
from universe.program import Program, build_program
from universe.risk import Risk
from universe.robust import select_robust, uncertain_world
from universe.routing import Router, Scenario
from universe.select import universe_program
from universe.solve import solve_program
from warehouse import Outcomes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Recorded = Annotated[Path, typer.Option(help="Directory of the recorded answers.")]
Out = Annotated[Path, typer.Option(help="Directory for results, figures and caches.")]
SEEDS = 5


@app.command()
def frontier(recorded: Recorded, out: Out, max_experts: int = 5) -> None:
    """Twenty query budgets on pools A, D and all mmlu_pro experts: proven optimal, and how fast."""
    results = {}
    for pool in ("A", "D", "mmlu_pro"):
        outcomes, expected = _pool(recorded, out, pool)
        for label, limits in (("up to 5 experts", Limits(max_experts=max_experts)), ("any number", Limits())):
            program = universe_program(outcomes, expected=expected, limits=limits)
            cpu = time.process_time()
            traced = trace_frontier(program, "max_cost_usd", points=20, time_limit_s=30)
            cpu = time.process_time() - cpu
            universes = [u for u in traced.universes if u is not None]
            walls = [u.wall_s for u in universes]
            results[f"{pool}, {label}"] = row = {
                "points": len(universes),
                "optimal": sum(u.status == "optimal" for u in universes),
                "max_wall_s": max(walls),
                "mean_wall_s": float(np.mean(walls)),
                "cpu_s_all": cpu,
                "max_gap": max(u.gap for u in universes),
                "score_from_to": [universes[0].expected_score, universes[-1].expected_score],
                "experts_from_to": [len(universes[0].experts), len(universes[-1].experts)],
            }
            print(pool, label, row)
            if label != "any number":
                draw_frontier(traced).savefig(out / f"frontier-{pool}.png")
                best = universes[len(universes) // 2]
                at = universe_program(outcomes, expected=expected, limits=best.limits)
                draw_marginal_values(marginal_values(at, best.experts)).savefig(out / f"marginal-{pool}.png")
    _write(out, "frontier", results)


@app.command()
def baselines(recorded: Recorded, out: Out, draws: int = 5) -> None:
    """Held-out routed accuracy beside greedy, top-k by accuracy and random sets, at equal budgets."""
    results: dict[str, Any] = {}
    for pool in ("A", "D"):
        examples = read_examples(load_pool(recorded, pool), out)
        best_single = float(np.nanmean(examples.outcomes.score, axis=0).argmax())
        price = float(examples.outcomes.cost_usd[0, int(best_single)])
        for k in (2, 3):
            for share in (0.25, 0.5, None):
                label = f"{pool}, {k} experts, " + (
                    f"{share:.0%} of the best single's price" if share else "no budget"
                )
                limits = Limits(max_experts=k, max_cost_usd=None if share is None else share * price)
                differences: dict[str, list[NDArray[np.float64]]] = {"greedy": [], "top-k": [], "random": []}
                train_gap: dict[str, list[float]] = {name: [] for name in differences}
                ours_scores = []
                for seed in range(SEEDS):
                    held = hold_out(examples, out, seed)
                    program = universe_program(held.train, expected=held.expected_train, limits=limits)
                    valuer = _valuer(program)
                    solution = solve_program(program, time_limit_s=30)
                    if solution.best is None:
                        continue
                    ours = _held_out_scores(
                        program, valuer, solution.best.members, held.test, held.expected_test
                    )
                    ours_scores.append(np.nanmean(ours))
                    rng = np.random.default_rng(seed)
                    sets = {"greedy": [_greedy(program, valuer)], "top-k": [_top_k(program, valuer, k)]}
                    sets["random"] = [_random_set(program, valuer, k, rng) for _ in range(draws)]
                    for name, members in sets.items():
                        found = [m for m in members if m is not None]
                        if not found:
                            continue
                        theirs = [
                            _held_out_scores(program, valuer, m, held.test, held.expected_test) for m in found
                        ]
                        differences[name].append(ours - np.nanmean(np.stack(theirs), axis=0))
                        values = [c.value for m in found if (c := valuer.evaluate(m)) is not None]
                        train_gap[name].append(solution.best.value - float(np.mean(values)))
                if not ours_scores:
                    continue
                results[label] = {"ours": float(np.mean(ours_scores))}
                for name, seeds in differences.items():
                    if seeds:
                        mean, low, high = _paired_interval(seeds)
                        results[label][name] = {
                            "held_out_gain": mean,
                            "interval": [low, high],
                            "objective_gain": float(np.mean(train_gap[name])),
                            "objective_gain_max": float(np.max(train_gap[name])),
                        }
                print(label, json.dumps(results[label]))
    _write(out, "baselines", results)


@app.command()
def greedy_traps(recorded: Recorded, out: Out) -> None:
    """Where plain greedy is wrong: all budgets and sizes of pools A, D and mmlu_pro, on expected success."""
    found = []
    total = 0
    for pool in ("A", "D", "mmlu_pro"):
        outcomes, expected = _pool(recorded, out, pool)
        for k in (2, 3, 4):
            base = universe_program(outcomes, expected=expected, limits=Limits(max_experts=k))
            for budget in [None, *default_budgets(base, "max_cost_usd", 6)]:
                program = replace(base, limits=replace(base.limits, max_cost_usd=budget))
                valuer = _valuer(program)
                best = solve_program(program, time_limit_s=30).best
                members = _greedy(program, valuer)
                greedy = valuer.evaluate(members) if members is not None else None
                total += 1
                lost = best.value - (greedy.value if greedy else 0.0) if best else 0.0
                if lost > 1e-4:
                    names = np.array(program.experts)
                    found.append(
                        {
                            "pool": pool,
                            "max_experts": k,
                            "usd_per_1000": budget and budget * 1000,
                            "lost": lost,
                            "greedy": [] if members is None else names[members].tolist(),
                            "best": names[best.members].tolist() if best else [],
                        }
                    )
    found.sort(key=lambda f: -f["lost"])
    print(f"greedy is wrong by more than 1e-4 in {len(found)} of {total} programs")
    for case in found[:5]:
        print(case)
    _write(out, "greedy", {"programs": total, "wrong": len(found), "cases": found})


@app.command()
def scale(
    recorded: Recorded,
    out: Out,
    questions: int = 100_000,
    experts: int = 200,
    max_experts: int = 8,
    query_budget: bool = False,
) -> None:
    """A large generated table to a proven gap of 1%, with peak memory."""
    began = time.perf_counter()
    base = load_pool(recorded, "mmlu_pro")
    results = {}
    score, cost, domains = generate_table(base, questions=questions, experts=experts)
    program = build_program([f"e{j}" for j in range(experts)], score, cost, domains=domains,
                            limits=Limits(max_experts=max_experts))  # fmt: skip
    del score
    print(f"built {program.score.shape} in {time.perf_counter() - began:.1f} s")
    budgets = {"count and query budget": float(np.quantile(cost, 0.5))} if query_budget else {"count": None}
    for label, budget in budgets.items():
        at = replace(program, limits=replace(program.limits, max_cost_usd=budget))
        log: list[list[float]] = []
        cpu = time.process_time()
        solution = solve_program(
            at,
            gap=0.006 if query_budget else 1e-5,
            time_limit_s=600,
            on_progress=lambda p, log=log: log.append([p.wall_s, p.value, p.bound]),
        )
        assert solution.best is not None
        one_percent = next((w for w, v, b in log if b - v <= 0.01 * v), solution.wall_s)
        results[label] = {
            "status": solution.status,
            "value": solution.best.value,
            "bound": solution.bound,
            "gap_percent": 100 * (solution.bound - solution.best.value) / solution.best.value,
            "seconds_to_1_percent": one_percent,
            "wall_s": solution.wall_s,
            "cpu_s": time.process_time() - cpu,
            "lp_bound": solution.lp_bound,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
        print(label, results[label], flush=True)
    _write(out, "scale-query-budget" if query_budget else "scale", results)


@app.command()
def textbook(recorded: Recorded, out: Out, time_limit_s: float = 60.0) -> None:
    """The plain textbook model in the same solvers on growing tables of the same kind, to the same 1%."""
    from bench.universe_textbook import solve_textbook

    base = load_pool(recorded, "mmlu_pro")
    results = []
    for questions, experts in ((200, 50), (500, 100), (1000, 200), (2000, 200)):
        score, cost, domains = generate_table(base, questions=questions, experts=experts)
        program = build_program([f"e{j}" for j in range(experts)], score, cost, domains=domains,
                                limits=Limits(max_experts=8))  # fmt: skip
        began = time.perf_counter()
        ours = solve_program(program, gap=1e-4, time_limit_s=time_limit_s)
        row: dict[str, Any] = {
            "questions": questions,
            "experts": experts,
            "ours_s_to_1e-4": time.perf_counter() - began,
            "ours_status": ours.status,
        }
        for solver in ("highs", "gscip", "cp_sat"):
            if any(r.get(f"{solver}_failed") for r in results):
                row[f"{solver}_failed"] = True
                continue
            found = solve_textbook(program, solver=solver, gap=0.01, time_limit_s=time_limit_s)
            row[f"{solver}_s"] = found.build_s + found.solve_s
            row[f"{solver}_gap"] = found.bound - found.value
            row[f"{solver}_status"] = found.status
            row[f"{solver}_failed"] = not found.bound - found.value <= 0.011
        results.append(row)
        print(row, flush=True)
    _write(out, "textbook", {"rows": results})


@app.command()
def masters(recorded: Recorded, out: Out) -> None:
    """HiGHS, SCIP and CP-SAT as the integer master, on raw outcomes, where the relaxation is loose."""
    results = {}
    for pool, k in (("A", 3), ("mmlu_pro", 3)):
        program = universe_program(load_pool(recorded, pool), limits=Limits(max_experts=k))
        for solver in ("highs", "gscip", "cp_sat"):
            cpu = time.process_time()
            try:
                solution = solve_program(program, solver=solver, time_limit_s=45)
            except Exception as error:  # a solver that refuses the model is a result here
                results[f"{pool}, {k}, {solver}"] = {"error": f"{type(error).__name__}: {error}"[:200]}
                print(pool, k, solver, error)
                continue
            results[f"{pool}, {k}, {solver}"] = {
                "status": solution.status,
                "wall_s": solution.wall_s,
                "cpu_s": time.process_time() - cpu,
                "gap": solution.bound - (solution.best.value if solution.best else 0),
                "rounds": solution.rounds,
            }
            print(pool, k, solver, results[f"{pool}, {k}, {solver}"], flush=True)
    _write(out, "masters", results)


@app.command()
def raw(recorded: Recorded, out: Out) -> None:
    """Sets chosen on expected success beside sets chosen on raw outcomes, and what raw coverage promises."""
    results = {}
    for pool in ("A", "D"):
        examples = read_examples(load_pool(recorded, pool), out)
        for k in (2, 3):
            differences, promises, reached, same = [], [], [], 0
            for seed in range(SEEDS):
                held = hold_out(examples, out, seed)
                limits = Limits(max_experts=k)
                smooth = universe_program(held.train, expected=held.expected_train, limits=limits)
                hard = universe_program(held.train, limits=limits)
                on_expected = solve_program(smooth, time_limit_s=20).best
                on_raw = solve_program(hard, time_limit_s=20).best
                assert on_expected is not None
                assert on_raw is not None
                valuer = _valuer(smooth)
                ours = _held_out_scores(smooth, valuer, on_expected.members, held.test, held.expected_test)
                theirs = _held_out_scores(smooth, valuer, on_raw.members, held.test, held.expected_test)
                differences.append(ours - theirs)
                promises.append(on_raw.value)
                reached.append(float(np.nanmean(theirs)))
                same += bool((on_expected.members == on_raw.members).all())
            mean, low, high = _paired_interval(differences)
            results[f"{pool}, {k} experts"] = row = {
                "gain_of_expected": mean,
                "interval": [low, high],
                "same_set_in_seeds": same,
                "raw_coverage_promised": float(np.mean(promises)),
                "raw_set_reached": float(np.mean(reached)),
                "over_statement": float(np.mean(promises) - np.mean(reached)),
            }
            print(pool, k, row)
    _write(out, "raw", results)


@app.command()
def gaps(recorded: Recorded, out: Out) -> None:
    """The gap report on mmlu: stable regions over five resamples, and planted gaps found every time."""
    outcomes, expected = _pool(recorded, out, "A")
    examples = read_examples(outcomes, out)
    vectors = examples.queries.embeddings
    program = universe_program(outcomes, expected=expected, limits=Limits(max_experts=3))
    best = solve_program(program).best
    assert best is not None
    experts = [n for n, kept in zip(program.experts, best.members, strict=True) if kept]
    report = find_gaps(outcomes, expected, experts, vectors)
    draw_gaps(report).savefig(out / "gaps-A.png")
    results: dict[str, Any] = {
        "universe": experts,
        "target": report.target,
        "overlap": report.overlap,
        "recovery": report.recovery,
        "unstable": report.unstable,
        "gaps": [
            {"name": g.name, "kind": g.kind, "questions": g.questions, "reached": g.reached,
             "stability": g.stability, "worth": g.accuracy_worth} for g in report.gaps
        ],
    }  # fmt: skip
    print(json.dumps(results, indent=1))
    planted = {}
    for domain in np.unique(outcomes.domains):
        rows = outcomes.domains == domain
        score = outcomes.score.copy()
        score[rows] = np.where(np.isfinite(score[rows]), 0, np.nan)
        smooth = expected.score.copy()
        smooth[rows] = smooth[rows] * 0
        copy = replace(outcomes, score=score)
        found = find_gaps(copy, Expected(smooth, expected.cost_usd), experts, vectors, resamples=5)
        covered = np.isin(found.regions.label, [g.region for g in found.gaps if g.kind == "no expert"])
        planted[str(domain)] = {
            "questions_of_the_domain_in_gaps": float(covered[rows].mean()),
            "others_in_gaps": float(covered[~rows].mean()),
            "stability": min((g.stability for g in found.gaps if domain in g.domains), default=0.0),
        }
        print(domain, planted[str(domain)], flush=True)
    results["planted"] = planted
    _write(out, "gaps", results)


@app.command()
def robust(recorded: Recorded, out: Out) -> None:
    """What a robust universe costs when nothing moves, and what it saves when prices do."""
    results = {}
    for pool, weight in (("D", 20.0), ("mmlu_pro", 20.0)):
        outcomes, expected = _pool(recorded, out, pool)
        program = universe_program(
            outcomes, expected=expected, limits=Limits(max_experts=3), price_weight=weight
        )
        for spread in (0.5, 1.0):
            worlds = uncertain_world(program, price_spread=spread, scenarios=16)
            began = time.perf_counter()
            choice = select_robust(program, worlds)
            fresh = uncertain_world(program, price_spread=spread, scenarios=200, seed=99)
            routers = [Router(program, w) for w in fresh]
            ample = np.ones(len(program.experts))
            sets = [np.isin(program.experts, names) for names in (choice.nominal, choice.robust)]
            outside = np.array([[r.evaluate(s, ample).value for r in routers] for s in sets])
            results[f"{pool}, spread {spread}"] = row = {
                "nominal": choice.nominal,
                "robust": choice.robust,
                "premium": choice.premium,
                "saving_worst": choice.saving,
                "gap": choice.gap,
                "wall_s": time.perf_counter() - began,
                "fresh_mean": outside.mean(axis=1).tolist(),
                "fresh_worst_5_percent": np.sort(outside, axis=1)[:, :10].mean(axis=1).tolist(),
            }
            print(pool, spread, row)
            draw_robustness(choice).savefig(out / f"robust-{pool}-{spread}.png")
    _write(out, "robust", results)


def _pool(recorded: Path, out: Path, pool: str) -> tuple[Outcomes, Expected]:
    examples = read_examples(load_pool(recorded, pool), out)
    return examples.outcomes, expect(examples, out)


def _valuer(program: Program) -> SetValuer:
    router = Router(program, Scenario(program.weight, np.ones(len(program.experts))))
    return SetValuer(program, [router], linear_rows(program), Risk())


def _greedy(program: Program, valuer: SetValuer) -> NDArray[np.bool_] | None:
    """Greedy as papers have it: add the expert that raises the value within the budget most."""
    members = np.zeros(len(program.experts), dtype=bool)
    value = -np.inf
    while members.sum() < (program.limits.max_experts or len(members)):
        options = []
        for j in np.flatnonzero(~members):
            members[j] = True
            found = valuer.evaluate(members)
            members[j] = False
            if found is not None:
                options.append((found.value, int(j)))
        if not options or max(options)[0] <= value:
            break
        value, chosen = max(options)
        members[chosen] = True
    return members if members.any() else None


def _top_k(program: Program, valuer: SetValuer, k: int) -> NDArray[np.bool_] | None:
    """The k most accurate experts with which the budget can be held."""
    order = np.argsort(-(program.weight @ program.score))
    members = np.zeros(len(order), dtype=bool)
    members[order[:k]] = True
    if valuer.evaluate(members) is not None:
        return members
    members[order[k - 1]] = False  # the cheapest expert makes any budget feasible
    members[int((program.weight @ program.cost_usd).argmin())] = True
    return members if valuer.evaluate(members) is not None else None


def _random_set(
    program: Program, valuer: SetValuer, k: int, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    for _ in range(200):
        members = np.zeros(len(program.experts), dtype=bool)
        members[rng.choice(len(members), k, replace=False)] = True
        if valuer.evaluate(members) is not None:
            return members
    return None


def _held_out_scores(
    program: Program, valuer: SetValuer, members: NDArray[np.bool_], test: Outcomes, expected: Expected
) -> NDArray[np.float64]:
    """[test questions] outcomes of a set, routed at the multiplier that holds the budget on train."""
    found = valuer.evaluate(members)
    assert found is not None
    multiplier = found.routed[0].multiplier
    price = float(multiplier[0] / valuer.routers[0].cost_scale) if len(multiplier) else 0.0
    names = [n for n, kept in zip(program.experts, members, strict=True) if kept]
    return route_held_out(test, expected, names, cost_multiplier=price, draws=2).per_question


def _paired_interval(
    differences: Sequence[NDArray[np.float64]], draws: int = 500
) -> tuple[float, float, float]:
    """Mean paired difference and its 95% bootstrap interval, over questions within seeds and over seeds."""
    rng = np.random.default_rng(0)
    clean = [d[np.isfinite(d)] for d in differences]
    means = []
    for _ in range(draws):
        seeds = rng.integers(0, len(clean), len(clean))
        means.append(np.mean([clean[s][rng.integers(0, len(clean[s]), len(clean[s]))].mean() for s in seeds]))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([d.mean() for d in clean])), float(low), float(high)


def _write(out: Path, name: str, results: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(results, indent=1, default=str))


if __name__ == "__main__":
    app()
