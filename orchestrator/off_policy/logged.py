"""Logged traffic as arrays: eligible experts, the one asked, its propensity, and the outcome."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warehouse import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Requests:
    """The further properties of ``n`` requests that a version needs to decide on them again."""

    request_id: NDArray[np.str_]  # [n]
    created_at: NDArray[np.datetime64]  # [n] UTC
    router_version: NDArray[np.str_]  # [n] that decided
    role: NDArray[np.str_]  # [n] champion | challenger
    canary_share: Floats  # [n] chance of being drawn for the challenger; NaN without a canary
    canary: NDArray[np.bool_]  # [n] drawn for it, whoever decided in the end
    preset: NDArray[np.str_]  # [n]; "" where the request named none
    multiplier: Floats  # [n] that was used
    rated_at: NDArray[np.datetime64]  # [n] when the rating came that counts; NaT where none did
    embedder: NDArray[np.str_]  # [n] names and checksums of its weights
    embedding: NDArray[np.object_]  # [n] vectors of float32, or None
    surface: NDArray[np.object_]  # [n]

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Requests:
        """Return some of the requests."""
        return Requests(**{one.name: getattr(self, one.name)[index] for one in fields(self)})


@dataclass(frozen=True)
class LoggedTraffic:
    """``n`` requests by ``m`` experts. The action is the expert asked FIRST. Reward and cost are those
    of the final answer, whichever expert gave it, so that fallbacks are attributed to the first choice.

    ``success_hat`` and ``cost_hat`` were forecast before the answer, so they do not depend on its reward.
    """

    experts: tuple[str, ...]  # [m]
    chosen: NDArray[np.intp]  # [n] column of who was asked first
    propensity: Floats  # [n, m] probability of being asked first; rows sum to 1, 0 where not allowed
    reward: Floats  # [n] in [0, 1]; NaN where nobody rated the answer
    cost_usd: Floats  # [n] of all attempts
    success_hat: Floats  # [n, m] forecast; NaN where none was made
    cost_hat: Floats  # [n, m]
    allowed: NDArray[np.bool_]  # [n, m] who might answer this request
    unit: NDArray[np.intp]  # [n] number of the conversation or text: rows of one unit hang together
    groups: dict[str, NDArray[np.str_]] = field(default_factory=dict)  # task, key, form: [n] each
    requests: Requests | None = None  # where the traffic was read from a warehouse

    def __len__(self) -> int:
        return len(self.chosen)

    @classmethod
    def from_arrays(
        cls,
        experts: tuple[str, ...],
        chosen: NDArray[np.integer],
        propensity: Floats,
        reward: Floats,
        cost_usd: Floats,
        success_hat: Floats | None = None,
        cost_hat: Floats | None = None,
        *,
        allowed: NDArray[np.bool_] | None = None,
        unit: NDArray[Any] | None = None,
        groups: dict[str, NDArray[np.str_]] | None = None,
        requests: Requests | None = None,
    ) -> LoggedTraffic:
        """Check the arrays and fill in what is not given: no forecasts, all allowed, each request a unit.

        Raises:
            InputError: shapes differ, a propensity lies outside 0..1, a chosen expert has propensity 0, or a
            reward lies outside 0..1.
        """
        n, m = len(chosen), len(experts)
        unknown = np.full((n, m), np.nan)
        traffic = cls(
            experts=tuple(experts),
            chosen=np.asarray(chosen, np.intp),
            propensity=np.asarray(propensity, float),
            reward=np.asarray(reward, float),
            cost_usd=np.asarray(cost_usd, float),
            success_hat=unknown if success_hat is None else np.asarray(success_hat, float),
            cost_hat=unknown if cost_hat is None else np.asarray(cost_hat, float),
            allowed=np.ones((n, m), bool) if allowed is None else np.asarray(allowed, bool),
            unit=np.arange(n) if unit is None else np.unique(unit, return_inverse=True)[1],
            groups=dict(groups or {}),
            requests=requests,
        )
        traffic._check(n, m)
        return traffic

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> LoggedTraffic:
        """Return some of the requests."""
        return replace(
            self,
            **{
                name: getattr(self, name)[index]
                for name in (
                    *("chosen", "propensity", "reward", "cost_usd", "success_hat", "cost_hat"),
                    *("allowed", "unit"),
                )
            },
            groups={name: values[index] for name, values in self.groups.items()},
            requests=self.requests.take(index) if self.requests else None,
        )

    @property
    def rated(self) -> NDArray[np.bool_]:
        """Whether each answer was rated [n]."""
        return np.asarray(np.isfinite(self.reward))

    @property
    def is_randomised(self) -> NDArray[np.bool_]:
        """Whether each expert was drawn at random, or was the only one allowed [n]."""
        return np.asarray(((self.propensity > 0).sum(axis=1) > 1) | (self.allowed.sum(axis=1) <= 1))

    def _check(self, n: int, m: int) -> None:
        where = "logged traffic"
        for name in ("propensity", "success_hat", "cost_hat", "allowed"):
            if getattr(self, name).shape != (n, m):
                raise InputError(f"{name} is not [{n}, {m}], requests by experts", where=where)
        for name in ("reward", "cost_usd", "unit"):
            if getattr(self, name).shape != (n,):
                raise InputError(f"{name} is not [{n}], one for each request", where=where)
        if n == 0:
            return
        if not (self.chosen.min() >= 0 and self.chosen.max() < m):
            raise InputError("an expert was chosen that is not in the list", where=where)
        if not ((self.propensity >= 0) & (self.propensity <= 1 + 1e-6)).all():
            raise InputError("a propensity lies outside 0..1, or is NaN", where=where)
        if not np.allclose(self.propensity.sum(axis=1), 1.0, atol=1e-3):
            raise InputError("the propensities of a request do not sum to 1", where=where)
        if not (self.propensity[np.arange(n), self.chosen] > 0).all():
            raise InputError("an expert was asked whose propensity is 0", where=where)
        known = self.reward[self.rated]
        if not ((known >= 0) & (known <= 1)).all():
            raise InputError("a reward lies outside 0..1", where=where, fix="scores are from 0 to 1")
        if not np.isfinite(self.cost_usd).all():
            raise InputError("a cost is not a number", where=where)
