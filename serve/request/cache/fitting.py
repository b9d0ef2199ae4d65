"""Which requests may be answered from the cache, and what has to be equal for an answer to fit.

Left out are requests that offer tools or bring their results (a call that is played back acts twice, and a
result is of its moment), and those of which nothing may be kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from serve.config import ServeConfig
from serve.ledger.messages import Caller
from serve.request.cache.details import details_of, words_of
from serve.request.in_flight import CompletionRequest
from serve.wire.constraints import AnswerLimits

#: Say nothing of the answer that is wanted.
_BESIDE_THE_ANSWER = ("metadata", "store")
_OF_TOOLS = ("tools", "functions", "tool_choice", "function_call")


@dataclass(frozen=True)
class Wanted:
    """A request as the cache sees it.

    Attributes:
        digest: of its key and of all that its answer depends on.
        group: of the same without its last question, and of the details of that; None where it has no
            question of its own to compare by meaning.
        words: of that question.
        reads: whether an answer that was given before will do.
        most_age_s: how old that may be; None for any age.
    """

    digest: bytes
    group: bytes | None = None
    words: tuple[str, ...] = ()
    reads: bool = True
    most_age_s: float | None = None


def wanted_of(
    config: ServeConfig, request: CompletionRequest, caller: Caller, cache_control: str | None
) -> Wanted | None:
    """Return a request as the cache sees it; None where it has nothing to do with the cache."""
    body = request.for_expert()
    if body.get("store") is False or caller.record == "none" or _has_tools(body):
        return None
    if getattr(request, "temperature", None) and not config.cache_sampled:
        return None
    directives = _directives(cache_control)
    if "no-store" in directives:
        return None
    told = {name: value for name, value in body.items() if name not in _BESIDE_THE_ANSWER}
    limits = {name: getattr(request, name) for name in AnswerLimits.model_fields}
    whose = (caller.key_id, caller.experts, caller.preset, caller.max_experts_asked)
    try:
        digest = _digest(whose, request.model, limits, told)
        question, rest = _split(told) if config.cache == "semantic" else (None, told)
        group = None
        if question is not None:
            group = _digest(whose, request.model, limits, rest, details_of(question))
    except TypeError:  # a number of more than 64 bits, half a character
        return None
    age = directives.get("max-age", "")
    most_age_s = float(age) if age.isdecimal() and len(age) < 10 else None
    words = () if question is None else words_of(question)
    return Wanted(digest, group, words, reads="no-cache" not in directives, most_age_s=most_age_s)


def _has_tools(body: dict[str, Any]) -> bool:
    if any(body.get(name) for name in _OF_TOOLS):
        return True
    return any(
        message.get("role") in ("tool", "function")
        or message.get("tool_calls")
        or message.get("function_call")
        for message in body.get("messages") or ()
    )


def _split(told: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the last question, where it is a plain text, and all but that."""
    messages = told.get("messages")
    if isinstance(messages, list):
        last = messages[-1]
        if last.get("role") != "user" or not isinstance(last.get("content"), str):
            return None, told
        return last["content"], {**told, "messages": [*messages[:-1], {**last, "content": ""}]}
    if isinstance(told.get("prompt"), str):
        return told["prompt"], {**told, "prompt": ""}
    return None, told


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=32).digest()


def _directives(cache_control: str | None) -> dict[str, str]:
    """Return the directives of a Cache-Control header.

    >>> _directives("No-Cache, max-age=5")
    {'no-cache': '', 'max-age': '5'}
    """
    named = (part.strip().partition("=") for part in (cache_control or "").lower().split(","))
    return {name.strip(): value.strip(' "') for name, _, value in named if name}
