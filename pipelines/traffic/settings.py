"""What a round of learning from traffic does: every setting that decides its results."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from orchestrator.text.registry import DEFAULT_EMBEDDER
from warehouse import InputError

#: What the names of these rounds begin with where none is given.
ROUND_PREFIX = "learn"
JudgeBy = Literal["rubric", "pairs"]


@dataclass(frozen=True)
class ShadowSettings:
    """Which requests are asked again, and who grades what no rule can.

    Attributes:
        requests: at most so many.
        days: recorded in so many days before; None: ever.
        key_weights: by key id, how much its requests count beside the others' 1; 0 leaves them out.
        judge: expert that grades; without one only rules, users and agreement do.
        judge_by: a rubric, answer by answer; or pairs with the served answer, in both orders.
        if_needed: nothing is asked again, nor judged, while nothing speaks for drift.
    """

    requests: int = 200
    days: float | None = None
    key_weights: Mapping[str, float] = field(default_factory=dict)
    judge: str | None = None
    judge_by: JudgeBy = "rubric"
    if_needed: bool = False


@dataclass(frozen=True)
class LearnSettings:
    """A round of learning.

    Attributes:
        round: its name; None: the one that was not finished, else the next number.
        budget_usd: what shadow answers and verdicts may cost, earlier attempts at the round included.
        shadow: what is asked again.
        catalogue: path; None: the default one.
        predictor, embedder: of the router that is trained; None: those of the champion, else the defaults.
        seeds: splits of the evaluation.
        seed: of what is drawn.
        address: of the Ray cluster; None: the job's, RAY_ADDRESS's or a local one.
    """

    round: str | None = None
    budget_usd: float = 1.0
    shadow: ShadowSettings = field(default_factory=ShadowSettings)
    catalogue: str | None = None
    predictor: str | None = None
    embedder: str | None = None
    seeds: int = 5
    seed: int = 0
    address: str | None = None

    def decisive(self) -> dict[str, Any]:
        """The settings that must not change within a round: what is asked and graded follows from them."""
        return {"shadow": asdict(self.shadow), "catalogue": self.catalogue, "seed": self.seed}

    def by_step(self) -> dict[str, dict[str, Any]]:
        """Those that a later step uses first; until it is done they may be mended."""
        return {"training": {"predictor": self.predictor, "embedder": self.embedder, "seeds": self.seeds}}

    def check(self) -> None:
        """See that the settings can hold, before anything is read, asked or paid for.

        Raises:
            InputError: they cannot; names the option.
        """
        if not (math.isfinite(self.budget_usd) and self.budget_usd >= 0):
            raise InputError(
                f"the budget is {self.budget_usd} USD", where="--budget-usd", fix="give 0 or more"
            )
        if self.round is not None and not re.fullmatch(r"[\w.-]+", self.round):
            raise InputError(
                f"{self.round!r} cannot name a round", where="--round", fix="use letters and digits"
            )
        if self.shadow.days is not None and not self.shadow.days > 0:
            raise InputError(
                f"the number of days is {self.shadow.days}", where="--days", fix="give more than 0"
            )
        for key, weight in self.shadow.key_weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise InputError(
                    f"the weight of key {key!r} is {weight}", where="--weight", fix="give 0 or more"
                )
        if self.shadow.judge_by not in ("rubric", "pairs"):
            raise InputError(
                f"{self.shadow.judge_by!r} is no way to judge", where="--judge-by", fix="rubric or pairs"
            )
        from orchestrator.train import check_router_settings

        kinds = [] if self.predictor is None else [self.predictor]
        check_router_settings(kinds, self.embedder or DEFAULT_EMBEDDER)


def read_weights(told: list[str] | None) -> dict[str, float]:
    """Read ``KEY=WEIGHT`` as options give it.

    Raises:
        InputError: one is not of that shape.
    """
    weights = {}
    for text in told or []:
        key, _, value = text.rpartition("=")
        try:
            weights[key] = float(value)
        except ValueError:
            key = ""
        if not key:
            raise InputError(f"{text!r} is no weight", where="--weight", fix="write KEY=NUMBER")
    return weights
