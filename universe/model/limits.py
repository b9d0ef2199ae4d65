"""The limits on a universe's cost and content: hosting, node types and limits, checked when built."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from warehouse import InputError


@dataclass(frozen=True)
class Hosting:
    """The resources for hosting one expert, per replica. The default suits an API: nothing to host."""

    usd_per_hour: float = 0.0
    gpus: float = 0.0
    gpu_memory_gib: float = 0.0
    node_type: str = "default"
    queries_per_s: float = math.inf  # what one replica can answer
    min_replicas: int = 1

    def __post_init__(self) -> None:
        _non_negative(self, "hosting", ("usd_per_hour", "gpus", "gpu_memory_gib"))
        if not self.queries_per_s > 0:
            raise InputError(
                f"queries_per_s must be above 0, not {self.queries_per_s}",
                where="hosting, field queries_per_s",
            )
        _make_whole(self, "hosting", "min_replicas")


@dataclass(frozen=True)
class NodeType:
    """Nodes of one type: how many there are, and what each of them has. A replica lies whole on one node."""

    gpus: float = math.inf
    gpu_memory_gib: float = math.inf
    count: int = 1

    def __post_init__(self) -> None:
        _non_negative(self, "node type", ("gpus", "gpu_memory_gib"), finite=False)
        _make_whole(self, "node type", "count")


@dataclass(frozen=True)
class Limits:
    """The constraints of a universe. Every one is optional; those not given do not bind.

    ``min_score`` is what routing over the universe must reach on average in a domain, within the query
    budget. ``exclusive`` lists groups of near-identical experts of which at most one is kept.
    ``queries_per_s`` is the load to carry: with it, experts get as many replicas as their share of the
    traffic needs, and hosting is charged for each.
    """

    max_experts: int | None = None
    max_cost_usd: float | None = None  # mean per query
    max_usd_per_hour: float | None = None
    nodes: Mapping[str, NodeType] = field(default_factory=dict)
    must_have: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    min_score: Mapping[str, float] = field(default_factory=dict)  # domain -> mean score in [0, 1]
    queries_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_experts is not None and self.max_experts < 1:
            raise InputError(f"at least one expert is needed, not {self.max_experts}", where="max_experts")
        for name in ("max_cost_usd", "max_usd_per_hour", "queries_per_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"must be a number of at least 0, not {value}", where=name)
        if self.queries_per_s == 0:
            raise InputError("a load of 0 queries per second needs no universe", where="queries_per_s")
        for domain, score in self.min_score.items():
            if not 0 <= score <= 1:
                raise InputError(f"must be in [0, 1], not {score}", where=f"min_score, domain {domain!r}")
        both = sorted(set(self.must_have) & set(self.must_not))
        if both:
            raise InputError(
                f"{both[0]!r} is in must_have and in must_not", fix="take it off one of the lists"
            )

    def names(self) -> Iterable[str]:
        """Every expert that the limits mention."""
        yield from self.must_have
        yield from self.must_not
        for group in self.exclusive:
            yield from group


def _non_negative(instance: object, what: str, names: tuple[str, ...], *, finite: bool = True) -> None:
    known = {f.name for f in fields(instance)}  # type: ignore[arg-type]
    for name in names:
        assert name in known
        value = getattr(instance, name)
        if math.isnan(value) or value < 0 or (finite and math.isinf(value)):
            raise InputError(f"must be a number of at least 0, not {value}", where=f"{what}, field {name}")


def _make_whole(instance: object, what: str, name: str) -> None:
    """Turn a whole number that a file gave as ``2.0`` into 2.

    Raises:
        InputError: it is below 1, or not whole.
    """
    value = getattr(instance, name)
    if not (value >= 1 and value == int(value)):
        raise InputError(f"must be a whole number of at least 1, not {value}", where=f"{what}, field {name}")
    object.__setattr__(instance, name, int(value))
