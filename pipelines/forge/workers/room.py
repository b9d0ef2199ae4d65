"""Whether a Ray cluster has room for the workers of a training; said before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from warehouse import CannotRunError, InputError

MOST_WORKERS = 8  # the recipe is made for one node of at most eight GPUs


@dataclass(frozen=True)
class Room:
    """CPUs and GPUs of a cluster: all, and those that nobody has taken."""

    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float


def look_around() -> Room:
    """See what the cluster has that this process is connected to."""
    import ray

    def of(found: Mapping[str, Any]) -> tuple[float, float]:
        return float(found.get("CPU", 0)), float(found.get("GPU", 0))

    return Room(*of(ray.cluster_resources()), *of(ray.available_resources()))


def check_count(count: int, batch_size: int) -> None:
    """See that a batch of this size gives so many workers something to do.

    Raises:
        InputError: it does not, or there are more workers than the recipe is made for.
    """
    if not 1 <= count <= MOST_WORKERS:
        raise InputError(f"must be 1 to {MOST_WORKERS}, not {count}", where="--workers")
    if batch_size < count:
        raise InputError(
            f"a batch of {batch_size} leaves some of {count} workers nothing to do",
            where="--batch",
            fix=f"take a batch of at least {count}, or fewer workers",
        )


def check_room(count: int, room: Room) -> None:
    """See that so many workers have room: one GPU each where the cluster has any, else one CPU each.

    Raises:
        CannotRunError: too many for the cluster, or for what is free in it.
    """
    of, there, free = ("GPU", room.gpus, room.free_gpus) if room.gpus else ("CPU", room.cpus, room.free_cpus)
    if count > there:
        raise CannotRunError(
            f"{count} workers need a {of} each, and the cluster has {there:g}",
            where="--workers",
            fix=f"take at most {there:g}, or add nodes to the cluster",
        )
    if count > free:
        raise CannotRunError(
            f"{count} workers need a {of} each, and {free:g} of the cluster's {there:g} are free",
            where="--workers",
            fix=f"take at most {free:g}, or stop what holds the others (`ray status`)",
        )
