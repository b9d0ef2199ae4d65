"""The one way to the crown: a version is put to the test against the champion, and promoted if it wins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.evaluation.compare import compare_routers
from orchestrator.versions.mlflow_registry import champion_version, find_version, load_version, set_champion
from warehouse import Outcomes, TooFewError


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
class Standing:
    """Whether a version is in charge after its challenge, as plain values that a record can keep."""

    version: str
    former: str | None  # champion before the challenge
    promoted: bool
    verdict: str  # goes on after "version 7 "
    test: str | None = None  # what the test found; None where there was none
    forced: bool = False  # promoted although the test was lost, or could not be made


def challenge_champion(
    registry: str,
    version: str,
    evidence: Outcomes,
    *,
    force: bool = False,
    reason: str = "",
    began_with: str | None = None,
    cache_dir: Path | None = None,
) -> Standing:
    """Make a version champion if it beats the champion on the questions that neither was trained on.

    Without a champion there is nothing to beat. Where too few questions are held out for a test, the champion
    stays and the verdict says why. A note on the version tells how it came to be champion.

    Args:
        registry: MLflow's tracking URI.
        version: number or alias of the challenger.
        evidence: outcomes of the experts of both.
        force: make it champion whatever the test says, and where none can be made.
        reason: why, for the note.
        began_with: who was champion when the work on this version began; a challenge that was cut short
            after its promotion then counts as won, and is not made twice.
        cache_dir: where embeddings are kept, if anywhere.

    Raises:
        InputError: no such version, or outcomes of an expert are lacking.
    """
    version, former = find_version(registry, version), champion_version(registry)
    if former == version:
        return Standing(version, began_with, began_with != version, "is champion already")

    def crown(how: str) -> None:
        set_champion(registry, version, note=f"{how}; {reason}" if reason else how)

    if former is None:
        set_champion(registry, version, note=reason or "first champion")
        return Standing(version, None, True, "is the first champion")
    routers = {"challenger": load_version(registry, version), "champion": load_version(registry, former)}
    against = f"against version {former} at {datetime.now(UTC).isoformat(timespec='seconds')}"
    try:
        report = compare_routers(routers, evidence, cache_dir=cache_dir)
    except TooFewError as error:
        if not force:
            return Standing(version, former, False, f"could not be tested: {error}")
        crown(f"forced without a test {against}: {error.what}")
        return Standing(version, former, True, "is champion: forced, without a test", forced=True)
    gain = report.difference("challenger", "champion", "aiq_log")
    comparison = Comparison(gain.value, gain.low, gain.high, report.questions)
    if comparison.won or force:
        crown(f"{'won' if comparison.won else 'forced'} {against}: {comparison}")
    verdict = f"{'beats' if comparison.won else 'does not beat'} champion {former}: {comparison}"
    return Standing(
        version, former, comparison.won or force, verdict, str(comparison), force and not comparison.won
    )


def crown_first(registry: str, version: str) -> bool:
    """Make a version champion if there is none yet; tell whether it did."""
    if champion_version(registry) is not None:
        return False
    set_champion(registry, version, note="first version")
    return True
