"""What a run of rounds does: every setting that decides its results, in groups, one for each step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.text.registry import DEFAULT_EMBEDDER
from pipelines.questions.sources.base import QuestionSettings
from pipelines.selfplay.round_record import FROZEN, RUN_PREFIX
from warehouse import InputError

if TYPE_CHECKING:
    from experts import ExpertSpec


@dataclass(frozen=True)
class RoundPlan:
    """Which rounds are run, and when they end."""

    first: str = "r000"  # the number at its end counts on
    count: int = 1
    budget_usd: float | None = None  # for all rounds and the frozen set together
    min_points_per_usd: float | None = None  # a round that gains less ends the run

    @property
    def names(self) -> list[str]:
        """The names of the rounds, counted on from the number at the end of the first one's.

        >>> RoundPlan("r009", 3).names, RoundPlan("demo", 2).names
        (['r009', 'r010', 'r011'], ['demo', 'demo-2'])
        """
        found = re.search(r"\d+$", self.first)
        if found is None:
            return [self.first, *(f"{self.first}-{i}" for i in range(2, self.count + 1))]
        number, width = int(found.group()), len(found.group())
        return [f"{self.first[: found.start()]}{number + i:0{width}d}" for i in range(self.count)]


@dataclass(frozen=True)
class AskingSettings:
    """Who is asked how much, and who grades."""

    explore: float = 1.0  # share of the cost of asking everyone everything that a round may spend
    judge: str | None = None  # expert that grades `judged` questions; it answers none of them


@dataclass(frozen=True)
class UniverseSettings:
    """Limits of the experts that are kept."""

    max_experts: int | None = None
    max_cost_usd: float | None = None  # mean cost of a query


@dataclass(frozen=True)
class RouterSettings:
    """How the router is trained and judged."""

    predictor: str = "knn"
    embedder: str = DEFAULT_EMBEDDER
    seeds: int = 5  # splits of the evaluation


@dataclass(frozen=True)
class SelfplaySettings:
    """What a run of rounds does; all of it is logged to MLflow."""

    rounds: RoundPlan = field(default_factory=RoundPlan)
    questions: QuestionSettings = field(default_factory=QuestionSettings)
    asking: AskingSettings = field(default_factory=AskingSettings)
    universe: UniverseSettings = field(default_factory=UniverseSettings)
    router: RouterSettings = field(default_factory=RouterSettings)
    catalogue: str | None = None  # path; None: the default one
    address: str | None = None  # of the Ray cluster; None: the job's, RAY_ADDRESS's or a local one

    def flat(self) -> dict[str, Any]:
        """All settings under the names that they have in ``HOME/rounds`` and in MLflow."""
        rounds, questions = self.rounds, self.questions
        return {
            "round": rounds.first,
            "rounds": rounds.count,
            "budget_usd": rounds.budget_usd,
            "min_points_per_usd": rounds.min_points_per_usd,
            "explore": self.asking.explore,
            "catalogue": self.catalogue,
            "questions": questions.source,
            "limit": questions.limit,
            "frozen": questions.frozen,
            "frozen_questions": questions.frozen_count,
            "domains": questions.domains,
            "per_domain": questions.per_domain,
            "round_questions": questions.per_round,
            "writer": questions.writer,
            "written_share": questions.written_share,
            "judge": self.asking.judge,
            "seed": questions.seed,
            "max_experts": self.universe.max_experts,
            "max_cost_usd": self.universe.max_cost_usd,
            "predictor": self.router.predictor,
            "embedder": self.router.embedder,
            "seeds": self.router.seeds,
            "address": self.address,
        }

    def decisive(self, experts: Sequence[ExpertSpec]) -> dict[str, Any]:
        """The settings that must not change within a round: its questions and answers follow from them."""
        free = {"round", "rounds", "budget_usd", "min_points_per_usd", "address", "catalogue"}
        free |= {name for own in self.by_step().values() for name in own}
        kept = {name: value for name, value in self.flat().items() if name not in free}
        return kept | {"experts": {spec.name: spec.version for spec in experts}}

    def by_step(self) -> dict[str, dict[str, Any]]:
        """The settings that are first used after the answers are paid for; until then they may be mended.

        (Whom to ask may follow from the embedder too; that step's result stands, whatever comes after.)
        """
        universe, router = self.universe, self.router
        return {
            "universe": {
                "max_experts": universe.max_experts,
                "max_cost_usd": universe.max_cost_usd,
                "embedder": router.embedder,
            },
            "training": {
                "predictor": router.predictor,
                "embedder": router.embedder,
                "seeds": router.seeds,
            },
        }

    def check(self) -> None:
        """See that the settings can hold, before anything is read, asked or paid for.

        Raises:
            InputError: they cannot; names the option.
        """
        rounds, questions, explore = self.rounds, self.questions, self.asking.explore
        if rounds.budget_usd is not None and not 0 < rounds.budget_usd < float("inf"):
            raise InputError(
                f"the budget is {rounds.budget_usd} USD", where="--budget-usd", fix="give more than 0"
            )
        if not 0 < explore <= 1:
            raise InputError(
                f"the share to explore on is {explore}", where="--explore", fix="give more than 0, at most 1"
            )
        is_taken = rounds.first == FROZEN or rounds.first.startswith(RUN_PREFIX)
        if not re.fullmatch(r"[\w.-]+", rounds.first) or is_taken:
            raise InputError(
                f"{rounds.first!r} cannot name a round", where="--round", fix="use letters and digits"
            )
        if questions.domains and questions.source is not None:
            raise InputError(
                "domains choose among the generators, and the questions come from a file or data set",
                where="--domain with --questions",
                fix="leave one of them out",
            )
        if questions.limit is not None and questions.source is None:
            raise InputError(
                "a limit applies to a file or data set, and none is given",
                where="--limit without --questions",
                fix="use --per-domain for generators",
            )
        from orchestrator.train import check_router_settings

        check_router_settings([self.router.predictor], self.router.embedder)
