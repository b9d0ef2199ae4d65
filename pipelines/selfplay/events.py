"""What a run tells while it goes: an event after each step, and the answers as they come.

Steps and rounds print nothing. Whoever starts a run gives a ``Tell``: the command line's prints, and one of
a notebook or a test may keep the events and read them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.evaluation.improvement import Improvement
    from orchestrator.versions.promotion import Standing
    from pipelines.answering.domains import DomainResult
    from pipelines.answering.judging import JudgeReceipt
    from pipelines.answering.receipt import AnswerReceipt
    from pipelines.learning.training import TrainingResult
    from pipelines.questions.brief import GapBrief
    from pipelines.questions.duplicates import Refusal
    from pipelines.selfplay.results import RoundResult, SelfplayResult
    from universe import Universe


@dataclass(frozen=True)
class FrozenSet:
    """The frozen evaluation set is there. ``fallen`` of ``total`` questions of a source with an end fall to
    the part that is never learned from; None where it was made before, or comes from generators.
    """

    questions: int
    source: str
    fallen: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class QuestionsMade:
    """A round's questions are there."""

    round: str
    question_ids: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    experts: int


@dataclass(frozen=True)
class Assigned:
    """It is settled whom to ask what: ``question_ids`` by expert's name, or None: everyone everything."""

    round: str
    expected_usd: float
    all_on_all_usd: float
    all_on_all: int  # answers, were everyone asked everything
    question_ids: Mapping[str, tuple[str, ...]] | None

    def kept(self) -> dict[str, Any]:
        """What the round's record keeps."""
        ids = self.question_ids
        return {
            "expected_usd": self.expected_usd,
            "all_on_all_usd": self.all_on_all_usd,
            "ids": None if ids is None else {name: list(own) for name, own in ids.items()},
        }


@dataclass(frozen=True)
class AnsweringBegins:
    """The experts are about to be asked; ``questions`` by expert's name, those answered before included."""

    round: str
    questions: Mapping[str, int]
    is_open: bool  # False: every one has been answered before
    is_frozen: bool  # the frozen set, not a round's own questions


@dataclass(frozen=True)
class AnswersCame:
    """An expert has answered so many questions more; the first of them are those of before."""

    expert: str
    count: int


@dataclass(frozen=True)
class Answered:
    """The experts have answered, and the judge has graded what no rule can."""

    round: str
    receipts: tuple[AnswerReceipt, ...]
    judge: str | None = None
    judged: JudgeReceipt | None = None
    domains: tuple[DomainResult, ...] | None = None  # None for the frozen set, which is for tests alone


@dataclass(frozen=True)
class LeftOut:
    """Experts from whose answers nothing can be learned: none of them has a score and a cost."""

    round: str
    experts: tuple[str, ...]


@dataclass(frozen=True)
class UniverseChosen:
    """The experts to keep were chosen. They become the pool in use if their router is promoted."""

    round: str
    universe: Universe

    def kept(self) -> dict[str, Any]:
        """What the round's record keeps."""
        found = self.universe
        measures = ("expected_score", "expected_cost_usd", "gap")
        return {"experts": list(found.experts), **{key: float(getattr(found, key)) for key in measures}}


@dataclass(frozen=True)
class Trained:
    """A router was trained and registered, or had been."""

    round: str
    trained: TrainingResult

    def kept(self) -> dict[str, Any]:
        """What the round's record keeps."""
        return {"version": self.trained.version}


@dataclass(frozen=True)
class Measured:
    """What the round bought on the frozen set; None where it cannot be told, and why."""

    round: str
    purchase: Improvement | None
    problem: str | None = None

    def kept(self) -> dict[str, Any]:
        """What the round's record keeps."""
        return {"purchase": None if self.purchase is None else asdict(self.purchase)}


@dataclass(frozen=True)
class Tested:
    """The router was put to the test against the champion."""

    round: str
    standing: Standing


@dataclass(frozen=True)
class GapsFound:
    """What no expert can do: whole domains, and regions that a map of the questions shows."""

    round: str
    lines: tuple[str, ...]  # a sentence each
    briefs: tuple[GapBrief, ...]  # the same for makers of questions

    def kept(self) -> dict[str, Any]:
        """What the round's record keeps."""
        return {"lines": list(self.lines), "gaps": [asdict(brief) for brief in self.briefs]}


@dataclass(frozen=True)
class RoundDone:
    """A round is over; ``is_kept``: it was before this run began."""

    result: RoundResult
    is_kept: bool = False


@dataclass(frozen=True)
class RunDone:
    """The run is over."""

    result: SelfplayResult


Event = (
    FrozenSet
    | QuestionsMade
    | Assigned
    | AnsweringBegins
    | AnswersCame
    | Answered
    | LeftOut
    | UniverseChosen
    | Trained
    | Measured
    | Tested
    | GapsFound
    | RoundDone
    | RunDone
)

Tell = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Tell nobody."""
