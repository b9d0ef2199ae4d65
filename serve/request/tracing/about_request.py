"""The attributes of spans about a request: decision, reservation, cost and reason; texts if allowed."""

from __future__ import annotations

import re
from typing import Any

from experts.upstream import Failure
from orchestrator.selection.value import COST_ALONE
from orchestrator.text.queries import take_ends
from serve.ledger.messages import Caller, Refusal, Reserved
from serve.request.in_flight import CompletionRequest, InFlight
from serve.request.recording.records import Ending
from serve.request.tracing.about_experts import EXPERT, Told
from serve.request.tracing.notes import Outcome
from serve.request.tracing.request_trace import CLIENT_LEFT
from serve.router.messages import Ruling
from serve.tracing.messages import Said
from serve.wire.protocol import ChatRequest
from serve.wire.recording import Recording
from serve.wire.vectors import VectorRequest

_ROUTED = re.compile(r"leeroo(:[\w-]{1,40}){0,2}", re.ASCII)
_MOST_CHARACTERS = 64_000  # of all messages; the latest ones are kept


def operation_of(request: CompletionRequest) -> str:
    """Return what is asked for, as the conventions name it."""
    if isinstance(request, VectorRequest):
        return request.task
    return "chat" if isinstance(request, ChatRequest) else "text_completion"


def about_asked(request: CompletionRequest, caller: Caller, served: Any) -> Told:
    """Return what is known of a request before anything is decided.

    A model of which nobody knows is not named: a client may have put anything there.
    """
    told: Told = {"gen_ai.operation.name": operation_of(request), "leeroo.stream": bool(request.stream)}
    if request.model in served or _ROUTED.fullmatch(request.model):
        told["gen_ai.request.model"] = request.model
    if caller.key_id is not None:
        told["leeroo.key_id"] = caller.key_id
    return told


def about_reserved(reserved: Reserved) -> Told:
    """Return what became of a reservation."""
    grant = reserved.grant
    if isinstance(grant, Refusal):
        return {"leeroo.refused": grant.code}
    told: Told = {"leeroo.reserved_usd": grant.reserved_usd}
    if grant.remaining_usd is not None:
        told["leeroo.remaining_usd"] = grant.remaining_usd
    return told


def about_ruling(ruling: Ruling, recording: Recording) -> Told:
    """Return what was decided; forecasts, which say something of the text, only where they may be kept."""
    decision = ruling.decision
    told: Told = {
        "leeroo.router_version": ruling.version,
        "leeroo.role": ruling.role,
        "leeroo.multiplier": min(decision.multiplier, COST_ALONE),
        EXPERT: decision.expert,
        "leeroo.reason": decision.reason,
    }
    if recording != "none":
        names = (decision.expert, *decision.fallbacks)
        told |= {
            "leeroo.experts": names,
            "leeroo.predicted_success": tuple(float(decision.success[name]) for name in names),
            "leeroo.predicted_cost_usd": tuple(float(decision.cost_usd[name]) for name in names),
        }
    return told


def about_settled(is_settled: bool) -> Told:
    """Return whether a request's cost is in the ledger."""
    return {"leeroo.is_settled": is_settled}


def outcome_of(job: InFlight, ending: Ending | None, recording: Recording) -> Outcome:
    """Return the outcome of a request; ``ending`` is None if no expert answered it."""
    plan, ruling = job.plan, job.plan.ruling
    told: Told = {
        "leeroo.request_id": job.request_id,
        "leeroo.reason": plan.reason,
        "leeroo.cost_usd": job.purse.spent_usd,
        "leeroo.reserved_usd": job.purse.reserved_usd,
    }
    if job.preset is not None:
        told["leeroo.preset"] = job.preset
    if job.order:
        chosen = job.order[0].spec.name
        told["leeroo.propensity"] = float(plan.propensities.get(chosen, 0.0))
        told |= {"leeroo.chosen": chosen, "leeroo.explored": plan.explored}
    if ruling is not None:
        told["leeroo.router_version"] = ruling.version
        told["leeroo.multiplier"] = min(ruling.decision.multiplier, COST_ALONE)
    if recording != "none":
        told["leeroo.form"] = job.form.name
    if ending is not None:
        told |= _about_answer(ending)
    error = CLIENT_LEFT if job.has_left else None if ending is None else ending.cut
    return told, _said(job, ending) if recording == "texts" else None, error


def _about_answer(ending: Ending) -> Told:
    answered = ending.answered
    expert = answered.expert.spec.name
    told: Told = {"gen_ai.response.model": expert, EXPERT: expert}
    if answered.unusable is not None:
        told["leeroo.unusable"] = answered.unusable.reason.value
    if answered.attempts:
        told["leeroo.tried"] = tuple(attempt.expert for attempt in answered.attempts)
        told["leeroo.tried_why"] = tuple(_why(attempt.why) for attempt in answered.attempts)
    if answered.agreement is not None:
        opinions = answered.agreement.opinions
        told["leeroo.asked"] = tuple(one.expert for one in opinions)
        if (agreeing := answered.agreement.agreeing) is not None:
            told["leeroo.agreeing"] = agreeing
        told["leeroo.probability"] = float(answered.agreement.probability)
    if ending.finish_reason is not None:
        told["leeroo.finish_reason"] = str(ending.finish_reason)[:40]
    return told


def _why(why: Any) -> str:
    return why.kind.value if isinstance(why, Failure) else str(why.reason.value)


def _said(job: InFlight, ending: Ending | None) -> Said:
    """Return the words: the latest messages, and of a long one its ends."""
    request, left, turns = job.request, _MOST_CHARACTERS, []
    spoken = (
        [(message.role, message.text) for message in request.messages]
        if isinstance(request, ChatRequest)
        else [("user", request.query)]
    )
    for role, text in reversed(spoken):
        ends = take_ends(text)
        if (left := left - len(ends)) < 0:
            break
        turns.append((role, ends))
    answer = None if ending is None else take_ends(ending.text)
    return Said(tuple(reversed(turns)), answer, None if ending is None else ending.finish_reason)
