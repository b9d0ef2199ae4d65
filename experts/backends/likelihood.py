"""Multiple choice by likelihood: which requests an engine needs to score every option, and the scores.

The log-likelihood of an option with tokens t1 ... tk after the prompt p is the sum of
log P(ti | p t1 ... ti-1). Asking the engine for the log-probabilities of whole prompts would run the output
layer on every position, and in a small model with a large vocabulary that layer is most of the work. So the
requests follow the options' prefix tree instead: one request for the bare prompt reads the first token of
every option, and one request per distinct ``t1 ... tk-1`` reads the last tokens after it, with the middle
tokens from prompt log-probabilities where k > 2. Options of one token (letters, most short words) cost the
prompt once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: vLLM reads at most so many chosen tokens at one position.
MAX_OPTIONS = 128


@dataclass(frozen=True)
class ScoringRequest:
    """One engine request: the log-probabilities of ``following`` after the prompt and ``prefix``."""

    prefix: tuple[int, ...]
    following: tuple[int, ...]

    @property
    def needs_prompt_logprobs(self) -> bool:
        """Whether tokens inside the prefix (after its first) must be scored as well."""
        return len(self.prefix) > 1


def plan_requests(options: Sequence[tuple[int, ...]]) -> list[ScoringRequest]:
    """Return the requests that score options (each a non-empty tuple of tokens), the bare prompt first."""
    following: dict[tuple[int, ...], set[int]] = {(): set()}
    for option in options:
        following[()].add(option[0])
        following.setdefault(option[:-1], set()).add(option[-1])
    return [ScoringRequest(prefix, tuple(sorted(tokens))) for prefix, tokens in following.items()]


def read_logprobs(
    requests: Sequence[ScoringRequest], outputs: Sequence[Any]
) -> dict[tuple[tuple[int, ...], int], float]:
    """Return log P(token | prompt, prefix) by (prefix, token) from vLLM's outputs of the requests."""
    found: dict[tuple[tuple[int, ...], int], float] = {}
    for request, output in zip(requests, outputs, strict=True):
        after = output.outputs[0].logprobs[0]
        for token in request.following:
            found[request.prefix, token] = after[token].logprob
        if request.needs_prompt_logprobs:
            inside = output.prompt_logprobs[-len(request.prefix) :]
            for depth in range(1, len(request.prefix)):
                token = request.prefix[depth]
                found[request.prefix[:depth], token] = inside[depth][token].logprob
    return found


def sum_logprobs(
    options: Sequence[tuple[int, ...]], logprobs: dict[tuple[tuple[int, ...], int], float]
) -> list[float]:
    """Return the log-likelihood of each option."""
    return [sum(logprobs[option[:d], option[d]] for d in range(len(option))) for option in options]
