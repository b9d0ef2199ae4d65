"""A fitted predictor whose pool has changed: experts added from a few probes, or retired."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Predictor, Rebuild
from orchestrator.predictors.knn import mean_scores
from orchestrator.predictors.mean_prior import MeanPrior
from orchestrator.predictors.states import State
from orchestrator.text.queries import Examples, Queries
from warehouse import InputError

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # pull of a new expert towards the average expert
LEAST_TELLING = 0.15  # deviation of an outcome on which all known experts agree


class ExtendedPredictor:
    """Adds columns to a predictor's output, and removes columns, without retraining it.

    A new expert's success is its mean plus a linear combination of the deviations of the known experts'
    predictions from their means. The coefficients come from a ridge regression of the new expert's scores
    on the probes on those of the known experts, shrunk towards the average expert; leave-one-out chooses
    the penalty. Outcomes tell far more about which experts are alike than predictions would. Since the
    known experts' means over all questions are known well, the regression also corrects the new one's mean
    for easy or hard probes (a control variate). The remaining part is regressed on the text, along the
    principal components of the known experts' predictions, each coefficient shrunk by how little the known
    experts vary there (empirical Bayes). The mean is shrunk towards that expected of an expert of its
    price.
    """

    kind: ClassVar[str] = "extended"

    def __init__(self, base: Predictor, base_mean: NDArray[np.float32]) -> None:
        """Start with the predictor's own experts; ``base_mean`` [m] is their mean score."""
        self._base = base
        self._base_mean = base_mean
        self._names = tuple(base.experts)
        self._mixing = np.zeros((0, len(base.experts)), np.float32)  # [added, m]
        self._added_mean = np.zeros(0, np.float32)
        self._active = np.ones(len(self._names), bool)

    @property
    def experts(self) -> tuple[str, ...]:
        """The present pool."""
        return tuple(name for name, active in zip(self._names, self._active, strict=True) if active)

    def add_expert(
        self,
        name: str,
        queries: Queries,
        score: NDArray[np.float32],
        known_score: NDArray[np.float32],
        prior: MeanPrior | None = None,
    ) -> None:
        """Add an expert by its scores on probes.

        Args:
            name: of the new expert. A retired expert comes back with these scores.
            queries: the probes [k].
            score: [k] its scores, NaN where it failed.
            known_score: [k, m] scores of the predictor's own experts on the probes, NaN where unknown.
            prior: prior on its mean over all questions.
        """
        self.remove_expert(name, missing_ok=True)
        asked = np.isfinite(score)
        predicted = self._base.predict(queries)
        known = np.where(np.isfinite(known_score), known_score, predicted)
        weight = 1 / tellingness(known_score)[asked]
        weight /= weight.mean()
        shape = (known - self._base_mean)[asked].astype(np.float64)
        mean, mixing = _mix(shape, score[asked].astype(np.float64), weight)
        rest = score[asked] - mean - shape @ mixing
        predicted_shape = (predicted - self._base_mean)[asked].astype(np.float64)
        offset, own = _read_rest(predicted_shape, rest, weight)
        mean, mixing = mean + offset, mixing + own
        if prior is not None:
            mean = prior.update(mean, float(np.sum((weight * rest) ** 2)) / len(rest) ** 2)
        mean = float(np.clip(mean, 0, 1))
        self._mixing = np.vstack([self._mixing, mixing.astype(np.float32)])
        self._added_mean = np.append(self._added_mean, np.float32(mean))
        self._names = (*self._names, name)
        self._active = np.append(self._active, True)

    def remove_expert(self, name: str, *, missing_ok: bool = False) -> None:
        """Retire an expert. The predictor's own experts still serve as references for added ones."""
        found = [i for i, known in enumerate(self._names) if known == name and self._active[i]]
        if not found and not missing_ok:
            raise InputError(f"no expert is called {name!r}", fix=f"use one of {', '.join(self.experts)}")
        self._active[found] = False

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Fit the wrapped predictor; experts that were added or retired are forgotten."""
        self._base.fit(train, validation, seed=seed)
        self.__init__(self._base, mean_scores(train.outcomes.score))  # type: ignore[misc]
        return self

    def refit(self, examples: Examples) -> Self:
        """Refit the wrapped predictor on its own experts' answers."""
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
        """Return the state of the wrapped predictor, and of added and retired experts."""
        base = self._base.state()
        config = {
            "names": list(self._names),
            "active": self._active.tolist(),
            "base": base.header(),
        }
        arrays: dict[str, NDArray[Any]] = {
            "mixing": self._mixing,
            "added_mean": self._added_mean,
            "base_mean": self._base_mean,
        }
        return State(self.kind, config, arrays | base.prefixed("base"))

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild the wrapped predictor, then added and retired experts."""
        extended = cls(rebuild(state.part(state.config["base"], "base")), state.arrays["base_mean"])
        extended._names = tuple(state.config["names"])
        extended._active = np.array(state.config["active"], bool)
        extended._mixing, extended._added_mean = state.arrays["mixing"], state.arrays["added_mean"]
        return extended


def tellingness(known_score: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how informative an answer to each question [n] is expected to be, up to a factor.

    If all known experts are right, or all are wrong, the new one most likely is too. Its standard deviation
    is taken to follow theirs. Questions with at most one known answer count as informative.
    """
    seen = np.isfinite(known_score)
    count = np.maximum(seen.sum(axis=1), 1)
    mean = np.where(seen, known_score, 0).sum(axis=1) / count
    deviation = np.sqrt(np.where(seen, (known_score - mean[:, None]) ** 2, 0).sum(axis=1) / count)
    return np.asarray(LEAST_TELLING + np.where(seen.sum(axis=1) > 1, deviation, 0.5), dtype=np.float64)


