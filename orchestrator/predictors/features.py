"""The features of the linear predictors: embeddings and surface, centred and scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.linear import standardise
from orchestrator.text.queries import Queries


@dataclass(frozen=True)
class FeatureScale:
    """Learned from training questions; embeddings keep their geometry, surface columns get unit scale."""

    centre: NDArray[np.float32]  # [d + s]
    scale: NDArray[np.float32]  # [d + s]

    @classmethod
    def of(cls, queries: Queries) -> Self:
        """Measure the training questions."""
        embeddings = queries.embeddings.astype(np.float64)
        _, surface_mean, surface_deviation = standardise(queries.surface.astype(np.float64))
        width = embeddings.shape[1]
        centre = np.concatenate([embeddings.mean(axis=0), surface_mean])
        scale = np.concatenate([np.full(width, width**-0.5), surface_deviation])
        return cls(centre.astype(np.float32), scale.astype(np.float32))

    def apply(self, queries: Queries) -> NDArray[np.float32]:
        """Return features [n, d + s]."""
        features: NDArray[np.float32] = (queries.joined - self.centre) / self.scale
        return features

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a state."""
        return {"centre": self.centre, "scale": self.scale}
