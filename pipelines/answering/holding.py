"""Experts that no node of the cluster can hold: refused before anything is asked, given up if nodes are lost.

Ray waits for a fitting node without an end, which is right only where an autoscaler may bring one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from experts.eligibility.nodes import Cluster, ClusterNode, look_at_cluster
from warehouse import CannotRunError

if TYPE_CHECKING:
    from experts import ExpertSpec

#: How long a lost node is waited for: its successor, or itself, may be on the way.
LOST_NODE_WAIT_S = 60.0
_LOOK_EVERY_S = 3.0

_log = logging.getLogger(__name__)
_told: set[str] = set()  # nodes whose loss was told; experts side by side all see it


class LostNodeError(Exception):
    """No node can hold an expert any more; its questions stay open."""


def check_holdable(specs: Sequence[ExpertSpec], look: Callable[[], Cluster] = look_at_cluster) -> None:
    """See that for every expert there is a node that can hold it; where there is one, Ray is needed.

    Raises:
        CannotRunError: there is none for one of them, and the cluster does not grow by itself.
    """
    if not specs:
        return
    cluster = look()
    for spec in specs:
        if (why := cluster.why_never(spec.resources)) is not None:
            raise CannotRunError(
                why,
                where=f"expert {spec.name!r}",
                fix="start such a node, or change its `resources:` in the catalogue",
            )


class NodeWatch:
    """Tells of nodes that are lost, and ends a Ray Data run whose actors none can hold any more.

    It is a callback of Ray Data's: what it raises at a step ends the run, its actors with it.

    Args:
        spec: the expert of the run; others on its engine hold the same.
        look: at the cluster.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        spec: ExpertSpec,
        look: Callable[[], Cluster] = look_at_cluster,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._look, self._clock = spec, look, clock
        self._looks_at = -math.inf
        self._since: float | None = None
        self._known: dict[str, ClusterNode] = {}

    def on_execution_step(self, _executor: Any) -> None:
        """Look at the nodes now and then.

        Raises:
            LostNodeError: none has been able to hold the actors for :data:`LOST_NODE_WAIT_S`.
        """
        now = self._clock()
        if now < self._looks_at:
            return
        self._looks_at = now + _LOOK_EVERY_S
        cluster = self._look_and_tell()
        why = cluster.why_never(self._spec.resources)
        if why is None:
            self._since = None
            return
        if self._since is None:
            self._since = now
            _log.warning(
                "expert %r waits %g s for its node to come back: %s", self._spec.name, LOST_NODE_WAIT_S, why
            )
        if now - self._since >= LOST_NODE_WAIT_S:
            raise LostNodeError(f"its node was lost and did not come back: {why}")

    def before_execution_starts(self, _executor: Any) -> None:
        """Ray Data calls this."""

    def after_execution_succeeds(self, _executor: Any) -> None:
        """Tell of nodes lost since the last look: what is left after a loss may be done before the next."""
        self._look_and_tell()

    def after_execution_fails(self, _executor: Any, _error: Exception) -> None:
        """Ray Data calls this."""

    def _look_and_tell(self) -> Cluster:
        """Look at the cluster, and tell of the nodes that it has lost since this run's first look."""
        cluster = self._look()
        alive = {node.node_id: node for node in cluster.nodes}
        for node_id in self._known.keys() - alive.keys() - _told:
            _told.add(node_id)
            _log.warning(
                "node %s was lost: its work goes on elsewhere, and what was in flight there is asked again",
                self._known[node_id],
            )
        self._known |= alive
        return cluster
