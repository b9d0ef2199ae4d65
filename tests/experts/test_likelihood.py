from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from experts.backends.likelihood import ScoringRequest, plan_requests, read_logprobs, sum_logprobs

PROMPT = [7, 8, 9]
option = st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple)


def logprob(context: list[int], token: int) -> float:
    """A made-up language model: any fixed function of context and token will do."""
    return -math.fmod(sum((i + 1) * t for i, t in enumerate(context)) * 0.37 + token * 0.61, 5.0)


def engine(request: ScoringRequest) -> Any:
    """What vLLM returns for a request: logprobs after it, and of its own tokens if they are asked for."""
    tokens = PROMPT + list(request.prefix)
    after = {t: SimpleNamespace(logprob=logprob(tokens, t)) for t in request.following}
    inside = None
    if request.needs_prompt_logprobs:
        inside = [
            {t: SimpleNamespace(logprob=logprob(tokens[:i], t))} if i else None for i, t in enumerate(tokens)
        ]
    return SimpleNamespace(outputs=[SimpleNamespace(logprobs=[after])], prompt_logprobs=inside)


@given(st.lists(option, min_size=1, max_size=8))
def test_scores_equal_the_chain_rule(options: list[tuple[int, ...]]) -> None:
    plan = plan_requests(options)
    scores = sum_logprobs(options, read_logprobs(plan, [engine(request) for request in plan]))
    for tokens, score in zip(options, scores, strict=True):
        full = PROMPT + list(tokens)
        expected = sum(logprob(full[:i], full[i]) for i in range(len(PROMPT), len(full)))
        assert math.isclose(score, expected, abs_tol=1e-9)


@given(st.lists(option, min_size=1, max_size=8))
def test_no_more_requests_than_options_and_one(options: list[tuple[int, ...]]) -> None:
    plan = plan_requests(options)
    assert plan[0].prefix == ()
    assert len(plan) <= len(options) + 1
    if all(len(tokens) == 1 for tokens in options):
        assert len(plan) == 1
