"""What a request can cost at most, and what it did cost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from experts import ExpertSpec

_TOKENS_PER_MESSAGE = 32  # what a chat template may put around a message
_CHARACTERS_PER_TOKEN = 4.0
_TOKENS_PER_PICTURE = 1_000  # as a rule; its address, or its data, says nothing of it
_TEXT_PARTS = {"text", "refusal"}


def bounds_usd(specs: Iterable[ExpertSpec], body: dict[str, Any]) -> dict[str, float]:
    """Return, by expert, the most that its answer to a request can cost; infinite where nothing limits it.

    No tokeniser makes more tokens of a text than it has bytes, and whatever an engine reads (messages, tools,
    schemas) is in the body. An image, a sound or a file may be any number of tokens: it fills the context
    window. Completion tokens are limited by the request, else by the catalogue, and everything by the context
    window where that is known.
    """
    messages = body.get("messages") or []
    size = len(json.dumps(body, ensure_ascii=False).encode()) + _TOKENS_PER_MESSAGE * (1 + len(messages))
    prompt = math.inf if any(_is_more_than_text(message) for message in messages) else float(size)
    limits = (body.get("max_completion_tokens"), body.get("max_tokens"))  # engines differ in which one wins
    longest = max((limit for limit in limits if limit), default=None)
    # Some engines bill the prompt once for every answer of `n`.
    answers = (body.get("n") or 1) * (body.get("best_of") or 1)
    return {spec.name: _bound_usd(spec, prompt, longest or spec.max_tokens, answers) for spec in specs}


def _bound_usd(spec: ExpertSpec, prompt: float, completion: float, answers: int) -> float:
    window = math.inf if spec.context_tokens is None else float(spec.context_tokens)
    prompt = min(prompt, window)
    if math.isinf(prompt):
        return math.inf
    return spec.price.cost_usd(prompt * answers, min(completion, window) * answers)


def _is_more_than_text(message: dict[str, Any]) -> bool:
    return bool(message.get("audio")) or any(part.get("type") not in _TEXT_PARTS for part in _parts(message))


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content or ""}]


def cost_usd(spec: ExpertSpec, usage: dict[str, Any]) -> float:
    """Return what an answer cost by the expert's price list."""
    return spec.price.cost_usd(
        float(usage.get("prompt_tokens") or 0), float(usage.get("completion_tokens") or 0)
    )


def estimate_usage(body: dict[str, Any], pieces: int) -> dict[str, int]:
    """Return the likely token counts of a stream that ended before it told them: one token a piece."""
    messages = body.get("messages") or []
    parts = [part for message in messages for part in _parts(message)]
    texts = [str(part.get("text") or "") for part in parts if part.get("type") in _TEXT_PARTS]
    around = [{**message, "content": None} for message in messages]
    read = [*texts, str(body.get("prompt") or ""), str(around or ""), str(body.get("tools") or "")]
    prompt = round(sum(map(len, read)) / _CHARACTERS_PER_TOKEN)
    prompt += _TOKENS_PER_PICTURE * (len(parts) - len(texts))
    return {"prompt_tokens": prompt, "completion_tokens": pieces, "total_tokens": prompt + pieces}
