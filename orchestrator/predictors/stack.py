"""The stack: several predictors, weighted by how well their contrasts predict unseen questions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.predictors.base import Predictor, Rebuild, contrast_loss, contrasts
from orchestrator.predictors.difficulty import DifficultyPredictor
from orchestrator.predictors.knn import KnnPredictor, mean_scores
from orchestrator.predictors.states import State
from orchestrator.predictors.subject import SubjectPredictor
from orchestrator.text.novelty import Novelty
from orchestrator.text.queries import Examples, Queries

FOLDS = 5
EQUAL_SHARE = 0.5  # of the weights: the safer guess where questions are few or foreign
DISCOUNTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
LEVEL_PENALTY = 1e-3
LEAD = 0.005  # success that the best expert is given where leaving it has not paid

MemberBuilder = Callable[[], list[Predictor]]


def default_members() -> list[Predictor]:
    """Return the default members: kNN, tables by subject and by domain, and difficulty.

    A kNN per joined embedding, ridge and clusters added noise on small pools. The coarser table stabilises
    the finer one.
    """
    return [KnnPredictor(), SubjectPredictor(), SubjectPredictor(label="domain"), DifficultyPredictor()]


def knn_and_domain() -> list[Predictor]:
    """Return the members of a simpler stack: kNN and a table by domain."""
    return [KnnPredictor(), SubjectPredictor(label="domain")]


class StackPredictor:
    """Success = level of the question + weighted contrasts of the members.

    The *level* (how hard the question is for everyone) and the *contrasts* (who does better than the rest)
    are learned separately. Contrasts are combined by non-negative least squares pooled over all experts, so
    that a handful of weights rests on thousands of held-out answers (stacked regressions, Breiman 1996),
    shrunk half way to equal weights. Contrasts on which the members disagree are discounted. Weights are
    cross-fitted: members predict a training question after learning from the other folds. If the resulting
    choices would not have beaten the best single expert, that expert gets a small lead. Members are then
    refitted on all questions. On a query unlike the training questions the contrasts are shrunk towards 0.
    """

    kind: ClassVar[str] = "stack"

    def __init__(self, members: MemberBuilder = default_members) -> None:
        self._build = members
        self.experts: tuple[str, ...] = ()
        self._novelty: Novelty | None = None

    def fit(self, train: Examples, validation: Examples, *, seed: int = 0) -> Self:
        """Fit the members on train; weights, level and discount on train, in folds, and validation."""
        self.experts = train.outcomes.experts
        self.members = [member.fit(train, validation, seed=seed) for member in self._build()]
        self._mean_score = mean_scores(train.outcomes.score)
        predictions = np.concatenate(
            [self._predict_folds(train, seed), self._member_predictions(validation.queries)], axis=1
        )
        score = np.concatenate([train.outcomes.score, validation.outcomes.score])
        self._fit_contrasts(predictions, score)
        self._fit_level(predictions, score)
        self._novelty = Novelty.of(train.queries)
        self._lead = self._find_lead(predictions, score)
        return self

    def refit(self, examples: Examples) -> Self:
        """Refit every member; the weights are kept."""
        self._mean_score = mean_scores(examples.outcomes.score)
        self._novelty = Novelty.of(examples.queries)
        for member in self.members:
            member.refit(examples)
        return self

    def predict(self, queries: Queries) -> NDArray[np.float32]:
        """Return expected success [n, m]."""
        trust = None if self._novelty is None else self._novelty.trust(queries)
        return self._combine(self._member_predictions(queries), trust)

    def state(self) -> State:
        """Return the members' states, weights and level."""
        states = [member.state() for member in self.members]
        config = {
            "experts": list(self.experts),
            "discount": self.discount,
            "members": [state.header() for state in states],
        }
        arrays: dict[str, NDArray[Any]] = {
            "weights": self._weights,
            "level": self._level,
            "mean": self._mean_score,
            "lead": self._lead,
        }
        if self._novelty is not None:
            arrays |= self._novelty.arrays()
        for i, state in enumerate(states):
            arrays |= state.prefixed(str(i))
        return State(self.kind, config, arrays)

    @classmethod
    def from_state(cls, state: State, rebuild: Rebuild) -> Self:
        """Rebuild a fitted stack."""
        stack = cls()
        stack.experts, stack.discount = tuple(state.config["experts"]), state.config["discount"]
        stack._weights, stack._level = state.arrays["weights"], state.arrays["level"]
        stack._mean_score = state.arrays["mean"]
        stack._lead = state.arrays.get("lead", np.zeros_like(stack._mean_score))  # older ones have none
        stack._novelty = Novelty.from_arrays(state.arrays)
        stack.members = [
            rebuild(state.part(member, str(i))) for i, member in enumerate(state.config["members"])
        ]
        return stack

    def _member_predictions(self, queries: Queries) -> NDArray[np.float32]:
        """Return [members, n, m]."""
        return np.stack([member.predict(queries) for member in self.members])

    def _predict_folds(self, train: Examples, seed: int) -> NDArray[np.float32]:
        """What copies of the members that have not learned from a fold say of it [members, n, m]."""
        predictions = np.empty((len(self.members), len(train), len(self.experts)), np.float32)
        order = np.random.default_rng(seed).permutation(len(train))
        for fold in np.array_split(order, min(FOLDS, len(train))):
            others = train.take(np.setdiff1d(order, fold))
            queries = train.queries.take(fold)
            for i, member in enumerate(self.members):
                predictions[i, fold] = copy.copy(member).refit(others).predict(queries)
        return predictions

    def _fit_contrasts(self, predictions: NDArray[np.float32], score: NDArray[np.float32]) -> None:
        from scipy.optimize import nnls

        seen = np.isfinite(score)
        target = contrasts(score - self._mean_score, seen)[seen].astype(np.float64)
        columns = [contrasts(p - self._mean_score, seen)[seen] for p in predictions]
        features = np.column_stack(columns).astype(np.float64)
        weights, _ = nnls(features, target)
        weights = (1 - EQUAL_SHARE) * weights + EQUAL_SHARE / len(weights)
        self._weights = weights.astype(np.float32)
        self._level = np.zeros(len(predictions) + 1, np.float32)
        self.discount = 0.0
        losses = []
        for discount in DISCOUNTS:
            self.discount = discount
            losses.append(contrast_loss(self._contrast(predictions), score))
        self.discount = DISCOUNTS[int(np.argmin(losses))]

    def _fit_level(self, predictions: NDArray[np.float32], score: NDArray[np.float32]) -> None:
        """Regress the mean residual of a question on the members' mean predictions, over the cells asked."""
        seen = np.isfinite(score)
        count = np.maximum(seen.sum(axis=1), 1)
        residual = (
            np.where(seen, score - self._mean_score - self._contrast(predictions), 0).sum(axis=1) / count
        )
        features = self._level_features(predictions).astype(np.float64)
        gram = features.T @ features + LEVEL_PENALTY * len(features) * np.eye(features.shape[1])
        self._level = np.linalg.solve(gram, features.T @ residual).astype(np.float32)

    def _find_lead(self, predictions: NDArray[np.float32], score: NDArray[np.float32]) -> NDArray[np.float32]:
        """The lead [m] of the best expert: 0 where choosing by contrasts has been better than it alone."""
        lead = np.zeros(len(self.experts), np.float32)
        complete = np.isfinite(score).all(axis=1)
        known = score[complete]
        if not len(known):
            return lead
        best = int(known.mean(axis=0).argmax())
        chosen = (self._mean_score + self._contrast(predictions[:, complete])).argmax(axis=1)
        if known[np.arange(len(known)), chosen].mean() <= known[:, best].mean():
            lead[best] = LEAD
        return lead

    def _level_features(self, predictions: NDArray[np.float32]) -> NDArray[np.float32]:
        means = (predictions - self._mean_score).mean(axis=2).T
        return np.column_stack([means, np.ones(len(means), np.float32)])

    def _contrast(self, predictions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weighted contrasts around the experts' means [n, m], discounted where members disagree."""
        parts = predictions - self._mean_score
        parts = parts - parts.mean(axis=2, keepdims=True)
        combined = (self._weights[:, None, None] * parts).sum(axis=0)
        if self.discount:
            share = self._weights / max(float(self._weights.sum()), 1e-9)
            centre = (share[:, None, None] * parts).sum(axis=0)
            spread = np.sqrt(
                (share[:, None, None] * (parts - centre) ** 2).sum(axis=0).mean(axis=1, keepdims=True)
            )
            size = np.sqrt((centre**2).mean(axis=1, keepdims=True))
            combined = combined / (
                1 + np.float32(self.discount) * spread / np.maximum(size, np.float32(1e-6))
            )
        contrast: NDArray[np.float32] = combined
        return contrast

    def _combine(
        self, predictions: NDArray[np.float32], trust: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        level = (self._level_features(predictions) * self._level).sum(axis=1, keepdims=True)
        contrast = self._contrast(predictions)
        if trust is not None:
            contrast = contrast * trust[:, None]
        success: NDArray[np.float32] = self._mean_score + level + contrast + self._lead
        # Beyond 1 or below 0 it is the level that is wrong: cutting off would level the contrasts too.
        success = success - np.maximum(success.max(axis=1, keepdims=True) - 1, 0)
        success = success + np.maximum(-success.min(axis=1, keepdims=True), 0)
        success = np.clip(success, 0, 1)
        return success
