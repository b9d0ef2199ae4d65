"""A canary that promotes or stops its challenger by itself, once it has shown enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.off_policy.canary import canary_log
from orchestrator.off_policy.evidence import TrafficEvidence
from orchestrator.off_policy.read import read_traffic
from orchestrator.off_policy.sequential import CanaryDecision, CanaryJudgement, CanaryRule, judge_canary
from orchestrator.versions.gate_record import TRAFFIC, held_out_said, write_down
from orchestrator.versions.mlflow_registry import champion_version, set_aside, set_champion
from warehouse import NotReadyError, Warehouse

VERDICT = "leeroo.canary"  # tag: what the canary of a version came to


@dataclass(frozen=True)
class CanaryEnd:
    """What a canary came to."""

    judgement: CanaryJudgement
    done: CanaryDecision  # what was done about it: PROMOTE, STOP, or GO_ON for nothing
    why: str


def end_canary(
    registry: str, warehouse: Warehouse, *, challenger: str, champion: str, rule: CanaryRule
) -> CanaryEnd | None:
    """Judge a canary, and do what it shows: promote the challenger, take its alias, or nothing.

    It may be called as often as one likes: the judgement holds at every look, see ``judge_canary``. A
    challenger that held-out questions showed to be worse than this champion is not promoted, as the gate
    would not. What is done stands in MLflow; ``leeroo rollback`` takes a promotion back, and ``leeroo
    promote VERSION --force`` a stop.

    Args:
        registry: MLflow's tracking URI.
        warehouse: where traffic is recorded.
        challenger, champion: versions that serve.
        rule: when it has shown enough.

    Returns:
        None where the challenger has served nothing yet.
    """
    try:
        logged = read_traffic(warehouse, with_vectors=False)
    except NotReadyError:
        return None
    log = canary_log(logged, challenger, champion)
    if not log.challenger.any():
        return None
    judged = judge_canary(log, rule)
    evidence = TrafficEvidence(canary=judged)
    why, done = judged.why, judged.verdict
    if done == CanaryDecision.PROMOTE and held_out_said(registry, challenger, champion) == "worse":
        done, why = CanaryDecision.GO_ON, f"{why}, but held-out questions show it to be worse"
    if done == CanaryDecision.GO_ON:
        return CanaryEnd(judged, done, why)
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    note = f"{done} by its canary against version {champion} at {stamp}: {why}; {evidence}"
    if done == CanaryDecision.PROMOTE:
        if champion_version(registry) != champion:  # a person was quicker
            return CanaryEnd(judged, CanaryDecision.GO_ON, "the champion has changed meanwhile")
        set_champion(registry, challenger, note=note)
    elif not set_aside(registry, challenger, note=note):
        return CanaryEnd(judged, CanaryDecision.GO_ON, "it is no challenger any more")
    write_down(registry, challenger, {VERDICT: note, TRAFFIC: str(evidence)}, evidence.figures())
    return CanaryEnd(judged, done, why)
