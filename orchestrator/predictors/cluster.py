"""A table of mean success per cluster of questions (Avengers-Pro, Zhang et al. 2025)."""

from __future__ import annotations

from itertools import product
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Rebuild, contrast_loss, inner_products
from orchestrator.predictors.knn import mean_scores
from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, Queries

CLUSTERS = (16, 32, 64, 128)
NEAREST = (1, 4)
PRIOR_WEIGHT = 10.0  # questions' worth of the expert's overall mean in each cell of the table


class ClusterPredictor:
    """k-means over the training embeddings; a query takes the mean rows of its nearest clusters."""

    kind: ClassVar[str] = "cluster"

    def __init__(self) -> None:
        self.experts: tuple[str, ...] = ()

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Choose the number of clusters and how many to average by :func:`contrast_loss` on validation."""
        self.seed = seed
        best = float("inf")
        chosen = (CLUSTERS[0], NEAREST[0])
        for clusters, nearest in product(CLUSTERS, NEAREST):
            if clusters > len(train):
                continue
            if nearest == NEAREST[0]:
                self.clusters = clusters
                self._place(train)
            self.nearest = nearest
            loss = contrast_loss(self.predict(validation.queries), validation.outcomes.score)
            if loss < best:
                best, chosen = loss, (clusters, nearest)
        self.clusters, self.nearest = chosen
        return self.refit(train)

    def refit(self, examples: Examples) -> Self:
        """Cluster again at the number chosen."""
        self._place(examples)
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m]."""
        distance = self._half_square - inner_products(queries.embeddings, self._centroids)
        near = np.argsort(distance, axis=1, kind="stable")[:, : self.nearest]
        success: NDArray[np.float32] = self._table[near].mean(axis=1)
        return success

    def state(self) -> State:
        """Return centroids and table."""
        config = {
            "experts": list(self.experts),
            "nearest": self.nearest,
            "clusters": self.clusters,
            "seed": self.seed,
        }
        return State(self.kind, config, {"centroids": self._centroids, "table": self._table})

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted predictor."""
        cluster = cls()
        cluster.experts = tuple(state.config["experts"])
        cluster.nearest, cluster.clusters = state.config["nearest"], state.config["clusters"]
        cluster.seed = state.config["seed"]
        cluster._table = state.arrays["table"]
        cluster._set_centroids(state.arrays["centroids"])
        return cluster

    def _place(self, examples: Examples) -> None:
        from sklearn.cluster import MiniBatchKMeans

        self.experts = examples.outcomes.experts
        means = MiniBatchKMeans(
            min(self.clusters, len(examples)), random_state=self.seed, n_init=3, batch_size=1024
        )
        member = means.fit_predict(examples.queries.embeddings)
        self._set_centroids(np.ascontiguousarray(means.cluster_centers_, np.float32))
        self._table = success_table(
            np.eye(len(self._centroids), dtype=np.float64)[member], examples.outcomes.score
        )

    def _set_centroids(self, centroids: NDArray[np.float32]) -> None:
        self._centroids = centroids
        self._half_square = np.einsum("cd,cd->c", centroids, centroids) / 2


def success_table(
    membership: NDArray[np.float64], score: NDArray[np.float32], *, prior_weight: float = PRIOR_WEIGHT
) -> NDArray[np.float32]:
    """Mean score per group and expert [g, m], shrunk to the expert's mean.

    Args:
        membership: [n, g] degree to which each question belongs to each group.
        score: [n, m], NaN where not asked.
        prior_weight: weight of the expert's overall mean in each cell, in questions.
    """
    seen = np.isfinite(score)
    total = membership.T @ np.where(seen, score, 0).astype(np.float64)
    count = membership.T @ seen.astype(np.float64)
    table: NDArray[np.float32] = (
        (total + prior_weight * mean_scores(score)) / (count + prior_weight)
    ).astype(np.float32)
    return table
