"""What a specialist is worth: to the universe, to the gate, and on frozen questions."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from experts import ExpertSpec
from pipelines.forge.closing.settings import CloseSettings
from pipelines.learning.cross_fitted import expected_success
from pipelines.learning.evidence import read_evidence
from pipelines.learning.grow_pool import Candidate
from pipelines.learning.pool_outcomes import load_pool_outcomes
from pipelines.selfplay.round_record import Step
from universe.analysis.candidate import CandidateValue, value_candidate
from universe.solver.select import universe_program
from warehouse import Outcomes
from warehouse.home import Home


def value_specialist(home: Home, candidate: Candidate, settings: CloseSettings) -> CandidateValue:
    """What the specialist adds to the best universe, at its price and up to which price."""
    names = [*candidate.known, candidate.name]
    outcomes = load_pool_outcomes(home, None, ",".join(names), candidate.sources)
    told = np.isfinite(outcomes.score[:, outcomes.experts.index(candidate.name)])
    outcomes = outcomes.take(told)
    expected = expected_success(outcomes, cache_dir=home.embeddings)
    program = universe_program(outcomes, expected=expected, price_weight=settings.price_weight)
    return value_candidate(program, candidate.name)


def challenge(home: Home, added: Step, spec: ExpertSpec) -> Step:
    """Put the version with the specialist to the test against the champion."""
    from orchestrator.versions.promotion import challenge_champion

    standing = challenge_champion(
        home.mlflow_uri, added["version"], _all_outcomes(home, added, spec), traffic=home.warehouse(),
        reason=f"the specialist {spec.name}", began_with=added["former"], cache_dir=home.embeddings,
    )  # fmt: skip
    return asdict(standing)


def measure_frozen(home: Home, added: Step, question_ids: list[str]) -> Step:
    """Routed accuracy on these frozen questions before and after, at one cost; as JSON holds it."""
    from orchestrator.evaluation.improvement import fix_cost, measure_improvement
    from orchestrator.versions.mlflow_registry import load_version

    before, after = (load_version(home.mlflow_uri, added[name]) for name in ("former", "version"))
    names = list(dict.fromkeys([*before.experts, *after.experts]))
    evidence = read_evidence(home.warehouse(), names, question_ids)
    frozen = evidence.to_test() if evidence else None
    if frozen is None:
        return {"line": "no frozen question is answered by all: what it bought cannot be told"}
    found = measure_improvement(before, after, frozen, fix_cost(frozen), cache_dir=home.embeddings)
    return asdict(found) | {
        "line": f"frozen questions ({found.questions}): {found.before} before, {found.after} after,"
        f" difference {found.difference}"
    }


def _all_outcomes(home: Home, added: Step, spec: ExpertSpec) -> Outcomes:
    from orchestrator.versions.mlflow_registry import load_version

    router = load_version(home.mlflow_uri, added["version"])
    return load_pool_outcomes(home, None, ",".join(router.experts), ",".join(router.info["sources"]))
