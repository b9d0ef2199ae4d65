"""Whether the nodes of a cluster can hold an endpoint: its experts, its home, its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experts import ExpertSpec
from experts.catalogue.spec import Resources
from experts.eligibility.nodes import ClusterNode, can_hold, look_at_cluster
from serve.config import ServeConfig
from serve.config.home_mark import sees_home
from serve.experts.deployments import called, cpus_of
from serve.ledger.store.place import PostgresPlace, ledger_place
from warehouse import CannotRunError, InputError

#: What a part of the endpoint holds; see `serve.app.LIGHT`.
PART_CPUS = 0.1
_LOOK_S = 120.0


def check_nodes(config: ServeConfig, specs: Sequence[ExpertSpec]) -> None:
    """Look at the nodes of the cluster that this process is connected to, before anything starts.

    Args:
        config: settled, with the home's mark.
        specs: the experts to serve.

    Raises:
        CannotRunError: no node can hold an expert, or a part of the endpoint, and none will come; or a node
            that may get a part does not see the home.
        InputError: several nodes may get the bookkeeper, and the ledger is a file.
    """
    cluster = look_at_cluster()
    part = Resources(num_cpus=PART_CPUS, node_labels=config.node_labels)
    needs = {"the endpoint": part}
    for spec in specs:
        if called(spec) is None:
            needs[f"expert {spec.name!r}"] = spec.resources.model_copy(update={"num_cpus": cpus_of(spec)})
    for who, wanted in needs.items():
        if (why := cluster.why_never(wanted)) is not None:
            raise CannotRunError(
                why, where=who, fix="start such a node, or change the labels and resources that are wanted"
            )
    offered = [node for node in cluster.nodes if can_hold(node, part)]
    if len(offered) < 2:
        return
    if not isinstance(ledger_place(config.home, config.ledger), PostgresPlace):
        raise InputError(
            f"the ledger is a file, and {len(offered)} nodes may get the bookkeeper that writes it: "
            + ", ".join(map(str, offered)),
            where=f"home {config.home}",
            fix="put the ledger on PostgreSQL (LEEROO_LEDGER), or name the one node that has the home by its "
            "labels: `node_labels`",
        )
    blind = _find_blind(offered, config.home, config.home_mark)
    if blind:
        raise CannotRunError(
            f"{', '.join(map(str, blind))}: no such home is seen there",
            where=f"home {config.home}",
            fix="put the home on a disk that all nodes share, or name the nodes that see it by their labels: "
            "`node_labels`",
        )


def _find_blind(nodes: Sequence[ClusterNode], home: Path, mark: str | None) -> list[ClusterNode]:
    """Return the nodes on which a task does not see the home."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=1)(sees_home)
    looks = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)).remote(
            home, mark
        )
        for node in nodes
    ]
    seen = ray.get(looks, timeout=_LOOK_S)
    return [node for node, is_seen in zip(nodes, seen, strict=True) if not is_seen]
