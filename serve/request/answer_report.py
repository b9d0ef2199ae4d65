"""The report on an answer: to the caller, in the reply, and to the ledger."""

from __future__ import annotations

import time
from collections.abc import Container
from typing import Any

from experts.upstream import Failure, Usage
from orchestrator import Decision
from serve.ledger.messages import Figures
from serve.request.asking.course import Agreement, Answered, Attempt
from serve.request.conversations import with_answer
from serve.request.in_flight import InFlight
from serve.router.messages import Ruling
from serve.wire.protocol import ChatRequest, ExpertForecast, RouteReply


def route_reply(ruling: Ruling, served: Container[str], visible: Container[str] | None) -> RouteReply:
    """Return a ruling as ``/v1/route`` tells it.

    Args:
        ruling: what was decided.
        served: the experts that run here.
        visible: the experts that the key may know of; None for all.
    """
    decision = ruling.decision
    return RouteReply(
        expert=decision.expert,
        fallbacks=list(decision.fallbacks),
        reason=decision.reason,
        multiplier=decision.multiplier,
        router_version=ruling.version,
        forecasts=[
            ExpertForecast(**forecast, served=forecast["expert"] in served)
            for forecast in _forecasts(decision)
            if visible is None or forecast["expert"] in visible
        ],
    )


def answer_report(job: InFlight, answered: Answered[Any], visible: Container[str]) -> dict[str, Any]:
    """Return the ``leeroo`` object of an answer, but for the cost; it tells of ``visible`` experts only."""
    expert = answered.expert.spec.name
    report: dict[str, Any] = {
        "request_id": job.request_id,
        "expert": expert,
        "reason": job.plan.reason,
        "form": job.form.name,
        "unusable": None if answered.unusable is None else answered.unusable.reason.value,
        "tried": [_attempt_told(attempt) for attempt in answered.attempts],
        "expert_s": round(answered.took_s, 4),
        "latency_s": round(time.monotonic() - job.began, 4),
    }
    if job.keep_answer is not None:
        report["cache"] = {"kind": "miss"}
    if answered.agreement is not None:
        report |= _agreement_told(answered.agreement)
    if job.plan.ruling is None:
        return report
    if job.plan.ruling.habits is not None and answered.agreement is None:
        report["reason"] += "; one expert alone: there is nothing to compare answers by"
    decision = job.plan.ruling.decision
    return report | {
        "router_version": job.plan.ruling.version,
        "multiplier": decision.multiplier,
        "predicted_success": decision.success[expert],
        "predicted_cost_usd": decision.cost_usd[expert],
        "forecasts": [forecast for forecast in _forecasts(decision) if forecast["expert"] in visible],
    }


def costs(job: InFlight, answer_usd: float) -> dict[str, Any]:
    """Return what a report tells of money: of the answer by itself, and of all attempts together."""
    spent = {"expert_cost_usd": answer_usd, "cost_usd": job.purse.spent_usd}
    return (
        spent if job.budget_usd is None else spent | {"remaining_usd": job.budget_usd - job.purse.spent_usd}
    )


def kept_of(job: InFlight, name: str, usage: Usage | None, text: str | None) -> dict[str, Any]:
    """Return what a settlement keeps of an answer, by its fields; ``text`` is None where it broke off."""
    ruling = job.plan.ruling
    told = {} if usage is None else usage.to_openai()
    return {
        "answer": Figures(name, told, time.monotonic() - job.began),
        "conversation": None if text is None or ruling is None else _held_as(job, text),
        "expected_usd": ruling.decision.cost_usd.get(name) if ruling else None,
    }


def _held_as(job: InFlight, text: str) -> bytes | None:
    """Return what the expert of this answer now holds: the session, or the conversation with the answer."""
    request = job.request
    if job.session is not None or not isinstance(request, ChatRequest) or not request.may_be_kept:
        return job.session
    return with_answer(job.caller.key_id, request.messages, text)


def _attempt_told(attempt: Attempt) -> dict[str, Any]:
    why = attempt.why
    if isinstance(why, Failure):
        told: dict[str, Any] = {
            "kind": why.kind.value,
            "status": why.consequence.status,
            "message": why.message,
        }
    else:
        reason = why.reason.value
        told = {"kind": "unusable", "reason": reason, "status": 200, "message": f"not usable: {reason}"}
    return {"expert": attempt.expert, **told, "cost_usd": attempt.cost_usd}


def _agreement_told(agreement: Agreement) -> dict[str, Any]:
    opinions = agreement.opinions
    return {
        "asked": [{"expert": one.expert, "cost_usd": one.cost_usd, "agrees": one.agrees} for one in opinions],
        "probability": round(agreement.probability, 4),
        "reason": _agreement_reason(agreement),
    }


def _agreement_reason(agreement: Agreement) -> str:
    count = len(agreement.opinions)
    if agreement.agreeing is None:
        return f"the likeliest of {count} answers by their lengths: they cannot be compared"
    return f"{agreement.agreeing} of {count} experts asked say this"


def _forecasts(decision: Decision) -> list[dict[str, Any]]:
    return [
        {"expert": name, "success": success, "cost_usd": decision.cost_usd[name]}
        for name, success in decision.success.items()
    ]
