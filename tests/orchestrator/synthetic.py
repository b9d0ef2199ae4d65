"""Small made-up outcomes with a known best router: experts that are each good at one topic."""

import numpy as np

from warehouse import Outcomes

TOPICS = {
    "chemistry": ["acid", "base", "molecule", "bond", "oxide", "reaction", "salt", "electron"],
    "history": ["king", "empire", "treaty", "war", "century", "revolt", "crown", "dynasty"],
    "algebra": ["ring", "field", "group", "matrix", "kernel", "ideal", "basis", "polynomial"],
}


def make_outcomes(n: int = 240, *, missing: float = 0.0, seed: int = 0) -> Outcomes:
    rng = np.random.default_rng(seed)
    topics = rng.choice(sorted(TOPICS), n)
    texts = tuple(f"Question {i}: {' '.join(rng.choice(TOPICS[t], 6))}?" for i, t in enumerate(topics))
    chances = np.where(topics[:, None] == np.array(sorted(TOPICS)), 0.9, 0.3)
    chances = np.column_stack([chances, np.full(n, 0.75)])
    score = (rng.random((n, 4)) < chances).astype(np.float32)
    cost = np.tile([1e-4, 1e-4, 1e-4, 1e-3], (n, 1)) * rng.uniform(0.8, 1.2, (n, 1))
    gone = rng.random((n, 4)) < missing
    score[gone], cost[gone] = np.nan, np.nan
    tokens = np.where(gone, np.nan, 20.0).astype(np.float32)
    return Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]),
        texts=texts,
        prompts=texts,
        sources=np.full(n, "made"),
        domains=topics,
        subjects=topics,
        chance=np.full(n, 0.25, np.float32),
        experts=("algebraist", "chemist", "historian", "generalist"),
        score=score,
        cost_usd=cost,
        prompt_tokens=tokens,
        completion_tokens=tokens,
        latency_s=tokens,
    )
