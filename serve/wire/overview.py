"""The reply of ``/v1/overview``: requests, spending, savings, experts, keys and decisions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

ExpertState = Literal["ok", "resting", "starting", "drained"]


class ExpertFigures(BaseModel):
    """One expert: its answers in the days asked for, and its present state."""

    expert: str = Field(description="its name")
    state: ExpertState | None = Field(description="as this ingress sees it; null if it is not served")
    answers: int = Field(description="answers given")
    share: float = Field(description="of all answers")
    cost_usd: float = Field(description="of the requests that it answered, other attempts included")
    forecast_success: float | None = Field(description="mean, over the requests it was a candidate for")
    forecast_usd: float | None = Field(description="mean forecast of a query's cost, over the same")
    p50_s: float | None = Field(description="median latency of its last answers")
    p95_s: float | None = Field(description="95th percentile of the same")
    timed: int = Field(description="number of answers behind these latencies")


class SavingsFigures(BaseModel):
    """Routed and recorded requests against the expert with the highest mean forecast of success."""

    best_expert: str = Field(description="the expert that would have answered everything")
    requests: int = Field(description="requests that it was a candidate for")
    best_usd: float = Field(description="forecast cost of its answers to them")
    paid_usd: float = Field(description="actual cost of these requests")
    saved_usd: float = Field(
        description="estimate: best_usd, scaled by paid_usd / chosen_usd, less paid_usd; below 0 if routing "
        "cost more"
    )
    best_success: float = Field(description="its mean forecast of success")
    chosen_success: float = Field(description="mean forecast of success of the chosen experts")
    chosen_usd: float = Field(description="forecast cost of the chosen experts")


class DayFigures(BaseModel):
    """One day (UTC)."""

    day: str = Field(description="YYYY-MM-DD")
    answers: int = Field(description="requests that were answered")
    failed: int = Field(description="requests that no expert could answer")
    cost_usd: float = Field(description="what those answered cost")
    saved_usd: float | None = Field(description="against the best single expert, of those compared")


class VersionFigures(BaseModel):
    """One version of the router, and the requests it decided; for a shadow, those it decided in parallel."""

    version: str = Field(description="its number")
    role: Literal["champion", "challenger", "earlier", "shadow"] = Field(description="what it is now")
    requests: int = Field(description="recorded requests")
    forecast_success: float | None = Field(description="mean forecast for the experts it chose")
    forecast_usd: float | None = Field(description="mean forecast of their cost")
    paid_usd: float | None = Field(description="mean cost of these requests; null for a shadow")
    agrees: float | None = Field(description="for a shadow: share of requests with the same choice")


class KeyFigures(BaseModel):
    """A key in its present period."""

    key_id: str = Field(description="its id")
    name: str = Field(description="name of the key")
    period: str = Field(description="day, month or total")
    requests: int = Field(description="in this period")
    spent_usd: float = Field(description="charged")
    reserved_usd: float = Field(description="reserved for requests under way")
    budget_usd: float | None = Field(description="null without a limit")
    left_usd: float | None = Field(description="the rest of the budget, without the reserved amount")


class ForecastFigures(BaseModel):
    """The router's forecast for an expert on one request."""

    expert: str = Field(description="its name")
    success: float = Field(description="expected success")
    cost_usd: float = Field(description="expected cost")


class RecentDecision(BaseModel):
    """An answer, and why that expert gave it."""

    request_id: str = Field(description="id of the request")
    at: float = Field(description="when it was settled, in seconds since 1970")
    key: str | None = Field(description="name of the key; null without one")
    expert: str = Field(description="the expert that answered")
    chosen: str | None = Field(description="the expert that was to be asked first; null if not recorded")
    why: str = Field(description="the reason for the choice; empty if not recorded")
    role: str | None = Field(description="champion, challenger, or named by the request")
    version: str | None = Field(description="of the router")
    explored: bool = Field(description="whether the expert was drawn at random to learn about it")
    form: str | None = Field(description="the form that the answer had to have")
    cost_usd: float = Field(description="of the request")
    latency_s: float = Field(description="of the answer")
    tried: list[str] = Field(description="experts asked without success, and why")
    forecasts: list[ForecastFigures] = Field(description="the likeliest right first")
    more_forecasts: int = Field(description="how many more there were")


class OverviewReply(BaseModel):
    """An endpoint's last days; only one key's if the caller is not an operator."""

    sees_all: bool = Field(description="whether the figures cover all requests, or only those of the key")
    days: int = Field(description="number of days, including today")
    first_day: str = Field(description="the first of them (UTC)")
    counted_since: float = Field(
        description="when latencies and recent decisions begin, in seconds since 1970; with the process"
    )
    answers: int = Field(description="requests that were answered")
    failed: int = Field(description="requests that were sent to experts but not answered")
    cost_usd: float = Field(description="what those answered cost")
    compared: int = Field(description="requests that were routed and recorded")
    in_flight: int | None = Field(description="requests under way in this ingress; for operators")
    p50_s: float | None = Field(description="median latency of the last answers")
    p95_s: float | None = Field(description="95th percentile of the same")
    router: Literal["ok", "not answering"] = Field(description="whether the router answers")
    champion: str | None = Field(description="the version that decides; null if no router answers")
    challenger: str | None = Field(description="the version that is tried beside it; for operators")
    savings: SavingsFigures | None = Field(description="null if no request can be compared")
    by_day: list[DayFigures] = Field(description="days with requests, the oldest first")
    experts: list[ExpertFigures] = Field(description="most answers first")
    versions: list[VersionFigures] = Field(description="most requests first")
    keys: list[KeyFigures] = Field(description="the fullest budgets first; a key sees itself")
    more_keys: int = Field(description="how many more there are")
    recent: list[RecentDecision] = Field(description="the last first")
