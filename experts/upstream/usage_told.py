"""Which of the token counts that an upstream tells can be believed; the others are counted here."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

from experts.upstream.counting import TokenCounter
from experts.upstream.request import Ask
from experts.upstream.shape.json_text import Unbounded
from experts.upstream.usage import Usage
from experts.upstream.usage_parts import ToldUsage, read_told

#: No prompt has more, pictures included: an order above the longest context windows.
_MOST_PROMPT_TOKENS = 20e6
#: What a host may put before a request and bill. It is beyond what is set aside, so not all of it is charged.
_HOSTS_PROMPT = 4096
LONGEST_TOKEN = 256  # characters; runs of blanks are the longest
_MOST_CLAIMED_USD = 100_000.0
_CLAIM_CHARACTERS = 200


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
    told_of = read_told(usage)
    prompt, completion, total, reasoning = (
        told_of.prompt,
        told_of.completion,
        told_of.total,
        told_of.reasoning,
    )
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
        believed = Usage(
            prompt,
            completion,
            reasoning_tokens=reasoning,
            tells_cached=told_of.tells_cached,
            is_batch=told_of.is_batch,
            audio_out_tokens=min(told_of.audio_out, completion),
            image_out_tokens=min(told_of.image_out, completion),
        )
        return _with_prompt_parts(believed, told_of)
    own = count_usage(ask, counter, written)
    counted = Usage(
        prompt_tokens=own.prompt_tokens if prompt is None else prompt,
        completion_tokens=own.completion_tokens if completion is None else completion,
        is_estimated=True,
        claimed=None if told is None else _claim(told),
        claimed_usd=_claimed_usd(ask, usage),
        has_overrun=has_overrun,
    )
    return counted if prompt is None else _with_prompt_parts(counted, told_of)


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


def _with_prompt_parts(usage: Usage, told: ToldUsage) -> Usage:
    """Return it with the tokens of the prompt that have prices of their own; in all no more than it has."""
    parts, left = [], usage.prompt_tokens
    for tokens in (told.cached, told.cache_write, told.cache_write_1h, told.audio_in, told.image_in):
        parts.append(min(tokens, left))
        left -= parts[-1]
    return replace(
        usage,
        cached_tokens=parts[0],
        cache_write_tokens=parts[1],
        cache_write_1h_tokens=parts[2],
        audio_in_tokens=parts[3],
        image_in_tokens=parts[4],
    )


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
    return min(ask.price.cost_usd(prompt, completion), _MOST_CLAIMED_USD)


def _size(value: Any) -> float:
    if isinstance(value, Unbounded):
        return 0.0 if value.startswith("-") or value == "NaN" else 1e18
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return min(max(float(value), 0.0), 1e18)
