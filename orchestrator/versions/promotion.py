"""Put a challenger to the test against the champion, and promote it only if it wins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.evaluation.compare import compare_routers
from orchestrator.versions.mlflow_registry import champion_version, find_version, load_version, set_champion
from warehouse import InputError, Outcomes


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion in AIQ over log cost, on held-out questions."""

    difference: float
    low: float  # 95% interval, paired bootstrap over questions
    high: float
    questions: int

    @property
    def won(self) -> bool:
        """The whole interval lies above 0."""
        return self.low > 0

    def __str__(self) -> str:
        return (
            f"{100 * self.difference:+.2f} points [{100 * self.low:+.2f}, {100 * self.high:+.2f}] of "
            f"accuracy, averaged over log cost, on {self.questions:,} held-out questions"
        )


@dataclass(frozen=True)
class Promotion:
    """What came of a promotion. ``comparison`` is None when there was no champion to beat, or when it was
    forced and no test could be made.
    """

    version: str
    promoted: bool
    former: str | None
    comparison: Comparison | None


def promote(
    tracking_uri: str,
    version: str,
    outcomes: Outcomes,
    *,
    force: bool = False,
    reason: str = "",
    cache_dir: Path | None = None,
) -> Promotion:
    """Make ``version`` champion if it beats the champion on the questions that neither was trained on.

    With ``force`` it becomes champion whatever the test says, and where none can be made; a note tells so.
    Without a champion there is nothing to beat.

    Raises:
        InputError: no such version, or too few held-out questions that all experts of both pools answered.
    """
    version = find_version(tracking_uri, version)
    challenger = load_version(tracking_uri, version)
    former = champion_version(tracking_uri)
    if former is None:
        set_champion(tracking_uri, version, note=reason or "first champion")
        return Promotion(version, True, None, None)
    champion = load_version(tracking_uri, former)
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        report = compare_routers(
            {"challenger": challenger, "champion": champion}, outcomes, cache_dir=cache_dir
        )
    except InputError as error:
        if not force:
            raise
        note = f"forced without a test against version {former} at {stamp}: {error.what}"
        set_champion(tracking_uri, version, note=f"{note}; {reason}" if reason else note)
        return Promotion(version, True, former, None)
    gain = report.difference("challenger", "champion", "aiq_log")
    comparison = Comparison(gain.value, gain.low, gain.high, report.questions)
    if comparison.won or force:
        verdict = "won" if comparison.won else "forced"
        note = f"{verdict} against version {former} at {stamp}: {comparison}" + (
            f"; {reason}" if reason else ""
        )
        set_champion(tracking_uri, version, note=note)
    return Promotion(version, comparison.won or force, former, comparison)
