"""How long it takes to decide whom to ask next: eight experts, ten options, one query at a time."""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console
from rich.table import Table

from orchestrator.asking.beliefs import AnswerModel
from orchestrator.asking.habits import Habits
from orchestrator.asking.lengths import AnswerLengths
from orchestrator.asking.policy import Ask, AskingPolicy
from orchestrator.asking.readings import Reading

EXPERTS, OPTIONS, PLANS = 8, 10, 500
BUDGET_MS = 2.0  # a decision may take


def print_asking(console: Console) -> None:
    """Print the time of planning and of each decision, by the answers that are at hand."""
    rng = np.random.default_rng(0)
    habits = Habits(
        experts=tuple(f"expert {i}" for i in range(EXPERTS)),
        comparable=np.ones(EXPERTS, bool),
        unreadable=np.full(EXPERTS, 0.03),
        model=AnswerModel(rng.uniform(2, 3, EXPERTS), np.full(EXPERTS, 0.6), 0.4),
        trust=np.ones(3),
        lengths=AnswerLengths.silent(EXPERTS),
    )
    policy = AskingPolicy(habits)
    taken_ms: dict[str, list[tuple[float, float]]] = {}  # by the clock, and of computing

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.thread_time()

    def timed(name: str, started: tuple[float, float]) -> None:
        wall_s, thread_s = now()
        taken_ms.setdefault(name, []).append((1000 * (wall_s - started[0]), 1000 * (thread_s - started[1])))

    for _ in range(PLANS):
        success, cost_usd = rng.uniform(0.3, 0.8, EXPERTS), rng.uniform(1e-4, 1e-3, EXPERTS)
        started = now()
        state = policy.plan(success, cost_usd, 30.0, options=OPTIONS)
        timed("plan", started)
        while True:
            started = now()
            action = policy.next_action(state)
            timed("first ask" if not state.asks else f"after {state.asks}", started)
            if not isinstance(action, Ask):
                break
            state = policy.observe(state, action.expert, Reading(str(rng.integers(5))), 1e-4)
    table = Table(
        "decision", "p50, ms", "p99, ms", "p50, ms of its thread", "p99, ms of its thread", "times",
        title=f"asking: {EXPERTS} experts, {OPTIONS} options, one thread; {BUDGET_MS:g} ms are allowed",
    )  # fmt: skip
    for name, values in taken_ms.items():
        wall, thread = np.percentile(values, [50, 99], axis=0).T
        table.add_row(name, *(f"{ms:.2f}" for ms in (*wall, *thread)), str(len(values)))
    console.print(table)
