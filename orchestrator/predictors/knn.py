"""k nearest neighbours: the mean outcome of similar questions, with k, metric and temperature tuned."""

from __future__ import annotations

from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Rebuild, contrast_loss, inner_products
from orchestrator.predictors.states import State
from orchestrator.text.cells import FROM_ROWS, Cells, arrange
from orchestrator.text.queries import Examples, Queries
from orchestrator.text.tokens import unit_rows
from warehouse import NotReadyError

NEIGHBOURS = (20, 50, 100, 200, 400)
TEMPERATURES = (0.05, 0.1, float("inf"))
COMPONENTS = 64
PRIOR_WEIGHT = 5.0  # questions' worth of each expert's mean score, which steadies thin neighbourhoods
MARGIN = 32  # candidates beyond k, far more than rounding could confuse
BLOCK = 256  # queries scored at once; bounds memory at BLOCK x examples


class KnnPredictor:
    """Weighted vote of the k nearest training questions.

    A neighbour of similarity s has the weight exp((s - s_max) / temperature). An expert's success is its
    weighted mean over the neighbours that it answered, shrunk to its overall mean if these are few. The
    metric is the cosine between the leading principal components of the embeddings: less noise than all of
    them, and less to scan.
    From ``FROM_ROWS`` questions on, the neighbours are sought in the cells nearest to the query.
    """

    kind: ClassVar[str] = "knn"

    def __init__(
        self,
        *,
        neighbours: tuple[int, ...] = NEIGHBOURS,
        temperatures: tuple[float, ...] = TEMPERATURES,
        components: int = COMPONENTS,
        part: int | None = None,
    ) -> None:
        """Set the grid of settings. ``part`` fixes the metric to one of several joined embeddings; without
        it, each of them and the whole are tried.
        """
        self._fixed_part = part
        self.part = part
        self._components = components
        self._grid = (neighbours, temperatures)
        self.experts: tuple[str, ...] = ()
        self._cells: Cells | None = None

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Keep the questions; choose k, embedding and temperature by :func:`contrast_loss` on validation."""
        if not len(train):
            raise NotReadyError("there are no questions to learn from", fix="answer questions first")
        neighbours, temperatures = self._grid
        self.experts = train.outcomes.experts
        best = float("inf")
        widths = train.queries.widths
        parts: list[int | None] = [self._fixed_part]
        if self._fixed_part is None and len(widths) > 1:
            parts += range(len(widths))
        for part in parts:
            self._remember(train.outcomes.score, train.queries.part(part))
            ranked = self._rank(validation.queries.part(part), max(neighbours), exact=False)
            for k, temperature in product(neighbours, temperatures):
                success = self._vote(*ranked, k=k, temperature=temperature)
                loss = contrast_loss(success, validation.outcomes.score)
                if loss < best or not self._chosen_yet:
                    best, self.part, self.k, self.temperature = loss, part, k, temperature
        return self.refit(train)

    def refit(self, examples: Examples) -> Self:
        """Remember these questions instead, with the settings that ``fit`` chose."""
        self._remember(examples.outcomes.score, examples.queries.part(self.part))
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m]."""
        out = np.empty((len(queries), len(self.experts)), np.float32)
        embeddings = queries.part(self.part)
        for start in range(0, len(queries), BLOCK):
            part = slice(start, start + BLOCK)
            ranked = self._rank(embeddings[part], self.k)
            out[part] = self._vote(*ranked, k=self.k, temperature=self.temperature)
        return out

    def state(self) -> State:
        """Return the memory and the settings chosen."""
        config: dict[str, Any] = {
            "experts": list(self.experts),
            "k": self.k,
            "part": self.part,
            "temperature": self.temperature if np.isfinite(self.temperature) else None,
            "complete": self._complete,
        }
        arrays = {
            "memory": self._memory,
            "score": self._score,
            "centre": self._centre,
            "projection": self._projection,
            "mean_score": self._mean_score,
        }
        if self._cells is not None:
            arrays |= {"cells": self._cells.centres, "cell_starts": self._cells.starts}
        return State(self.kind, config, arrays)

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted predictor."""
        knn = cls(part=state.config["part"])
        knn.experts = tuple(state.config["experts"])
        knn.k = state.config["k"]
        temperature = state.config["temperature"]
        knn.temperature = float("inf") if temperature is None else temperature
        knn._memory, knn._centre = state.arrays["memory"], state.arrays["centre"]
        width = len(knn._centre)
        if "projection" in state.arrays or knn._memory.shape[1] != width:
            knn._projection = state.arrays["projection"]
        else:  # routers saved before there was a projection compare whole embeddings
            knn._projection = np.eye(width, dtype=np.float32)
        knn._score = state.arrays["score"]
        # Saved since memories are large: without them all scores are read once.
        complete = state.config.get("complete")
        knn._complete = bool(np.isfinite(knn._score).all()) if complete is None else complete
        mean = state.arrays.get("mean_score")
        knn._mean_score = mean_scores(knn._score) if mean is None else mean
        if "cells" in state.arrays:
            knn._cells = Cells(state.arrays["cells"], state.arrays["cell_starts"])
        return knn

    @property
    def _chosen_yet(self) -> bool:
        return hasattr(self, "k")

    def _remember(self, score: NDArray[np.float32], embeddings: NDArray[np.float32]) -> None:
        self._score = score
        self._complete = bool(np.isfinite(score).all())
        self._mean_score = mean_scores(score)
        self._centre = embeddings.mean(axis=0)
        self._projection = principal_axes(embeddings - self._centre, self._components)
        self._memory = np.ascontiguousarray(unit_rows((embeddings - self._centre) @ self._projection.T))
        self._cells = None
        if len(self._memory) >= FROM_ROWS:
            order, self._cells = arrange(self._memory)
            self._memory, self._score = self._memory[order], score[order]

    def _rank(
        self, embeddings: NDArray[np.float32], k: int, *, exact: bool = True
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the k nearest training rows, nearest first: positions and similarities, both [n, k].

        A matrix product finds the candidates; their similarities are then computed again one by one, so that
        neither order nor values depend on what else is in the batch. ``exact=False`` leaves that out.
        """
        k = min(k, len(self._memory))
        candidates = min(k + MARGIN, len(self._memory)) if exact else k
        index = np.empty((len(embeddings), k), np.intp)
        similarity = np.empty((len(embeddings), k), np.float32)
        for start in range(0, len(embeddings), BLOCK):
            part = slice(start, start + BLOCK)
            rows = unit_rows(inner_products(embeddings[part] - self._centre, self._projection))
            if self._cells is not None:
                for i, row in enumerate(rows, start):
                    index[i], similarity[i] = self._nearest_in_cells(self._cells, row, k, candidates)
                continue
            products = rows @ self._memory.T
            near = np.argpartition(products, -candidates, axis=1)[:, -candidates:]
            if exact:
                near_products = np.stack(
                    [np.vecdot(self._memory[i], row) for i, row in zip(near, rows, strict=True)]
                )
            else:
                near_products = np.take_along_axis(products, near, axis=1)
            order = np.lexsort((near, -near_products), axis=1)[:, :k]
            index[part] = np.take_along_axis(near, order, axis=1)
            similarity[part] = np.take_along_axis(near_products, order, axis=1)
        return index, similarity

    def _nearest_in_cells(
        self, cells: Cells, row: NDArray[np.float32], k: int, candidates: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The same for one query [d], among the rows of the cells nearest to it; both [k]."""
        positions, products = cells.products(self._memory, row, candidates)
        near = positions[np.argpartition(products, -candidates)[-candidates:]]
        near_products = np.vecdot(self._memory[near], row)
        order = np.lexsort((near, -near_products))[:k]
        return near[order], near_products[order]

    def _vote(
        self, index: NDArray[np.intp], similarity: NDArray[np.float32], *, k: int, temperature: float
    ) -> NDArray[np.float32]:
        index, similarity = index[:, :k], similarity[:, :k]
        weight = np.exp((similarity - similarity[:, :1]) / np.float32(temperature))
        score = self._score[index]
        total = np.einsum("nk,nkm->nm", weight, np.nan_to_num(score))
        if self._complete:
            mass = weight.sum(axis=1, keepdims=True)
        else:
            mass = np.einsum("nk,nkm->nm", weight, np.isfinite(score).astype(np.float32))
        prior = np.float32(PRIOR_WEIGHT)
        success: NDArray[np.float32] = (total + prior * self._mean_score) / (mass + prior)
        return success


def mean_scores(score: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean score of each expert [m] over the questions it answered; 0 for one that answered none."""
    asked = np.isfinite(score)
    total = np.where(asked, score, 0).sum(axis=0, dtype=np.float64)
    mean: NDArray[np.float32] = (total / np.maximum(asked.sum(axis=0), 1)).astype(np.float32)
    return mean


def principal_axes(centred: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The directions [count or fewer, d] in which centred vectors [n, d] vary most, as rows."""
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    leading: NDArray[np.float32] = np.ascontiguousarray(axes[:, ::-1][:, :count].T, np.float32)
    return leading
