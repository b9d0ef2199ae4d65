"""The record of one settled request, as the overview counts and shows it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import orjson

from serve.ledger.messages import Settled, Settlement
from serve.ledger.overview.seen import Forecast, RecentRequest, Tally
from serve.ledger.overview.tallies import Kind

_MOST_USD = 1e9  # beyond this it is no cost, and would spoil every sum


def read_request(settlement: Settlement, settled: Settled, at: float) -> RecentRequest | None:
    """Return the record of a request; None if no expert answered it."""
    answer = settlement.answer
    if answer is None:
        return None
    paid_usd = settlement.cost_usd if settled.charged_usd is None else settled.charged_usd
    known = _amount(paid_usd), _amount(answer.latency_s)
    if not settlement.records:
        return RecentRequest(settlement.request_id, settlement.caller.key_id, at, answer.expert, *known)
    row = orjson.loads(settlement.records[0].content)
    return RecentRequest(
        settlement.request_id,
        settlement.caller.key_id,
        at,
        answer.expert,
        *known,
        recorded=True,
        why=settlement.why,
        role=row["role"],
        version=row.get("router_version"),
        explored=bool(row["explored"]),
        form=row.get("form"),
        chosen=row["chosen"],
        tried=tuple(zip(row["tried"], row["tried_why"], strict=True)),
        forecasts=_forecasts(row),
    )


def tallies_of(request: RecentRequest, settlement: Settlement) -> Iterator[tuple[Kind, str, Tally]]:
    """Yield what a request adds to the sums: its kind, its name, and the amounts."""
    answered = Tally(answers=1, cost_usd=request.cost_usd)
    by_name = {forecast.expert: forecast for forecast in request.forecasts}
    chosen = by_name.get(request.chosen or "")
    if chosen is None:
        yield "all", "", answered
        yield "expert", request.expert, answered
        return
    paid_usd = request.cost_usd

    def compared(success: float = 0.0, forecast_usd: float = 0.0, **more: Any) -> Tally:
        return Tally(
            compared=1,
            success=success,
            forecast_usd=forecast_usd,
            chosen_success=chosen.success,
            chosen_usd=chosen.cost_usd,
            paid_usd=paid_usd,
            **more,
        )

    everything = compared(answers=1, cost_usd=paid_usd)
    yield "all", "", everything
    yield "version", request.version or "?", everything
    yield "expert", request.expert, answered
    for name, forecast in by_name.items():
        yield "expert", name, compared(forecast.success, forecast.cost_usd)
    for record in settlement.records[1:]:
        shadow = orjson.loads(record.content)
        other = {one.expert: one for one in _forecasts(shadow)}.get(shadow["chosen"])
        if other is not None:
            same = int(shadow["chosen"] == request.chosen)
            beside = compared(other.success, other.cost_usd, answers=same)
            yield "shadow", shadow["router_version"] or "?", beside


def _forecasts(row: dict[str, Any]) -> tuple[Forecast, ...]:
    if row.get("predicted_success") is None:
        return ()
    found = [
        Forecast(name, success, cost_usd)
        for name, success, cost_usd in zip(
            row["experts"], row["predicted_success"], row["predicted_cost_usd"], strict=True
        )
        if _is_amount(success) and _is_amount(cost_usd)
    ]
    return tuple(sorted(found, key=lambda one: -one.success))


def _is_amount(told: Any) -> bool:
    return isinstance(told, int | float) and math.isfinite(told) and 0 <= told <= _MOST_USD


def _amount(told: Any) -> float:
    return float(told) if _is_amount(told) else 0.0
