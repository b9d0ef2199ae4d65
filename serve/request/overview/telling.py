"""The overview as callers see it: the ledger's sums beside the state of experts and router."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal

from serve.ledger.overview.seen import (
    KeyBudget,
    LedgerOverview,
    RecentRequest,
    Savings,
    Tally,
    estimate_saved_usd,
)
from serve.wire.overview import (
    DayFigures,
    ExpertFigures,
    ExpertState,
    ForecastFigures,
    KeyFigures,
    OverviewReply,
    RecentDecision,
    SavingsFigures,
    VersionFigures,
)

_MOST_FORECASTS = 12  # shown of one decision


def tell_overview(
    seen: LedgerOverview,
    *,
    days: int,
    states: Mapping[str, ExpertState],
    versions: tuple[str, str | None] | None,
    in_flight: int,
) -> OverviewReply:
    """Return the overview for a caller.

    Args:
        seen: what the ledger shows this caller.
        days: that it is of.
        states: of the experts that the caller may know of.
        versions: champion and challenger; None where the router does not answer.
        in_flight: requests under way in this ingress.
    """
    champion, challenger = versions or (None, None)
    everything, savings = seen.everything, seen.savings
    return OverviewReply(
        sees_all=seen.sees_all,
        days=days,
        first_day=seen.first_day,
        counted_since=seen.counted_since,
        answers=everything.answers,
        failed=everything.failed,
        cost_usd=everything.cost_usd,
        compared=everything.compared,
        in_flight=in_flight if seen.sees_all else None,
        p50_s=None if seen.latency is None else seen.latency.p50_s,
        p95_s=None if seen.latency is None else seen.latency.p95_s,
        router="not answering" if versions is None else "ok",
        champion=champion,
        challenger=challenger if seen.sees_all else None,
        savings=None if savings is None else SavingsFigures(**asdict(savings), saved_usd=savings.saved_usd),
        by_day=[_day(day, tally, best, savings) for day, tally, best in seen.days],
        experts=_experts(seen, states),
        versions=_versions(seen, champion, challenger),
        keys=[_key(key) for key in seen.keys],
        more_keys=seen.more_keys,
        recent=[_decision(one, seen.key_names) for one in seen.recent],
    )


def _experts(seen: LedgerOverview, states: Mapping[str, ExpertState]) -> list[ExpertFigures]:
    names = sorted({*seen.experts, *states}, key=lambda name: (-_of(seen, name).answers, name))
    return [_expert(seen, name, states.get(name)) for name in names]


def _expert(seen: LedgerOverview, name: str, state: ExpertState | None) -> ExpertFigures:
    tally, latency = _of(seen, name), seen.latencies.get(name)
    return ExpertFigures(
        expert=name,
        state=state,
        answers=tally.answers,
        share=tally.answers / max(seen.everything.answers, 1),
        cost_usd=tally.cost_usd,
        forecast_success=_mean(tally.success, tally),
        forecast_usd=_mean(tally.forecast_usd, tally),
        p50_s=None if latency is None else latency.p50_s,
        p95_s=None if latency is None else latency.p95_s,
        timed=0 if latency is None else latency.answers,
    )


def _versions(seen: LedgerOverview, champion: str | None, challenger: str | None) -> list[VersionFigures]:
    found = []
    for version, tally in seen.versions.items():
        role: Literal["champion", "challenger", "earlier"] = (
            "champion" if version == champion else "challenger" if version == challenger else "earlier"
        )
        chosen = _mean(tally.chosen_success, tally), _mean(tally.chosen_usd, tally)
        found.append(_version(version, role, tally, *chosen, paid_usd=_mean(tally.paid_usd, tally)))
    for version, tally in seen.shadows.items():
        chosen = _mean(tally.success, tally), _mean(tally.forecast_usd, tally)
        found.append(_version(version, "shadow", tally, *chosen, agrees=_mean(tally.answers, tally)))
    return sorted(found, key=lambda one: -one.requests)


def _version(
    version: str,
    role: Literal["champion", "challenger", "earlier", "shadow"],
    tally: Tally,
    success: float | None,
    forecast_usd: float | None,
    *,
    paid_usd: float | None = None,
    agrees: float | None = None,
) -> VersionFigures:
    return VersionFigures(
        version=version,
        role=role,
        requests=tally.compared,
        forecast_success=success,
        forecast_usd=forecast_usd,
        paid_usd=paid_usd,
        agrees=agrees,
    )


def _day(day: str, tally: Tally, best: Tally, savings: Savings | None) -> DayFigures:
    saved_usd = None
    if savings is not None:
        saved_usd = estimate_saved_usd(best.forecast_usd, best.chosen_usd, best.paid_usd)
    return DayFigures(
        day=day, answers=tally.answers, failed=tally.failed, cost_usd=tally.cost_usd, saved_usd=saved_usd
    )


def _key(key: KeyBudget) -> KeyFigures:
    left_usd = None if key.budget_usd is None else key.budget_usd - key.spent_usd - key.reserved_usd
    return KeyFigures(**asdict(key), left_usd=None if left_usd is None else max(0.0, left_usd))


def _decision(request: RecentRequest, names: Mapping[str, str]) -> RecentDecision:
    first = request.forecasts[:_MOST_FORECASTS]
    if request.chosen is not None and request.chosen not in {one.expert for one in first}:
        chosen = [one for one in request.forecasts if one.expert == request.chosen]
        first = (*first[: _MOST_FORECASTS - len(chosen)], *chosen)
    return RecentDecision(
        request_id=request.request_id,
        at=request.at,
        key=None if request.key_id is None else names.get(request.key_id, request.key_id),
        expert=request.expert,
        chosen=request.chosen,
        why=request.why,
        role=request.role,
        version=request.version,
        explored=request.explored,
        form=request.form,
        cost_usd=request.cost_usd,
        latency_s=request.latency_s,
        tried=[f"{expert}: {why}" for expert, why in request.tried],
        forecasts=[ForecastFigures(**asdict(one)) for one in first],
        more_forecasts=len(request.forecasts) - len(first),
    )


def _of(seen: LedgerOverview, name: str) -> Tally:
    return seen.experts.get(name, Tally())


def _mean(total: float, tally: Tally) -> float | None:
    return total / tally.compared if tally.compared else None
