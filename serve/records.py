"""What is told of an answer: to the caller, in the reply, and to the warehouse, as a decision."""

from __future__ import annotations

import time
from collections.abc import Container
from datetime import UTC, datetime
from typing import Any

from serve.dispatch import Answered
from serve.job import Job
from serve.protocol import ExpertForecast, RouteReply
from serve.router import Ruling


def route_reply(ruling: Ruling, served: Container[str]) -> RouteReply:
    """Return a ruling as ``/v1/route`` tells it."""
    decision = ruling.decision
    return RouteReply(
        expert=decision.expert,
        fallbacks=list(decision.fallbacks),
        reason=decision.reason,
        multiplier=decision.multiplier,
        router_version=ruling.version,
        forecasts=[
            ExpertForecast(
                expert=name, success=success, cost_usd=decision.cost_usd[name], served=name in served
            )
            for name, success in decision.success.items()
        ],
    )


def answer_report(job: Job, answered: Answered[Any], served: Container[str]) -> dict[str, Any]:
    """Return the ``leeroo`` object of an answer, but for the cost."""
    expert = answered.expert.spec.name
    report: dict[str, Any] = {
        "request_id": job.request_id,
        "expert": expert,
        "reason": job.plan.reason,
        "tried": [
            {"expert": attempt.expert, "status": attempt.failure.status, "message": attempt.failure.message}
            for attempt in answered.attempts
        ],
        "expert_s": round(answered.took_s, 4),
        "latency_s": round(time.monotonic() - job.began, 4),
    }
    if job.plan.ruling is None:
        return report
    decision = job.plan.ruling.decision
    return report | {
        "router_version": job.plan.ruling.version,
        "multiplier": decision.multiplier,
        "predicted_success": decision.success[expert],
        "predicted_cost_usd": decision.cost_usd[expert],
        "forecasts": [
            {"expert": name, "success": success, "cost_usd": decision.cost_usd[name]}
            for name, success in decision.success.items()
            if name in served
        ],
    }


def decision_row(job: Job, expert: str, cost_usd: float) -> dict[str, Any]:
    """Return a row of the warehouse's decisions table, without the time it is written."""
    if job.plan.ruling is None:
        raise ValueError("a request that was not routed has no decision")
    decision = job.plan.ruling.decision
    return {
        "request_id": job.request_id,
        "router_version": job.plan.ruling.version,
        "experts": list(decision.success),
        "predicted_success": list(decision.success.values()),
        "predicted_cost_usd": [decision.cost_usd[name] for name in decision.success],
        "multiplier": decision.multiplier,
        "expert": expert,
        "fallbacks": list(decision.fallbacks),
        "cost_usd": cost_usd,
        "latency_s": time.monotonic() - job.began,
        "round": f"serve-{datetime.now(UTC):%Y-%m-%d}",
    }
