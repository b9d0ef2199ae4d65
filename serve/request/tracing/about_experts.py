"""The attributes of spans about an asked expert, by OpenTelemetry's GenAI semantic conventions."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from experts import ExpertSpec, Price
from experts.backends.registry import is_api, speaks_openai
from experts.upstream import Usage
from experts.upstream.address import url_of
from serve.experts.client import WholeAnswer
from serve.tracing.messages import Scalar

EXPERT = "leeroo.expert"
_MOST_CHARACTERS = 200

Told = dict[str, Scalar | tuple[Scalar, ...]]


def about_expert(spec: ExpertSpec, operation: str) -> Told:
    """Return who is asked, and where; of an address the host and the port alone, which hold no key."""
    told: Told = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": spec.backend,
        "gen_ai.request.model": spec.model,
        EXPERT: spec.name,
    }
    if is_api(spec) and (spec.base_url or speaks_openai(spec)):
        address = urlsplit(url_of(spec))
        told["server.address"] = address.hostname or ""
        if address.port is not None:
            told["server.port"] = address.port
    return told


def about_answer(answer: WholeAnswer) -> Told:
    """Return what an answer says of itself, but for its words and its tokens."""
    told: Told = {}
    model, answer_id = answer.body.get("model"), answer.body.get("id")
    if isinstance(model, str):
        told["gen_ai.response.model"] = model[:_MOST_CHARACTERS]
    if isinstance(answer_id, str):
        told["gen_ai.response.id"] = answer_id[:_MOST_CHARACTERS]
    reasons = [choice.get("finish_reason") for choice in answer.body.get("choices") or ()]
    told["gen_ai.response.finish_reasons"] = tuple(
        reason[:_MOST_CHARACTERS] for reason in reasons if isinstance(reason, str)
    )
    return told


def about_usage(usage: Usage, price: Price) -> Told:
    """Return the tokens of an answer, and what either kind cost; a fee for the call is of the input."""
    input_usd = replace(usage, completion_tokens=0).cost_usd(price)
    told: Told = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "leeroo.input_cost_usd": input_usd,
        "leeroo.output_cost_usd": max(0.0, usage.cost_usd(price) - input_usd),
    }
    if usage.cached_tokens:
        told["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if usage.is_estimated:
        told["leeroo.usage_is_estimated"] = True
    return told
