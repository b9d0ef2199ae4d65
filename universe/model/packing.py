"""How replicas lie on nodes: each whole on one node, within the GPUs and the GPU memory of that node."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from universe.model.limits import Hosting, NodeType
from universe.model.program import Program

UNITS = ("gpus", "gpu_memory_gib")


def packed_experts(program: Program, name: str, node: NodeType) -> list[int]:
    """Experts whose replicas compete for the nodes of a type; none where sums over all nodes say it all."""
    if node.count == 1 or not any(math.isfinite(getattr(node, unit)) for unit in UNITS):
        return []
    return [j for j, h in enumerate(program.hosting) if h.node_type == name and (h.gpus or h.gpu_memory_gib)]


def most_on_one_node(hosting: Hosting, node: NodeType) -> int:
    """How many replicas of one expert lie on an empty node."""
    rooms = [
        getattr(node, unit) / need
        for unit in UNITS
        if (need := getattr(hosting, unit)) and math.isfinite(getattr(node, unit))
    ]
    return math.floor(min(rooms, default=math.inf) + 1e-9) if rooms else 10_000


def pack_first_fit(program: Program, replicas: NDArray[np.float64]) -> bool:
    """Whether first fit, largest first, places every replica [m]; False does not prove that none can."""
    for name, node in program.limits.nodes.items():
        room = np.array([node.gpus, node.gpu_memory_gib], dtype=float)
        needs = [
            np.array([program.hosting[j].gpus, program.hosting[j].gpu_memory_gib])
            for j in packed_experts(program, name, node)
            for _ in range(round(replicas[j]))
        ]
        needs.sort(key=lambda need: -float(np.max(need / np.maximum(room, 1e-12))))
        free = np.tile(room, (node.count, 1))
        for need in needs:
            fitting = np.flatnonzero((free >= need - 1e-9).all(axis=1))
            if not len(fitting):
                return False
            free[fitting[0]] -= need
    return True
