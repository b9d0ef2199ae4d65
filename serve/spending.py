"""What a request can cost at most, and what it did cost."""

from __future__ import annotations

from typing import Any

from experts import ExpertSpec

_TOKENS_PER_MESSAGE = 32  # what a chat template may put around a message
_CHARACTERS_PER_TOKEN = 4.0


def bound_usd(spec: ExpertSpec, body: dict[str, Any]) -> float:
    """Return the most that an expert's answer to a request can cost.

    No tokeniser makes more tokens of a text than it has bytes. Completion tokens are limited by the request,
    else by the catalogue, and everything by the context window where that is known.
    """
    messages = body.get("messages") or []
    prompt = len(str(messages or body.get("prompt") or "").encode()) + _TOKENS_PER_MESSAGE * (
        1 + len(messages)
    )
    prompt += len(str(body.get("tools") or "").encode())
    limits = (body.get("max_completion_tokens"), body.get("max_tokens"))  # engines differ in which one wins
    completion = max((limit for limit in limits if limit), default=spec.max_tokens)
    if spec.context_tokens is not None:
        prompt = min(prompt, spec.context_tokens)
        completion = min(completion, spec.context_tokens)
    # Some engines bill the prompt once for every answer of `n`.
    answers = (body.get("n") or 1) * (body.get("best_of") or 1)
    return spec.price.cost_usd(float(prompt * answers), float(completion * answers))


def cost_usd(spec: ExpertSpec, usage: dict[str, Any]) -> float:
    """Return what an answer cost by the expert's price list."""
    return spec.price.cost_usd(
        float(usage.get("prompt_tokens") or 0), float(usage.get("completion_tokens") or 0)
    )


def estimate_usage(body: dict[str, Any], pieces: int) -> dict[str, int]:
    """Return the likely token counts of a stream that ended before it told them: one token a piece."""
    text = str(body.get("messages") or body.get("prompt") or "")
    prompt = round(len(text) / _CHARACTERS_PER_TOKEN)
    return {"prompt_tokens": prompt, "completion_tokens": pieces, "total_tokens": prompt + pieces}
