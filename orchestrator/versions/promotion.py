"""The one way to the crown: a version is put to the test against the champion, and promoted if it wins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.evaluation.compare import compare_routers
from orchestrator.off_policy.evidence import TrafficEvidence, weigh_traffic
from orchestrator.off_policy.read import read_traffic
from orchestrator.policy import Orchestrator
from orchestrator.versions.gate_record import record_gate
from orchestrator.versions.mlflow_registry import champion_version, find_version, load_version, set_champion
from warehouse import NotReadyError, Outcomes, TooFewError, Warehouse


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

    @property
    def lost(self) -> bool:
        """The whole interval lies below 0."""
        return self.high < 0

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
    traffic: str | None = None  # what the traffic says; None where nobody looked, or nothing was recorded
    forced: bool = False  # promoted although the test was lost, or could not be made


def challenge_champion(
    registry: str,
    version: str,
    evidence: Outcomes,
    *,
    traffic: Warehouse | None = None,
    force: bool = False,
    reason: str = "",
    began_with: str | None = None,
    cache_dir: Path | None = None,
) -> Standing:
    """Make a version champion if it beats the champion on held-out questions, or on served traffic.

    It has to win one of the two, and to lose neither: to win or lose is to have the whole 95% interval on
    one side of 0. Where no traffic was recorded, or too little was explored to say anything, the questions
    alone decide; where too few questions are held out, the traffic alone. Without a champion there is
    nothing to beat. What was found stands among the version's tags and its run's metrics, and a note on the
    version tells how it came to be champion.

    Args:
        registry: MLflow's tracking URI.
        version: number or alias of the challenger.
        evidence: outcomes of the experts of both.
        traffic: where served traffic is recorded, if it is to be heard.
        force: make it champion whatever the tests say, and where none can be made.
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
    if former is None:
        set_champion(registry, version, note=reason or "first champion")
        return Standing(version, None, True, "is the first champion")
    routers = {"challenger": load_version(registry, version), "champion": load_version(registry, former)}
    served = _hear_traffic(traffic, (version, routers["challenger"]), (former, routers["champion"]))
    told = None if served is None else str(served)
    comparison, untested = compare_held_out(routers, evidence, cache_dir)
    record_gate(
        registry,
        version,
        against=former,
        held_out=None if comparison is None else (comparison.difference, comparison.low, comparison.high),
        untested=untested,
        traffic=told,
        figures={} if served is None else served.figures(),
    )
    against = f"against version {former} at {datetime.now(UTC).isoformat(timespec='seconds')}"
    found = "; ".join(filter(None, [str(comparison) if comparison else untested, told]))
    won = bool((comparison and comparison.won) or (served and served.is_better))
    lost = bool((comparison and comparison.lost) or (served and served.is_worse))
    promoted = won and not lost
    if promoted or force:
        how = "won" if promoted else "forced" if comparison else "forced without a test"
        note = f"{how} {against}: {found}"
        set_champion(registry, version, note=f"{note}; {reason}" if reason else note)
    forced = force and not promoted
    if comparison is None and (served is None or served.value is None):
        verdict = "is champion: forced, without a test" if force else f"could not be tested: {found}"
        return Standing(version, former, force, verdict, forced=force)
    verdict = f"{'beats' if promoted else 'does not beat'} champion {former}: {found}"
    test = str(comparison) if comparison else None
    return Standing(version, former, promoted or force, verdict, test, told, forced)


def compare_held_out(
    routers: dict[str, Orchestrator], evidence: Outcomes, cache_dir: Path | None
) -> tuple[Comparison | None, str]:
    """What held-out questions say, or why they say nothing."""
    try:
        report = compare_routers(routers, evidence, cache_dir=cache_dir)
    except TooFewError as error:
        return None, str(error)
    gain = report.difference("challenger", "champion", "aiq_log")
    return Comparison(gain.value, gain.low, gain.high, report.questions), ""


def _hear_traffic(
    traffic: Warehouse | None, challenger: tuple[str, Orchestrator], champion: tuple[str, Orchestrator]
) -> TrafficEvidence | None:
    """What served traffic says; None where nobody asks, or nothing was recorded."""
    if traffic is None:
        return None
    try:
        logged = read_traffic(traffic, experts=[*challenger[1].experts, *champion[1].experts])
    except NotReadyError:
        return None
    return weigh_traffic(logged, challenger, champion)


def crown_first(registry: str, version: str) -> bool:
    """Make a version champion if there is none yet; tell whether it did."""
    if champion_version(registry) is not None:
        return False
    set_champion(registry, version, note="first version")
    return True
