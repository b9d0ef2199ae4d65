"""The difference between challenger and champion on served traffic, by the better of two methods."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.off_policy.canary import canary_log
from orchestrator.off_policy.estimate import Comparison, Method, compare_policies
from orchestrator.off_policy.intervals import Interval
from orchestrator.off_policy.logged import LoggedTraffic
from orchestrator.off_policy.policies import policies_of
from orchestrator.off_policy.sequential import CanaryJudgement, CanaryRule, judge_canary
from orchestrator.policy import Orchestrator
from warehouse import NotReadyError, TooFewError


@dataclass(frozen=True)
class TrafficEvidence:
    """The difference (challenger minus champion) on served traffic, or the reason for having no estimate."""

    comparison: Comparison | None = None
    canary: CanaryJudgement | None = None  # where it had enough units: then it counts
    why_not: str | None = None

    @property
    def value(self) -> Interval | None:
        """95% interval of the difference in success - multiplier * cost; None without an estimate."""
        if self.canary is not None:
            return self.canary.value
        return self.comparison.value_difference.interval if self.comparison else None

    @property
    def is_better(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.value is not None and self.value.low > 0

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.value is not None and self.value.high < 0

    def __str__(self) -> str:
        if self.value is None:
            return f"the traffic says nothing: {self.why_not}"
        how = "by the canary" if self.canary is not None else "estimated from what was explored"
        return (
            f"on traffic [{100 * self.value.low:+.2f}, {100 * self.value.high:+.2f}] points of value, {how}"
        )

    def figures(self) -> dict[str, float]:
        """Return the figures that are kept as metrics of the version."""
        if self.value is None:
            return {}
        found = {"traffic_value_low": self.value.low, "traffic_value_high": self.value.high}
        if self.canary is not None:
            return found | {
                "traffic_success_low": self.canary.success.low,
                "traffic_success_high": self.canary.success.high,
                "traffic_cost_low_usd": self.canary.cost_usd.low,
                "traffic_cost_high_usd": self.canary.cost_usd.high,
                "traffic_units": self.canary.champion_units + self.canary.challenger_units,
                "traffic_rated": self.canary.rated,
            }
        assert self.comparison is not None
        success, cost = self.comparison.success_difference, self.comparison.cost_difference
        return found | {
            "traffic_value": self.comparison.value_difference.value,
            "traffic_success": success.value,
            "traffic_success_low": success.interval.low,
            "traffic_success_high": success.interval.high,
            "traffic_cost_usd": cost.value,
            "traffic_cost_low_usd": cost.interval.low,
            "traffic_cost_high_usd": cost.interval.high,
            "traffic_requests": self.comparison.requests,
            "traffic_rated": self.comparison.rated,
            "traffic_effective_n": success.effective_n,
        }


def weigh_traffic(
    logged: LoggedTraffic,
    challenger: tuple[str, Orchestrator],
    champion: tuple[str, Orchestrator],
    *,
    method: Method = "dr",
) -> TrafficEvidence:
    """Compare two versions on served traffic, at the champion's price on cost.

    A canary in which both versions served enough units is a randomised experiment, and is used as such. If
    there is none, explored requests are weighted (:func:`compare_policies`). The two are never combined,
    since each test has an error rate of its own.

    Args:
        logged: read from a warehouse.
        challenger, champion: version and router.
        method: of the estimate.
    """
    multiplier = champion[1].multiplier
    rule = CanaryRule(multiplier)
    judged = judge_canary(canary_log(logged, challenger[0], champion[0]), rule)
    is_long = min(judged.champion_units, judged.challenger_units) >= rule.least_units and judged.rated > 0
    if is_long:
        return TrafficEvidence(canary=judged)
    try:
        found = policies_of(logged, dict([challenger, champion]))
        first, second = found.probability[challenger[0]], found.probability[champion[0]]
        return TrafficEvidence(compare_policies(found.logged, first, second, method, multiplier=multiplier))
    except (TooFewError, NotReadyError) as error:
        return TrafficEvidence(why_not=str(error))
