"""Which part of the traffic each domain has; empty where nothing was served yet."""

from __future__ import annotations

from pipelines.learning.evidence import read_evidence
from pipelines.learning.traffic_mix import read_mix
from pipelines.selfplay.round_record import FROZEN, RoundFolder
from universe.pool_file import read_pool
from warehouse.home import Home


def read_traffic_shares(home: Home) -> dict[str, float]:
    """Each domain's part of the recorded requests, set beside the answered questions."""
    records = RoundFolder(home.rounds).record(FROZEN)
    frozen = records["questions"]["ids"] if "questions" in records else []
    evidence = read_evidence(home.warehouse(), read_pool(home.path), frozen)
    learned = evidence.to_learn() if evidence else None
    return {part.domain: part.share for part in read_mix(home, learned)}
