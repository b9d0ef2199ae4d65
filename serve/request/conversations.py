"""Conversations stay with the expert that answered so far, unless another promises clearly more.

Its replica may still hold the conversation's prefix in its cache, and answers keep one voice. What an API
asks less for a prefix that it still has is counted: a conversation that stays is cheaper than one that moves.
An agent's turn with the results of tools goes to the expert that called them, unless it may not answer: the
middle of a plan is no place to change heads.
A session that the client names stays with its expert as well, whatever the router prefers.
A conversation is recognised by its content: the turns up to the last answer. Only digests are kept, in the
ledger, so that every replica of the ingress knows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from experts.upstream import Ask, TokenCounter, measure
from orchestrator import Decision
from orchestrator.selection.value import net_value
from serve.request.in_flight import CompletionRequest
from serve.wire.protocol import Message
from serve.wire.request_headers import RequestHeaders

#: Seconds for which all well-known APIs keep a prefix that they cached.
CACHE_KEPT_S = 300.0
MOVE_FOR = 0.05  # expected success, after the price of cost, that another expert must add


def answered_so_far(owner: str | None, messages: Sequence[Message]) -> bytes | None:
    """Return the digest of the turns up to the last answer; None where nothing was answered yet."""
    answered = [place for place, message in enumerate(messages) if message.role == "assistant"]
    if not answered:
        return None
    return _digest(owner, [(message.role, message.text) for message in messages[: answered[-1] + 1]])


def session_of(
    owner: str | None, request: CompletionRequest, headers: RequestHeaders, *, by_user: bool
) -> bytes | None:
    """Return the digest of the session that a request names; None where it names none.

    Args:
        owner: the key; equal names of two keys are two sessions.
        request: its ``user`` is a name too, unless nothing may be kept of it.
        headers: a header is an express wish, and goes first.
        by_user: whether ``user`` counts.
    """
    if headers.session is not None:
        return _digest(owner, [("session", headers.session)])
    if by_user and request.user and request.may_be_kept:
        return _digest(owner, [("session of user", request.user)])
    return None


def with_answer(owner: str | None, messages: Sequence[Message], answer: str) -> bytes:
    """Return the digest of the turns with this answer after them."""
    return _digest(owner, [*((message.role, message.text) for message in messages), ("assistant", answer)])


def saved_by_staying_usd(ask: Ask, counter: TokenCounter, silent_s: float) -> float:
    """Return what a conversation's next answer costs less at the expert that gave the last one.

    That expert has read all turns before its last answer. Its API still has them where it prices what it
    cached, and was asked a short while ago. Nothing is counted of what a move would put into another cache.

    Args:
        ask: the request as it would be put to that expert.
        counter: of that expert.
        silent_s: seconds since it answered.
    """
    messages = ask.body.get("messages") or []
    answered = [place for place, m in enumerate(messages) if m.get("role") == "assistant"]
    if not answered or silent_s > CACHE_KEPT_S or ask.price.usd_per_mtok_cached_in is None:
        return 0.0
    kept = measure({**ask.body, "messages": messages[: answered[-1]]}).characters
    tokens = counter.prompt_tokens(ask.prompt_characters), counter.prompt_tokens(kept)
    return ask.price.saved_by_cache_usd(*map(float, tokens))


def brings_results(messages: Sequence[Message]) -> bool:
    """Tell whether the last turn is the result of a tool: the step of an agent, and no new question."""
    return bool(messages) and messages[-1].role in ("tool", "function")


def loses_little(decision: Decision, expert: str, min_success: float | None, saved_usd: float = 0.0) -> bool:
    """Tell whether an expert is worth nearly as much as the one that was decided for.

    It is not where only the latter is expected to reach ``min_success``. ``saved_usd`` is what ``expert``
    costs less than forecast, because the conversation stays with it.
    """

    def worth(name: str) -> float:
        cost_usd = decision.cost_usd[name]
        if name == expert:
            cost_usd = max(0.0, cost_usd - saved_usd)
        return net_value(decision.success[name], cost_usd, decision.multiplier)

    if falls_short(decision, expert, min_success):
        return False
    return worth(expert) >= worth(decision.expert) - MOVE_FOR


def falls_short(decision: Decision, expert: str, min_success: float | None) -> bool:
    """Tell whether the one that was decided for is expected to reach ``min_success``, and this one is not."""
    if min_success is None:
        return False
    return decision.success[expert] < min_success <= decision.success[decision.expert]


def _digest(owner: str | None, said: Sequence[tuple[str, str]]) -> bytes:
    digest = hashlib.sha256(repr(owner).encode())
    for role, text in said:
        for part in (role.encode(), text.strip().encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()[:16]
