"""How unlike a query is to all that was learned from, and how far forecasts of it go.

Contrasts between experts that were learned on one kind of question mislead on another. A query's likeness to
the questions learned from is its similarity to the nearest but two of some of them. The share of these that
are as unlike the others is its conformal p-value (Bates, Candes, Lei, Romano and Sesia, *Testing for outliers
with conformal p-values*, 2023). Down to a twentieth forecasts are trusted in full, below that in proportion:
of queries like those learned from, one in twenty is touched.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.queries import Queries

LANDMARKS = 300  # questions that a query is compared with: three times as many told no more
NEAREST = 3
TRUSTED_FROM = 0.05  # p-value from which forecasts are trusted in full
BLOCK = 512  # queries at once

Floats32 = NDArray[np.float32]


class Novelty:
    """Tells which queries are unlike the questions learned from."""

    def __init__(self, landmarks: Floats32, usual: Floats32) -> None:
        """Take what :meth:`of` found: landmarks [l, d], and likenesses [n] in ascending order."""
        self.landmarks, self.usual = landmarks, usual

    @classmethod
    def of(cls, queries: Queries) -> Self:
        """Learn what is usual among these questions, each compared with others than itself."""
        embeddings = queries.embeddings
        n = len(embeddings)
        chosen = np.sort(np.random.default_rng(0).choice(n, min(n, LANDMARKS), replace=False))
        novelty = cls(np.ascontiguousarray(embeddings[chosen], np.float32), np.zeros(0, np.float32))
        products = embeddings @ novelty.landmarks.T
        products[chosen, np.arange(len(chosen))] = -np.inf
        novelty.usual = np.sort(_near(products))
        return novelty

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.float32]]) -> Self | None:
        """Rebuild from the arrays of a state; None of what was saved before there was any."""
        if "landmarks" not in arrays and "usual" not in arrays:
            return None
        return cls(arrays["landmarks"], arrays["usual"])

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what :meth:`from_arrays` needs."""
        return {"landmarks": self.landmarks, "usual": self.usual}

    def trust(self, queries: Queries) -> Floats32:
        """Return how far forecasts of each query [n] go, above 0 and at most 1."""
        embeddings = queries.embeddings
        # each product on its own, so that a query alone gets the bits that it gets in a batch
        blocks = [
            _near(np.vecdot(embeddings[start : start + BLOCK, None], self.landmarks[None]))
            for start in range(0, len(embeddings), BLOCK)
        ]
        likeness = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        as_unlike = np.searchsorted(self.usual, likeness, side="right")
        p = (1 + as_unlike) / (len(self.usual) + 1)
        return np.minimum(1, p / TRUSTED_FROM).astype(np.float32)


def _near(products: Floats32) -> Floats32:
    """Similarity [n] to the nearest but two of the landmarks."""
    place = max(0, products.shape[1] - NEAREST)
    near: Floats32 = np.partition(products, place, axis=1)[:, place]
    return near
