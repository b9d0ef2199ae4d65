"""Recorded outcomes of two experts, one for maps and one for sums."""

from __future__ import annotations

import numpy as np

from warehouse import Outcomes

EXPERTS = ("smollm2-135m", "gemma-3-270m")
CAPITALS = ("France", "Peru", "Kenya", "Japan", "Norway", "Chile", "Egypt", "Ghana", "Italy", "Nepal")


def make_outcomes() -> Outcomes:
    """Geography, at which the second expert is better and dearer, and sums, at which the first is better."""
    rng = np.random.default_rng(0)
    n = 120
    geography = np.arange(n) % 2 == 0
    texts = tuple(
        f"What is the capital of {CAPITALS[i % 10]}, asked for the {i}th time?"
        if is_map
        else f"What is {i} + {i * 7}?"
        for i, is_map in enumerate(geography)
    )
    chances = np.where(geography[:, None], [0.3, 0.95], [0.8, 0.1])
    tokens = np.full((n, 2), 20, np.float32)
    return Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]),
        texts=texts,
        prompts=texts,
        sources=np.full(n, "made"),
        domains=np.where(geography, "geography", "arithmetic"),
        subjects=np.full(n, ""),
        chance=np.full(n, 0.25, np.float32),
        experts=EXPERTS,
        score=(rng.random((n, 2)) < chances).astype(np.float32),
        cost_usd=np.tile([1e-6, 2e-6], (n, 1)) * rng.uniform(0.8, 1.2, (n, 1)),
        prompt_tokens=tokens,
        completion_tokens=tokens,
        latency_s=tokens,
    )
