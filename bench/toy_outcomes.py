"""Outcomes for routers that only have to decide: what deciding costs matters, not what they learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from warehouse import Outcomes


def toy_outcomes(
    texts: Sequence[str], experts: tuple[str, ...], chances: np.ndarray, cost_usd: Sequence[float]
) -> Outcomes:
    """Return one answer of every expert to every text, right by chance.

    Args:
        texts: n questions.
        experts: m names.
        chances: of a right answer [n, m].
        cost_usd: of an answer of each expert [m].
    """
    n, m = chances.shape
    tokens = np.full((n, m), 20, np.float32)
    return Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]),
        texts=tuple(texts),
        prompts=tuple(texts),
        sources=np.full(n, "bench"),
        domains=np.full(n, "bench"),
        subjects=np.full(n, ""),
        chance=np.zeros(n, np.float32),
        experts=experts,
        score=(np.random.default_rng(0).random((n, m)) < chances).astype(np.float32),
        cost_usd=np.tile(cost_usd, (n, 1)),
        prompt_tokens=tokens,
        completion_tokens=tokens,
        latency_s=np.ones((n, m), np.float32),
    )
