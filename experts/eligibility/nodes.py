"""Which nodes of a Ray cluster can hold an expert: what it asks for against what each node has in all.

What a node has free at the moment does not count: Ray waits for that by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experts.catalogue.spec import Resources

_SEVERAL = re.compile(r"(!?)in\((.*)\)")
#: How Ray names the kinds of nodes of a cluster that nobody lets grow.
_FIXED_KIND = "node_"
_KIND = "accelerator_type:"


@dataclass(frozen=True)
class ClusterNode:
    """A node that is alive.

    Attributes:
        address: of the node.
        resources: what it has in all, in Ray's words and units.
        labels: of the node.
        node_id: Ray's own name of it.
    """

    address: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]
    node_id: str = ""

    def __str__(self) -> str:
        """What it is called in messages."""
        told = [f"{self.resources.get(name, 0):g} {name}s" for name in ("CPU", "GPU")]
        kinds = sorted(name.partition(":")[2] for name in self.resources if name.startswith(_KIND))
        labels = [f"{name}={value}" for name, value in self.labels.items() if not name.startswith("ray.io/")]
        return f"{self.address} ({', '.join([*told, *kinds, *labels])})"


@dataclass(frozen=True)
class Cluster:
    """The nodes of a cluster that are alive, and whether an autoscaler may bring others."""

    nodes: tuple[ClusterNode, ...]
    can_grow: bool = False

    def why_never(self, needs: Resources) -> str | None:
        """Say why no node can hold a replica, and what nodes there are; None where one can, or may come."""
        if self.can_grow or any(can_hold(node, needs) for node in self.nodes):
            return None
        there = ", ".join(map(str, self.nodes)) or "none"
        return f"no node can hold it: it takes {_words(needs)}, and the nodes are {there}"


def look_at_cluster() -> Cluster:
    """Look at the cluster that this process is connected to."""
    import ray

    nodes = tuple(
        ClusterNode(node["NodeManagerAddress"], node["Resources"], node.get("Labels", {}), node["NodeID"])
        for node in ray.nodes()
        if node["Alive"]
    )
    return Cluster(nodes, _can_grow())


def _can_grow() -> bool:
    import ray
    from ray._private import ray_constants
    from ray.experimental.internal_kv import _internal_kv_get
    from ray.util.client import ray as client

    if client.is_connected():  # from outside of the cluster nobody can tell
        return True
    config = ray._private.state.state.get_cluster_config()  # told by the second generation of autoscalers
    if config is not None and any(group.max_count for group in config.node_group_configs):
        return True
    told = _internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS)
    report: dict[str, Any] = (json.loads(told).get("autoscaler_report") if told else None) or {}
    kinds = [*(report.get("active_nodes") or ()), *(kind for kind, *_ in report.get("pending_nodes") or ())]
    return any(not kind.startswith(_FIXED_KIND) for kind in kinds)


def can_hold(node: ClusterNode, needs: Resources) -> bool:
    """Tell whether a node has in all what one replica holds."""
    return (
        node.resources.get("CPU", 0.0) >= needs.num_cpus
        and node.resources.get("GPU", 0.0) >= needs.num_gpus
        and (needs.accelerator_type is None or f"{_KIND}{needs.accelerator_type}" in node.resources)
        and has_labels(node.labels, needs.node_labels)
    )


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell whether labels are as Ray's selectors want them.

    >>> has_labels({"region": "eu"}, {"region": "in(eu, us)", "spot": "!true"})
    True
    """
    return all(_fits(labels.get(name), selector) for name, selector in wanted.items())


def _fits(value: str | None, selector: str) -> bool:
    if several := _SEVERAL.fullmatch(selector):
        return (value in {word.strip() for word in several[2].split(",")}) != bool(several[1])
    if selector.startswith("!"):
        return value != selector[1:]
    return value == selector


def _words(needs: Resources) -> str:
    told = [f"{needs.num_cpus:g} CPUs"]
    told += [f"{needs.num_gpus:g} GPUs"] if needs.num_gpus else []
    told += [f"an accelerator {needs.accelerator_type}"] if needs.accelerator_type else []
    told += [f"a label {name}={value}" for name, value in needs.node_labels.items()]
    return ", ".join(told)
