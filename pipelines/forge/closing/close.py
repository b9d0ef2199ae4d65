"""Close a gap: make the specialist, test it, let the universe and the gate decide; resumable.

Each step is in the gap's record once it is done. Nothing is retrained for the router: the specialist is
placed by its answers, as any expert that is added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from experts import ExpertSpec
from experts.catalogue_file import Catalogue, load_catalogue
from pipelines.forge.closing.compare import CLOSED, FORGETTING, Verdict, compare_specialist, other_questions
from pipelines.forge.gap import TargetGap
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.run import Forged, ForgeSettings, Tell, forge_folder, forge_specialist
from pipelines.forge.train import Measured
from pipelines.forge.training_questions import held_out_questions
from pipelines.learning.cross_fitted import expected_success
from pipelines.learning.evidence import read_evidence
from pipelines.learning.grow_pool import Candidate, add_candidate, ask_candidate, choose_candidate
from pipelines.learning.pool_outcomes import load_pool_outcomes
from pipelines.selfplay.round_record import FROZEN, RoundFolder, RoundRecord, Step
from universe.analysis.candidate import CandidateValue, value_candidate
from universe.solver.select import universe_program
from warehouse import NotReadyError, Outcomes
from warehouse.home import Home

TEST_SEED = 7_000_003  # of held-out questions: another draw than any round's


@dataclass(frozen=True)
class CloseSettings:
    """How a specialist is made, what it is tested on, and what all of it may cost."""

    forge: ForgeSettings
    held_out: int = 120
    elsewhere: int = 140
    probes: int = 200
    test_questions: int = 200
    budget_usd: float | None = None  # of asking it
    usd_per_hour: float = 0.10  # of the machine that trains
    price_weight: float = 0.0  # the score that one USD per query has to buy


@dataclass(frozen=True)
class Closed:
    """The story of a gap, from its record."""

    forged: Forged
    test: Step
    refused: str | None  # why it went no further
    universe: Step | None
    promotion: Step | None
    bought: Step | None


def close_gap(
    home: Home,
    gap: TargetGap,
    known: Catalogue,
    settings: CloseSettings,
    *,
    connect: Callable[[], None] = lambda: None,
    tell: Tell = lambda line: None,
    on_measured: Callable[[Measured], None] = lambda measured: None,
) -> Closed:
    """Make a specialist, test it, ask it what places it, and put the router with it to the test.

    Args:
        home: with a champion.
        gap: to close.
        known: the catalogue with the base.
        settings: how.
        connect: called before the specialist is asked; must establish a Ray connection.
        tell: told in a sentence what happens.
        on_measured: told what training measures.
    """
    forged = forge_specialist(home, gap, known, settings.forge, tell=tell, on_measured=on_measured)
    record = RoundRecord(forge_folder(home, gap) / "record.json")
    test = record.step("test", lambda: try_specialist(home, gap, known, forged, settings))
    tell(f"the gap {test['gap_line']}; elsewhere {test['elsewhere_line']}")
    if test["refused"]:
        return Closed(forged, test, test["refused"], None, None, None)
    spec = load_catalogue(forged.specialist.catalogue).get(forged.specialist.name)

    def add() -> Step:
        candidate = choose_candidate(
            home, spec.name, probes=settings.probes, test_questions=settings.test_questions
        )
        receipt = ask_candidate(
            home, candidate, spec, run_id="", budget_usd=settings.budget_usd, connect=connect
        )
        value = value_specialist(home, candidate, settings)
        growth = add_candidate(home, candidate, receipt)
        return asdict(value) | {
            "version": growth.version, "former": candidate.champion_version, "probes": growth.probes,
            "tested": growth.tested, "asked_usd": receipt.cost_usd, "gain": value.gain,
        }  # fmt: skip

    added = record.step("add", add)
    price, worth = (1000 * added[name] for name in ("price_usd", "break_even_usd"))
    tell(
        f"the universe {'takes' if added['chosen'] else 'leaves'} it at {price:.6f} USD per 1,000 queries"
        f" (worth up to {worth:.6f}), score {added['gain']:+.4f}"
    )
    if not added["chosen"]:
        return Closed(forged, test, "the universe does not take it at its price", added, None, None)
    promotion = record.step("promotion", lambda: challenge(home, added, spec))
    tell(f"version {promotion['version']} {promotion['verdict']}")
    bought = record.step("bought", lambda: measure_frozen(home, added, spec))
    tell(bought["line"])
    return Closed(forged, test, None, added, promotion, bought)


def try_specialist(
    home: Home, gap: TargetGap, known: Catalogue, forged: Forged, settings: CloseSettings
) -> Step:
    """Test the specialist against its base on questions that nothing was learned from; as JSON holds it."""
    base = known.get(settings.forge.base)
    held_out = held_out_questions(gap, settings.held_out, seed=TEST_SEED, allow_fewer=True)
    others = other_questions(home.warehouse().scan("questions"), gap, settings.elsewhere, seed=TEST_SEED)
    verdict = compare_specialist(base, forged.specialist.folder, held_out, others, settings.forge.recipe)
    return {
        "gap": verdict.gap.record,
        "levels": [level.record for level in verdict.levels],
        "elsewhere": verdict.elsewhere.record,
        "gap_line": f"{verdict.gap.specialist}, base {verdict.gap.base}",
        "elsewhere_line": f"{verdict.elsewhere.difference} against the base's {verdict.elsewhere.base}",
        "refused": why_refused(verdict),
        "training_usd": forged.trained["spent_s"] / 3600 * settings.usd_per_hour,
    }


def try_made(
    home: Home, gap: TargetGap, known: Catalogue, *, held_out: int, elsewhere: int, threads: int = 0
) -> Verdict:
    """Test the specialist that this home has made for a gap, on questions of other draws than its own test.

    Raises:
        NotReadyError: none was made.
    """
    record = RoundRecord(forge_folder(home, gap) / "record.json")
    if "train" not in record:
        raise NotReadyError(
            f"no specialist was made for {gap.name!r}",
            where=str(home.path),
            fix=f"leeroo forge run {gap.name}",
        )
    made = record["settings"]
    recipe = TrainRecipe(dtype=made["recipe"]["dtype"], threads=threads)
    return compare_specialist(
        known.get(made["base"]),
        Path(record["train"]["adapter"]),
        held_out_questions(gap, held_out, seed=TEST_SEED + 1, allow_fewer=True),
        other_questions(home.warehouse().scan("questions"), gap, elsewhere, seed=TEST_SEED + 1),
        recipe,
    )


def why_refused(verdict: Verdict) -> str | None:
    """Why a specialist goes no further, with the figures; None: it may."""
    if not verdict.is_closed:
        return f"the gap is not closed: {verdict.gap.specialist}, {CLOSED:.2f} is asked for"
    if verdict.forgets:
        return f"it forgets: {verdict.elsewhere.difference} elsewhere, -{FORGETTING:.2f} is allowed"
    return None


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


def measure_frozen(home: Home, added: Step, spec: ExpertSpec) -> Step:
    """Routed accuracy on the frozen set before and after, at one cost; as JSON holds it."""
    from orchestrator.evaluation.improvement import fix_cost, measure_improvement
    from orchestrator.versions.mlflow_registry import load_version

    records = RoundFolder(home.rounds)
    frozen_ids = records.record(FROZEN)["questions"]["ids"]
    before, after = (load_version(home.mlflow_uri, added[name]) for name in ("former", "version"))
    names = list(dict.fromkeys([*before.experts, *after.experts]))
    evidence = read_evidence(home.warehouse(), names, frozen_ids)
    frozen = evidence.to_test() if evidence else None
    if frozen is None:
        return {"line": "no frozen question is answered by all: what it bought cannot be told"}
    found = measure_improvement(before, after, frozen, fix_cost(frozen), cache_dir=home.embeddings)
    return asdict(found) | {
        "line": f"frozen set ({found.questions} questions): {found.before} before, {found.after} after,"
        f" difference {found.difference}"
    }


def _all_outcomes(home: Home, added: Step, spec: ExpertSpec) -> Outcomes:
    from orchestrator.versions.mlflow_registry import load_version

    router = load_version(home.mlflow_uri, added["version"])
    return load_pool_outcomes(home, None, ",".join(router.experts), ",".join(router.info["sources"]))
