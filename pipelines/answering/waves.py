"""Which experts answer together: who shares an engine, and who runs beside whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from experts import ExpertSpec, probe_hardware
from experts.backends.registry import kind_of

T = TypeVar("T")

#: Share of a machine's memory that engines may plan with.
_USABLE_MEMORY = 0.8


@dataclass(frozen=True)
class ClusterCapacity:
    """What a cluster has: GPUs, CPU cores, and memory (GiB) for engines that run on CPUs.

    ``node_cores`` are those of one machine: an engine whose ``num_cpus`` is at most 1 uses them all.
    """

    gpus: float
    cores: float
    node_cores: float
    memory_gib: float


def probe_capacity() -> ClusterCapacity:
    """Look at the cluster this process is connected to."""
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    gpus = float(total.get("GPU", 0.0))
    if len(nodes) == 1:  # a local cluster's CPUs may be more than there are cores; ask the machine
        here = probe_hardware()
        return ClusterCapacity(gpus, here.cpu_count, here.cpu_count, _USABLE_MEMORY * here.memory_gib)
    cores = float(total.get("CPU", os.cpu_count() or 1))
    memory_gib = float(total.get("memory", 0.0)) / (1 << 30)
    return ClusterCapacity(gpus, cores, cores / max(1, len(nodes)), _USABLE_MEMORY * memory_gib)


def share_engines(specs: Sequence[ExpertSpec]) -> list[tuple[ExpertSpec, ...]]:
    """Group experts that can live on one engine: adapters of one base model, or ways of asking one model."""
    groups: dict[str, list[ExpertSpec]] = {}
    for spec in specs:
        groups.setdefault(kind_of(spec).engine_key(spec), []).append(spec)
    return [tuple(group) for group in groups.values()]


def plan_waves(
    items: Sequence[T], demand: Callable[[T], ClusterCapacity], capacity: ClusterCapacity
) -> list[list[T]]:
    """Put items into as few waves as first-fit finds, so that each wave fits the capacity.

    What does not fit even alone gets a wave of its own: Ray waits until the cluster has grown, and says so.
    """
    waves: list[tuple[list[T], ClusterCapacity]] = []
    for item in items:
        need = demand(item)
        for position, (wave, taken) in enumerate(waves):
            together = ClusterCapacity(
                taken.gpus + need.gpus,
                taken.cores + need.cores,
                capacity.node_cores,
                taken.memory_gib + need.memory_gib,
            )
            if (
                together.gpus <= capacity.gpus
                and together.cores <= capacity.cores
                and together.memory_gib <= capacity.memory_gib
            ):
                wave.append(item)
                waves[position] = (wave, together)
                break
        else:
            waves.append(([item], need))
    return [wave for wave, _ in waves]


def engine_demand(group: Sequence[ExpertSpec], capacity: ClusterCapacity) -> ClusterCapacity:
    """What the engines of a group hold at least; APIs and recordings hold next to nothing."""
    spec = group[0]
    if not kind_of(spec).has_engine:
        return ClusterCapacity(0, 0, capacity.node_cores, 0)
    replicas = max(1, spec.resources.replicas_min)
    if spec.resources.num_gpus:
        return ClusterCapacity(spec.resources.num_gpus * replicas, 0, capacity.node_cores, 0)
    cores = spec.resources.num_cpus if spec.resources.num_cpus > 1 else capacity.node_cores
    # An unknown size gets the whole memory, and so a wave to itself.
    memory_gib = kind_of(spec).memory_gib(spec) or capacity.memory_gib
    return ClusterCapacity(0, cores * replicas, capacity.node_cores, memory_gib * replicas)
