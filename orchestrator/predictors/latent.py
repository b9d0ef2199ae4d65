"""The latent-expert head (Routoo, Mohammadshahi et al. 2024): a learned embedding per expert."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Rebuild, contrast_loss, inner_products
from orchestrator.predictors.features import FeatureScale
from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, Queries

LATENT = 32
EPOCHS = 40
PATIENCE = 5  # epochs without gain on validation before stopping
BATCH = 256
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2


class LatentExpertPredictor:
    """success = sigmoid(w . gelu(A x - e) + b): the query's projection minus the expert's embedding.

    Trained in torch on the cells that were asked, stopped early on validation; predicts in NumPy.
    """

    kind: ClassVar[str] = "latent"

    def __init__(self) -> None:
        self.experts: tuple[str, ...] = ()

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Train; the number of epochs is chosen by :func:`contrast_loss` on validation."""
        self.seed, best, self.epochs = seed, float("inf"), 1
        stale = 0

        def watch(epoch: int) -> bool:
            nonlocal best, stale
            loss = contrast_loss(self.predict(validation.queries), validation.outcomes.score)
            stale += 1
            if loss < best:
                best, stale, self.epochs = loss, 0, epoch
            return stale < PATIENCE

        self._train(train, EPOCHS, watch)
        return self.refit(train)

    def refit(self, examples: Examples) -> Self:
        """Train again for the number of epochs chosen."""
        self._train(examples, self.epochs, lambda epoch: True)
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m]."""
        projected = inner_products(self._features.apply(queries), self._projection)
        out = np.empty((len(queries), len(self.experts)), np.float32)
        for j, place in enumerate(self._places):
            hidden = projected - place
            hidden = hidden / (1 + np.exp(-1.702 * hidden))  # the sigmoid form of GELU, as in training
            out[:, j] = 1 / (1 + np.exp(-(np.vecdot(hidden, self._head) + self._bias[j])))
        return out

    def state(self) -> State:
        """Return projection, expert embeddings and head."""
        arrays = {
            "projection": self._projection,
            "places": self._places,
            "head": self._head,
            "bias": self._bias,
            **self._features.arrays(),
        }
        config = {"experts": list(self.experts), "epochs": self.epochs, "seed": self.seed}
        return State(self.kind, config, arrays)

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted predictor."""
        latent = cls()
        latent.experts = tuple(state.config["experts"])
        latent.epochs, latent.seed = state.config["epochs"], state.config["seed"]
        latent._projection, latent._places = state.arrays["projection"], state.arrays["places"]
        latent._head, latent._bias = state.arrays["head"], state.arrays["bias"]
        latent._features = FeatureScale(state.arrays["centre"], state.arrays["scale"])
        return latent

    def _train(self, examples: Examples, epochs: int, watch: Callable[[int], bool]) -> None:
        import torch

        torch.manual_seed(self.seed)
        self.experts = examples.outcomes.experts
        self._features = FeatureScale.of(examples.queries)
        x = torch.from_numpy(self._features.apply(examples.queries))
        seen = torch.from_numpy(np.isfinite(examples.outcomes.score).astype(np.float32))
        y = torch.from_numpy(np.nan_to_num(examples.outcomes.score))
        m = y.shape[1]
        projection = torch.nn.Parameter(torch.randn(LATENT, x.shape[1]) * x.shape[1] ** -0.5)
        places = torch.nn.Parameter(torch.randn(m, LATENT) * 0.3)
        head = torch.nn.Parameter(torch.randn(LATENT) * LATENT**-0.5)
        rate = (y * seen).sum(0) / seen.sum(0).clamp(min=1)
        bias = torch.nn.Parameter(torch.logit(rate.clamp(0.02, 0.98)))
        optimiser = torch.optim.AdamW(
            [projection, places, head, bias], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        generator = torch.Generator().manual_seed(self.seed)
        for epoch in range(1, epochs + 1):
            for rows in torch.randperm(len(x), generator=generator).split(BATCH):
                hidden = (x[rows] @ projection.T)[:, None, :] - places
                logits = (hidden * torch.sigmoid(1.702 * hidden)) @ head + bias
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits, y[rows], weight=seen[rows], reduction="sum"
                ) / seen[rows].sum().clamp(min=1)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            self._projection, self._places, self._head, self._bias = (
                np.ascontiguousarray(p.detach().numpy().copy()) for p in (projection, places, head, bias)
            )
            if not watch(epoch):
                break
