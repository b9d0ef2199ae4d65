"""Which of the token counts that an upstream tells can be believed; the others are counted here."""

from __future__ import annotations

import json
import math
from typing import Any

from experts.upstream.counting import TokenCounter
from experts.upstream.request import Ask
from experts.upstream.shape.json_text import Unbounded
from experts.upstream.usage import Usage

#: No prompt has more, pictures included: an order above the longest context windows.
_MOST_PROMPT_TOKENS = 20e6
#: What a host may put before a request and bill. It is beyond what is set aside, so not all of it is charged.
_HOSTS_PROMPT = 4096
LONGEST_TOKEN = 256  # characters; runs of blanks are the longest
_MOST_CLAIMED_USD = 100_000.0
_CLAIM_CHARACTERS = 200
_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")


def read_usage(told: Any, ask: Ask, counter: TokenCounter, written: int, *, is_final: bool = True) -> Usage:
    """Return what an answer came to, of what its upstream told and of our own count.

    A count is believed if it is a whole number that can be: of the prompt, one token or more and no more than
    it has bytes (with what a host may add) or the context window holds; of the completion, no more than was
    allowed over all answers, and not none for a text. Each that cannot be is replaced by ours, and all is
    marked ``is_estimated``. Where the total is larger than both, what was written beside the completion
    (reasoning, at some vendors) belongs to it. Bills that are believed teach the counter.

    Args:
        told: the reply's ``usage``, whatever it is.
        ask: what was asked.
        counter: the expert's.
        written: characters of all answers, reasoning and tool calls included
            (:func:`~experts.upstream.counting.characters_of`).
        is_final: whether it is the bill of a whole answer, which teaches the counter.
    """
    usage = told if isinstance(told, dict) else {}
    cached = _cached(usage)
    prompt = _count(usage.get("prompt_tokens"))
    if (
        prompt is None
        and (prompt := _count(usage.get("input_tokens"))) is not None
        and "prompt_tokens" not in usage
    ):
        # Anthropic's own words leave out of the input what was read from, or put into, the cache.
        apart = (usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens"))
        prompt += sum(_count(value) or 0 for value in apart)
    told_completion = (_count(usage.get(name)) for name in ("completion_tokens", "output_tokens"))
    completion = next((count for count in told_completion if count is not None), None)
    total = _count(usage.get("total_tokens"))
    reasoning = _reasoning(usage)
    if completion is not None and total is None and reasoning > completion:
        completion += reasoning  # it cannot lie within
    if prompt is not None and completion is not None and total is not None:
        surplus = total - prompt - completion
        if surplus > 0 and completion + surplus <= ask.most_completion_tokens:
            completion += surplus
        elif reasoning and surplus == reasoning:
            completion += surplus  # beyond what was allowed: not believed below, and said so in the books
    most_prompt = _most_prompt(ask)
    if prompt is not None and not (1 if ask.prompt_characters else 0) <= prompt <= most_prompt:
        prompt = None
    least = math.ceil(max(0, written - ask.repeated_characters) / LONGEST_TOKEN)
    has_overrun = completion is not None and completion > ask.most_completion_tokens
    if completion is not None and not least <= completion <= ask.most_completion_tokens:
        completion = None
    if prompt is not None and completion is not None:
        reasoning = reasoning if reasoning <= completion else 0
        if is_final:
            counter.learn_prompt(ask.prompt_characters, prompt)
            counter.learn(written, completion - reasoning)
        return Usage(
            *(prompt, completion, min(cached, prompt)),
            reasoning_tokens=reasoning,
            tells_cached=_tells_cached(usage),
        )
    own = count_usage(ask, counter, written)
    return Usage(
        prompt_tokens=own.prompt_tokens if prompt is None else prompt,
        completion_tokens=own.completion_tokens if completion is None else completion,
        cached_tokens=min(cached, prompt or 0),
        is_estimated=True,
        claimed=None if told is None else _claim(told),
        claimed_usd=_claimed_usd(ask, usage),
        has_overrun=has_overrun,
    )


def _most_prompt(ask: Ask) -> float:
    """Return how many prompt tokens can be told: a host may put a long prompt of its own before a request."""
    window = math.inf if ask.spec.context_tokens is None else ask.spec.context_tokens * ask.answers
    most = max(ask.most_prompt_tokens, min(ask.most_prompt_tokens + _HOSTS_PROMPT * ask.answers, window))
    return min(most, _MOST_PROMPT_TOKENS)


def count_usage(ask: Ask, counter: TokenCounter, written: int) -> Usage:
    """Return our own count of a request and of so many characters that were written; errs upward."""
    prompt = min(counter.prompt_tokens(ask.prompt_characters), ask.most_prompt_tokens, _MOST_PROMPT_TOKENS)
    completion = min(counter.written_tokens(written), ask.most_completion_tokens)
    return Usage(max(1, int(prompt)), int(completion), is_estimated=True)


def _count(value: Any) -> int | None:
    """Return a count of tokens, or None for what is none: negative, broken, text, a list, a truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 1e18 and value == int(value) else None


def _cached(usage: dict[str, Any]) -> int:
    """Return the cached prompt tokens, in any vendor's words; 0 where none can be."""
    told = [
        _inside(usage, name, "cached_tokens") for name in ("prompt_tokens_details", "input_tokens_details")
    ]
    told += [usage.get(name) for name in _CACHED]
    return next((count for value in told if (count := _count(value))), 0)


def _tells_cached(usage: dict[str, Any]) -> bool:
    names = ("prompt_tokens_details", "input_tokens_details")
    return any(_count(_inside(usage, name, "cached_tokens")) is not None for name in names) or any(
        _count(usage.get(name)) is not None for name in _CACHED
    )


def _reasoning(usage: dict[str, Any]) -> int:
    names = ("completion_tokens_details", "output_tokens_details")
    told = [_inside(usage, name, "reasoning_tokens") for name in names] + [usage.get("reasoning_tokens")]
    return next((count for value in told if (count := _count(value))), 0)


def _inside(usage: dict[str, Any], name: str, inner: str) -> Any:
    details = usage.get(name)
    return details.get(inner) if isinstance(details, dict) else None


def _claim(told: Any) -> str:
    try:
        return json.dumps(told, default=str)[:_CLAIM_CHARACTERS]
    except (ValueError, RecursionError):
        return "unreadable"


def _claimed_usd(ask: Ask, usage: dict[str, Any]) -> float:
    """Return what the counts cost as they stand, numbers that nothing holds at the most; 0 for no numbers."""
    names = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
    prompt, completion = (
        next((_size(usage[name]) for name in pair if usage.get(name) is not None), 0.0) for pair in names
    )
    return min(ask.spec.price.cost_usd(prompt, completion), _MOST_CLAIMED_USD)


def _size(value: Any) -> float:
    if isinstance(value, Unbounded):
        return 0.0 if value.startswith("-") or value == "NaN" else 1e18
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return min(max(float(value), 0.0), 1e18)
