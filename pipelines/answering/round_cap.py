"""The spend cap of a run of answers as the actor that its experts ask."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from experts import SpendCap


@contextlib.contextmanager
def hold_cap(budget_usd: float | None, *, needed: bool = True) -> Iterator[Any]:
    """Hold the actor that all experts ask for money; None without a budget or where nothing is asked.

    Raises:
        InputError: the budget is not a finite number of 0 or more.
    """
    if budget_usd is not None:
        SpendCap(budget_usd)  # a bad number is refused here, in words
    if budget_usd is None or not needed:
        yield None
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside the driver: another node's loss must not take the money of all experts with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    cap = ray.remote(num_cpus=0, scheduling_strategy=here)(SpendCap).remote(budget_usd)
    try:
        yield cap
    finally:
        ray.kill(cap)


def holder_prefix(name: str) -> str:
    """What the names of all holders of a group begin with, and of no other: "a" and "a/b" may be experts."""
    return f"{name}\x1f"