def pick_probes(known_score: NDArray[np.floating], count: int, *, seed: int = 0) -> NDArray[np.intp]:
    """Choose the questions whose answers are most informative about a new expert.

    The questions are drawn with probabilities proportional to how informative they are (Neyman allocation).
    Inverse weights of the answers correct for this, so that means remain those of all questions.

    Args:
        known_score: [n, m] scores of the known experts on the candidate questions, NaN where unknown.
        count: number of questions to choose.
    """
    n = len(known_score)
    if count >= n:
        return np.arange(n)
    telling = tellingness(known_score)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(n, count, replace=False, p=telling / telling.sum())
    return np.asarray(np.sort(chosen), np.intp)


def _mix(
    shape: NDArray[np.float64], score: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Weighted ridge regression drawn to 1/m each, with the penalty of least leave-one-out error.

    Args:
        shape: [k, m] what the known experts scored on the probes, less their means over all questions.
        score: [k] what the new one scored.
        weight: [k] of the probes, of mean 1.

    Returns:
        The new expert's mean over all questions, and the coefficients [m].
    """
    k, m = shape.shape
    average = np.full(m, 1 / m)
    centre, score_mean = np.average(shape, axis=0, weights=weight), float(np.average(score, weights=weight))
    x = (shape - centre) * np.sqrt(weight)[:, None]
    rest = (score - score_mean) * np.sqrt(weight) - x @ average
    unit = max(float(np.mean(np.sum(x**2, axis=1))) / m, 1e-12)
    best, coefficients = np.inf, average
    for penalty in PENALTIES:
        inverse = np.linalg.inv(x.T @ x + penalty * unit * k * np.eye(m))
        change = inverse @ (x.T @ rest)
        leverage = np.einsum("km,mj,kj->k", x, inverse, x)
        error = float(np.mean(((rest - x @ change) / np.maximum(1 - leverage, 0.05)) ** 2))
        if error < best:
            best, coefficients = error, average + change
    return float(score_mean - centre @ coefficients), coefficients


def _read_rest(
    shape: NDArray[np.float64], rest: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Bayesian linear regression of what outcomes leave unexplained on what the text says of the known ones.

    The directions are how hard a question is and the principal components of the contrasts between experts;
    the prior variance of the new one's coefficient on each is the known ones' own.

    Args:
        shape: [k, m] what was predicted of the known experts on the probes, less their means.
        rest: [k] the new one's scores less what the known ones' outcomes explain.
        weight: [k] of the probes, of mean 1.

    Returns:
        A change of the new expert's mean over all questions, and of its coefficients [m].
    """
    k, m = shape.shape
    centred = shape - np.average(shape, axis=0, weights=weight)
    level = centred.mean(axis=1)
    level_variance = float(np.average(level**2, weights=weight))
    noise = float(np.average((rest - np.average(rest, weights=weight)) ** 2, weights=weight))
    if m < 2 or level_variance < 1e-12 or noise < 1e-12:
        return 0.0, np.zeros(m)
    slopes = (weight * level) @ centred / (k * level_variance)
    root = np.sqrt(weight)[:, None]
    _, size, axes = np.linalg.svd(root * (centred - level[:, None]), full_matrices=False)
    kept = size > 1e-6 * max(float(size[0]), 1e-12)
    # columns: how the coefficients [m] change with one unit of each direction, scaled to variance 1 on probes
    directions = np.column_stack(
        [np.full(m, 1 / m) / np.sqrt(level_variance), axes[kept].T / size[kept] * np.sqrt(k)]
    )
    prior_variance = np.concatenate([[slopes.var() * level_variance], size[kept] ** 2 / (k * m)])
    x = centred @ directions
    gram = (x * weight[:, None]).T @ x + np.diag(noise / np.maximum(prior_variance, 1e-12))
    coefficients = directions @ np.linalg.solve(gram, (x * weight[:, None]).T @ rest)
    return float(-np.average(shape, axis=0, weights=weight) @ coefficients), coefficients
