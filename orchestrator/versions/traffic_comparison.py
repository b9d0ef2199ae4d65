"""Two versions on served traffic, altogether and by group: what ``leeroo traffic evaluate`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from orchestrator.off_policy.canary import canary_log
from orchestrator.off_policy.estimate import Comparison, Method, compare_policies
from orchestrator.off_policy.policies import Policies, policies_of
from orchestrator.off_policy.read import Ratings, read_traffic
from orchestrator.off_policy.sequential import CanaryJudgement, CanaryRule, judge_canary
from orchestrator.versions.mlflow_registry import find_version, load_version
from warehouse import InputError, TooFewError, Warehouse

GROUPS = ("task", "key", "form")


@dataclass(frozen=True)
class TrafficComparison:
    """The first version less the second, on the requests on which both can be judged."""

    versions: tuple[str, str]
    begins: datetime
    ends: datetime
    requests: int  # that were read
    randomised: int  # of them, those in which chance had a say, or nobody else might answer
    unread: int  # left out: their embeddings are not those that a version reads
    multiplier: float  # success that a dollar has to buy: the second version's default
    overall: Comparison | None
    why_not: str | None  # why there is no estimate
    groups: dict[str, Comparison]  # those in which enough was tried
    too_small: int  # groups in which it was not
    canary: CanaryJudgement | None  # where both served


def compare_on_traffic(
    registry: str,
    warehouse: Warehouse,
    versions: Sequence[str],
    *,
    since: datetime | None = None,
    method: Method = "dr",
    ratings: Ratings = "both",
    by: str = "task",
) -> TrafficComparison:
    """Compare two versions on what was served.

    Args:
        registry: MLflow's tracking URI.
        warehouse: where traffic is recorded.
        versions: two numbers or aliases.
        since: the first moment.
        method: of the estimate.
        ratings: whose ratings count.
        by: what the groups are: task, key or form.

    Raises:
        NotReadyError: no such version, nothing was recorded, or nothing can be decided again.
        InputError: not two versions, or an unknown method, rating or group.
        TooFewError: too little was tried for an estimate, and there was no canary.
    """
    if by not in GROUPS:
        raise InputError(f"unknown group {by!r}", where="--by", fix=f"use one of {', '.join(GROUPS)}")
    numbers = tuple(find_version(registry, version) for version in versions)
    if len(numbers) != 2 or numbers[0] == numbers[1]:
        raise InputError(
            f"two different versions are compared, not {', '.join(map(str, versions))}",
            where="--versions",
            fix="name two, as in --versions champion,challenger; `leeroo versions` lists what there is",
        )
    routers = {version: load_version(registry, version) for version in numbers}
    experts = [name for router in routers.values() for name in router.experts]
    logged = read_traffic(warehouse, since=since, ratings=ratings, experts=experts)
    first, second = numbers
    multiplier = routers[second].multiplier
    log = canary_log(logged, first, second)
    canary = judge_canary(log, CanaryRule(multiplier)) if log.challenger.any() else None
    policies = policies_of(logged, routers)
    overall, why_not = None, None
    try:
        overall = _compare(policies, first, second, method, multiplier)
    except TooFewError as error:
        if canary is None:
            raise
        why_not = str(error)
    groups, too_small = _by_group(policies, by, first, second, method, multiplier)
    assert logged.requests is not None
    moments = logged.requests.created_at[[0, -1]].astype("datetime64[us]").tolist()
    return TrafficComparison(
        versions=(first, second),
        begins=moments[0],
        ends=moments[1],
        requests=len(logged),
        randomised=int(policies.logged.is_randomised.sum()),
        unread=policies.unread,
        multiplier=multiplier,
        overall=overall,
        why_not=why_not,
        groups=groups,
        too_small=too_small,
        canary=canary,
    )


def _by_group(
    policies: Policies, by: str, first: str, second: str, method: Method, multiplier: float
) -> tuple[dict[str, Comparison], int]:
    """Groups by size, and how many are too small to say anything."""
    names, counts = np.unique(policies.logged.groups[by], return_counts=True)
    found: dict[str, Comparison] = {}
    if len(names) < 2:
        return found, 0
    for name in names[np.argsort(-counts, kind="stable")].tolist():
        index = policies.logged.groups[by] == name
        part = Policies(
            policies.logged.take(index),
            {version: rows[index] for version, rows in policies.probability.items()},
            0,
        )
        try:
            found[name or "(none)"] = _compare(part, first, second, method, multiplier)
        except TooFewError:
            continue
    return found, len(names) - len(found)


def _compare(policies: Policies, first: str, second: str, method: Method, multiplier: float) -> Comparison:
    one, other = policies.probability[first], policies.probability[second]
    return compare_policies(policies.logged, one, other, method, multiplier=multiplier)
