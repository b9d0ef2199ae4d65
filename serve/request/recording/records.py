"""The rows of the traffic that a request leaves: numbers, names and keyed hashes, and no text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from experts.upstream import Failure, Usage
from orchestrator.selection.value import COST_ALONE
from orchestrator.text.queries import take_ends
from serve.ledger.messages import TrafficRecord
from serve.request.asking.course import Answered
from serve.request.in_flight import InFlight
from serve.router.messages import Features, Ruling
from serve.wire.protocol import ChatRequest
from serve.wire.recording import Recording
from warehouse.traffic.hashing import Kind

SHADOW = ":shadow"
_MOST_TOKENS = 2**31 - 1
_MOST_CHARACTERS = 200  # of a task's name

Hash = Callable[[Kind, str], str]


@dataclass(frozen=True)
class Ending:
    """The end of an answered request."""

    answered: Answered[Any]
    usage: Usage | None
    answer_cost_usd: float
    text: str = field(repr=False)
    finish_reason: str | None = None  # None where the answer broke off
    is_stream: bool = False
    cut: str | None = None  # why it broke off, in a word


def traffic_records(
    job: InFlight, ending: Ending, recording: Recording, hash_of: Hash, expert_version: str
) -> tuple[TrafficRecord, ...]:
    """Return the row of a request, and that of a challenger which decided beside it and was not followed."""
    answered, plan, request = ending.answered, job.plan, job.request
    now, ends_at = datetime.now(UTC), time.monotonic()
    expert = answered.expert.spec.name
    asked = [] if answered.agreement is None else [one.expert for one in answered.agreement.opinions]
    tried = [attempt.expert for attempt in answered.attempts]
    user, metadata = _user_of(job), _metadata_of(job)
    common: dict[str, Any] = {
        "created_at": round(now.timestamp() * 1e6),
        "round": f"serve-{now:%Y-%m-%d}",
        "key_id": job.caller.key_id,
        "preset": job.preset,
        "form": job.form.name,
        "task": _text(metadata.get("task")),
        "user_hash": None if user is None else hash_of("user", user),
        "conversation_hash": _conversation_hash(job, metadata, ending.text, hash_of),
        "text_hash": hash_of("text", _both_ends(request.query)),
        "recording": recording,
    }
    chosen = _asked_first(job, tried, asked, expert)
    first_token_s = answered.asked_at + answered.took_s - job.began
    row = common | {
        "request_id": job.request_id,
        "role": "named" if plan.ruling is None else plan.ruling.role,
        "canary_share": None if plan.ruling is None else plan.ruling.canary_share,
        "canary": None if plan.ruling is None else plan.ruling.is_canary,
        **_forecasts(job, chosen),
        "explored": plan.explored,
        "chosen": chosen,
        "expert": expert,
        "expert_version": expert_version,
        "tried": tried,
        "tried_why": [_why(attempt.why) for attempt in answered.attempts],
        "asked": asked,
        "cost_usd": job.purse.spent_usd,
        "answer_cost_usd": ending.answer_cost_usd,
        "prompt_tokens": None if ending.usage is None else _tokens(ending.usage.prompt_tokens),
        "completion_tokens": None if ending.usage is None else _tokens(ending.usage.completion_tokens),
        "decide_s": job.decide_s,
        "first_token_s": first_token_s if ending.is_stream else None,
        "latency_s": ends_at - job.began,
        "finish_reason": _text(ending.finish_reason),
    }
    ruling = plan.ruling
    rows = [_record(row, None if ruling is None else ruling.features)]
    if ruling is not None and ruling.shadow is not None:
        shadow = ruling.shadow
        names = [shadow.decision.expert, *shadow.decision.fallbacks]
        followed = {name: float(name == shadow.decision.expert) for name in names}
        told = {"request_id": job.request_id + SHADOW, "role": "shadow", **_forecast(shadow, followed)}
        told |= {"chosen": shadow.decision.expert, "expert": shadow.decision.expert, "explored": False}
        rows.append(_record(common | told, None))
    return tuple(rows)


def _record(row: dict[str, Any], features: Features | None) -> TrafficRecord:
    if features is None:
        return TrafficRecord(row["request_id"], orjson.dumps(row))
    row["embedder"] = features.embedder
    vectors = features.embedding.tobytes(), features.surface.tobytes()
    return TrafficRecord(row["request_id"], orjson.dumps(row), *vectors)


def _forecasts(job: InFlight, chosen: str) -> dict[str, Any]:
    """What was forecast of whom, and with which chance each was to be asked first."""
    plan = job.plan
    if plan.ruling is None:
        return {"experts": list(plan.order), "propensities": [1.0]}
    return _forecast(plan.ruling, plan.propensities if plan.ruling.habits is None else {chosen: 1.0})


def _forecast(ruling: Ruling, propensities: dict[str, float]) -> dict[str, Any]:
    decision = ruling.decision
    allowed = {decision.expert, *decision.fallbacks}
    names = [name for name in decision.success if name in allowed]
    return {
        "router_version": ruling.version,
        "multiplier": min(decision.multiplier, COST_ALONE),  # JSON has no infinity
        "experts": names,
        "predicted_success": [decision.success[name] for name in names],
        "predicted_cost_usd": [decision.cost_usd[name] for name in names],
        "propensities": [propensities.get(name, 0.0) for name in names],
    }


def _asked_first(job: InFlight, tried: list[str], asked: list[str], expert: str) -> str:
    planned = job.order[0].spec.name
    if job.plan.ruling is None or job.plan.ruling.habits is None or planned in (*tried, *asked, expert):
        return planned
    return [*asked, *tried, expert][0]  # the plan over asking took another


def _why(why: Any) -> str:
    return why.kind.value if isinstance(why, Failure) else str(why.reason.value)


def _user_of(job: InFlight) -> str | None:
    if job.request.user:
        return job.request.user
    named = (job.request.model_extra or {}).get("safety_identifier")
    return named if isinstance(named, str) and named else None


def _metadata_of(job: InFlight) -> dict[str, Any]:
    metadata = (job.request.model_extra or {}).get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _conversation_hash(job: InFlight, metadata: dict[str, Any], answer: str, hash_of: Hash) -> str | None:
    """Of the conversation's name where the request has one, else of its opening and of the first answer.

    The opening goes up to the first question. Later turns bring the first answer along, so that two
    conversations which open with the same words are told apart as soon as they were answered differently.
    """
    named = metadata.get("conversation_id")
    if isinstance(named, str) and named:
        return hash_of("conversation", repr((job.caller.key_id, named)))
    if not isinstance(job.request, ChatRequest):
        return None
    messages = job.request.messages
    first = next((at for at, message in enumerate(messages) if message.role == "user"), len(messages) - 1)
    said = [(message.role, _both_ends(message.text).strip()) for message in messages[: first + 1]]
    replies = (message.text for message in messages[first + 1 :] if message.role == "assistant")
    reply = _both_ends(next(replies, answer).strip())
    return hash_of("conversation", repr((job.caller.key_id, _user_of(job), said, reply)))


def _both_ends(text: str) -> str:
    """Return what stands for a text in a hash: of a long one its length and ends, as the router has it."""
    short = take_ends(text)
    return text if len(short) == len(text) else f"{len(text)} {short}"


def _text(told: object) -> str | None:
    return told[:_MOST_CHARACTERS] if isinstance(told, str) else None


def _tokens(count: int) -> int:
    return max(0, min(int(count), _MOST_TOKENS))
