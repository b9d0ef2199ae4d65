"""A fitted predictor whose pool has changed: experts placed from a few probes among the known, or retired."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.knn import mean_scores
from orchestrator.predictor import Predictor, State
from orchestrator.queries import Examples, Queries

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # pull of a new expert towards the average expert
OUTCOME_PENALTY = 0.1  # of the regression behind the mean of a new expert


class ExtendedPredictor:
    """Adds columns to a predictor's output, and takes columns away; the predictor itself is not retrained.

    A new expert's success is its mean plus a linear combination of how far the known experts' predictions lie
    from their means. The combination is a ridge regression on the probes, drawn to the average expert; its
    strength is chosen by leave-one-out. The mean is adjusted by what the known experts did on the same probes
    (a control variate), since a few hundred questions alone leave it uncertain by several points.
    """

    kind: ClassVar[str] = "extended"

    def __init__(self, base: Predictor, base_mean: NDArray[np.float32]) -> None:
        """Start with the predictor's own experts; ``base_mean`` [m] is what they score on average."""
        self._base = base
        self._base_mean = base_mean
        self._names = tuple(base.experts)
        self._mixing = np.zeros((0, len(base.experts)), np.float32)  # [added, m]
        self._added_mean = np.zeros(0, np.float32)
        self._active = np.ones(len(self._names), bool)

    @property
    def experts(self) -> tuple[str, ...]:
        """The pool as it is now."""
        return tuple(name for name, active in zip(self._names, self._active, strict=True) if active)

    def add_expert(
        self, name: str, queries: Queries, score: NDArray[np.float32], known_score: NDArray[np.float32]
    ) -> None:
        """Place an expert from its scores on probes.

        Args:
            name: of the new expert; one that was retired comes back with what is known of it now.
            queries: the probes [k].
            score: [k] what it scored, NaN where it failed.
            known_score: [k, m] what the predictor's own experts scored on the probes, NaN where unknown.
        """
        self.remove_expert(name, missing_ok=True)
        asked = np.isfinite(score)
        shape = (self._base.predict(queries) - self._base_mean)[asked].astype(np.float64)
        target = score[asked].astype(np.float64)
        mean = _adjusted_mean(target, known_score[asked], self._base_mean)
        mixing = _mix(shape, target - mean)
        self._mixing = np.vstack([self._mixing, mixing.astype(np.float32)])
        self._added_mean = np.append(self._added_mean, np.float32(mean))
        self._names = (*self._names, name)
        self._active = np.append(self._active, True)

    def remove_expert(self, name: str, *, missing_ok: bool = False) -> None:
        """Retire an expert at once. The known ones keep serving as landmarks for the others."""
        found = [i for i, known in enumerate(self._names) if known == name and self._active[i]]
        if not found and not missing_ok:
            from warehouse import InputError

            raise InputError(f"no expert is called {name!r}", fix=f"use one of {', '.join(self.experts)}")
        self._active[found] = False

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Fit the predictor beneath afresh; experts that were added or retired are forgotten."""
        self._base.fit(train, validation, seed=seed)
        self.__init__(self._base, mean_scores(train.outcomes.score))  # type: ignore[misc]
        return self

    def refit(self, examples: Examples) -> Self:
        """Let the predictor beneath learn again from its own experts' answers."""
        own = Examples(examples.queries, examples.outcomes.only(self._base.experts))
        self._base.refit(own)
        self._base_mean = mean_scores(own.outcomes.score)
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, experts]."""
        known = self._base.predict(queries)
        shape = known - self._base_mean
        added = np.clip(self._added_mean + np.vecdot(shape[:, None, :], self._mixing[None]), 0, 1)
        success: NDArray[np.float32] = np.hstack([known, added])[:, self._active]
        return success

    def state(self) -> State:
        """Return the predictor beneath with what was added and retired."""
        base = self._base.state()
        config = {
            "names": list(self._names),
            "active": self._active.tolist(),
            "base": {"kind": base.kind, "config": base.config},
        }
        arrays: dict[str, NDArray[Any]] = {
            "mixing": self._mixing,
            "added_mean": self._added_mean,
            "base_mean": self._base_mean,
        }
        return State(self.kind, config, arrays | {f"base/{key}": array for key, array in base.arrays.items()})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Rebuild the predictor beneath, then what was added and retired."""
        from orchestrator.persistence import predictor_from_state

        own = {k.partition("/")[2]: a for k, a in state.arrays.items() if k.startswith("base/")}
        base = predictor_from_state(State(state.config["base"]["kind"], state.config["base"]["config"], own))
        extended = cls(base, state.arrays["base_mean"])
        extended._names = tuple(state.config["names"])
        extended._active = np.array(state.config["active"], bool)
        extended._mixing, extended._added_mean = state.arrays["mixing"], state.arrays["added_mean"]
        return extended


