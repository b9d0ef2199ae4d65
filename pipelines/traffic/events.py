"""What a round of learning tells while it goes; the command line prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.traffic.judge_calibration import JudgeCalibration
    from orchestrator.versions.promotion import Standing
    from pipelines.answering.receipt import AnswerReceipt


@dataclass(frozen=True)
class TrafficRead:
    """What is recorded: requests, those whose texts are there, and those that somebody has scored."""

    round: str
    requests: int
    with_texts: int
    with_feedback: int
    is_resumed: bool


@dataclass(frozen=True)
class Sampled:
    """It is settled what is asked again: how many requests by expert."""

    requests: int
    asked: Mapping[str, int]
    expected_usd: float


@dataclass(frozen=True)
class Need:
    """Why something is paid for; no reason: nothing is, as was wished."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ShadowsCame:
    """The experts have answered."""

    receipts: tuple[AnswerReceipt, ...]


@dataclass(frozen=True)
class Graded:
    """Answers that have a score now, by what gave it; ``open``: those that nothing could grade."""

    by: Mapping[str, int]
    open: int
    judge: tuple[AnswerReceipt, ...]  # of each time that the judge was asked


@dataclass(frozen=True)
class Calibrated:
    """How far the judge agrees with what users say."""

    calibration: JudgeCalibration


@dataclass(frozen=True)
class ChallengerTrained:
    """A router was trained on all there is, and registered."""

    version: str
    is_new: bool
    questions: int  # of benchmarks and self-play
    traffic: int  # requests that were asked again
    labels: int  # what users and graders said of answers to requests


@dataclass(frozen=True)
class NothingToLearn:
    """No version was made, and why."""

    why: str


@dataclass(frozen=True)
class ChallengerTested:
    """The challenger was put to the gate."""

    standing: Standing


@dataclass(frozen=True)
class LearnDone:
    """The round is over; what it cost in all."""

    round: str
    cost_usd: float
    version: str | None
    promoted: bool


Event = (
    TrafficRead | Need | Sampled | ShadowsCame | Graded | Calibrated | ChallengerTrained | NothingToLearn
    | ChallengerTested | LearnDone
)  # fmt: skip
Tell = Callable[[Event], None]
