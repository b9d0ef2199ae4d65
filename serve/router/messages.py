"""The messages to the router, and its replies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator import Decision
from orchestrator.asking.habits import Habits
from warehouse import InputError, NobodyMayAnswerError

#: Why a query is not decided on, as a value: the request is wrong, or it excludes everybody.
Refused = InputError | NobodyMayAnswerError


@dataclass(frozen=True)
class Query:
    """One text to decide on, with the limits on who may answer."""

    text: str
    preset: str | None = None
    multiplier: float | None = None
    max_cost_usd: float | None = None
    min_success: float | None = None
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    allowance_usd: float | None = None  # what such queries may cost on average; see paced_price.py
    wants_habits: bool = False  # several experts may be asked for one answer

    @property
    def limits(self) -> tuple[Any, ...]:
        """All but the text: queries with equal limits are decided in one pass."""
        return (self.preset, self.multiplier, self.max_cost_usd, self.min_success, self.allow, self.deny)


@dataclass(frozen=True)
class Features:
    """The features that the router read of a query, passed along so that they are computed once."""

    embedder: str  # names and checksums of its weights
    embedding: NDArray[np.float32]  # [d]
    surface: NDArray[np.float32]  # [len(SURFACE_FEATURES)]


@dataclass(frozen=True)
class Ruling:
    """A decision and the version of the orchestrator that made it."""

    decision: Decision
    version: str
    shadow: Ruling | None = None  # what the challenger would have decided; nobody follows it
    habits: Habits | None = None  # of that version's experts, where the query wants them
    role: Literal["champion", "challenger"] = "champion"
    canary_share: float | None = None  # chance of being drawn for the challenger; None without a canary
    is_canary: bool = False  # drawn for it; the champion decides all the same where it could not
    features: Features | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Saved:
    """A version of the orchestrator, and the directory in which it is saved."""

    version: str
    directory: str
    changed_ns: int  # when its files were last written: others under the same name are others


@dataclass(frozen=True)
class Lineup:
    """The versions that decide now, for an ingress that decides itself."""

    node: str  # whose directories they are
    versions: tuple[Saved, ...]  # the champion, and the challenger if there is one
    is_fast: bool  # whether all decide in a fraction of a millisecond