def pick_probes(success: NDArray[np.float32], count: int, *, seed: int = 0) -> NDArray[np.intp]:
    """Choose the questions whose answers tell most about a new expert.

    Greedy D-optimal design: each next question is the one on which the known experts' predicted success, as a
    direction, has been explored least. Ties and the first choice are random.

    Args:
        success: [n, m] predicted success of the known experts on the candidate questions.
        count: how many to choose.
    """
    n, m = success.shape
    if count >= n:
        return np.arange(n)
    features = success.astype(np.float64) - success.mean(axis=0)
    features /= max(float(features.std()), 1e-9)
    features = np.column_stack([features, np.ones(n)])
    rng = np.random.default_rng(seed)
    # half of the probes are drawn at random, so that the mean of the new expert is not that of extremes
    chosen = list(rng.choice(n, count - count // 2, replace=False))
    inverse = np.linalg.inv(features[chosen].T @ features[chosen] + np.eye(m + 1))
    novelty = np.einsum("nd,de,ne->n", features, inverse, features)
    novelty[chosen] = -np.inf
    for _ in range(count // 2):
        best = int(novelty.argmax())
        chosen.append(best)
        direction = inverse @ features[best]
        inverse -= np.outer(direction, direction) / (1 + features[best] @ direction)
        novelty -= (features @ direction) ** 2 / (1 + features[best] @ direction)
        novelty[chosen] = -np.inf
    return np.array(sorted(chosen), np.intp)


def _mix(shape: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge weights [m] drawn to 1/m each, with the penalty of least leave-one-out error."""
    m = shape.shape[1]
    average = np.full(m, 1 / m)
    rest = residual - shape @ average
    unit = max(float(np.mean(np.sum(shape**2, axis=1))), 1e-12)
    best, weights = np.inf, average
    for penalty in PENALTIES:
        inverse = np.linalg.inv(shape.T @ shape + penalty * unit * len(shape) * 0.1 * np.eye(m))
        change = inverse @ (shape.T @ rest)
        leverage = np.einsum("km,mj,kj->k", shape, inverse, shape)
        error = float(np.mean(((rest - shape @ change) / np.maximum(1 - leverage, 0.05)) ** 2))
        if error < best:
            best, weights = error, average + change
    return weights


def _adjusted_mean(
    score: NDArray[np.float64], known_score: NDArray[np.float32], known_mean: NDArray[np.float32]
) -> float:
    """The new expert's mean over all questions, from its scores on probes and how the known did on them."""
    seen = np.isfinite(known_score)
    ease = np.where(seen, known_score - known_mean, 0).astype(
        np.float64
    )  # [k, m] easier or harder than usual
    centred = ease - ease.mean(axis=0)
    m = ease.shape[1]
    gram = (
        centred.T @ centred + OUTCOME_PENALTY * len(score) * np.eye(m) * max(float(centred.var()), 1e-12) * m
    )
    slope = np.linalg.solve(gram, centred.T @ (score - score.mean()))
    return float(np.clip(score.mean() - ease.mean(axis=0) @ slope, 0, 1))
