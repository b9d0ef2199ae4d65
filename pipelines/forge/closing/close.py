"""Close a gap: plan it, make the specialist, test it, let the universe and the gate decide; resumable.

Each step is in the gap's record once it is done. Nothing is retrained for the router: the specialist is
placed by its answers, as any expert that is added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from experts import ExpertSpec
from experts.catalogue_file import Catalogue, load_catalogue
from pipelines.answering.bulk import Progress, answer_with_all
from pipelines.answering.round_money import RoundMoney
from pipelines.forge.closing.cap import Cap, Meter
from pipelines.forge.closing.compare import (
    CLOSED,
    FORGETTING,
    Verdict,
    compare_specialist,
    other_questions,
)
from pipelines.forge.closing.judgement import judgement_questions, judgement_round, reserve_judgement
from pipelines.forge.closing.plan import Prices
from pipelines.forge.closing.propose import propose_plan
from pipelines.forge.closing.traffic_share import read_traffic_shares
from pipelines.forge.gap import TargetGap
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.run import (
    Forged,
    ForgeSettings,
    Tell,
    forge_folder,
    forge_specialist,
    learned_questions,
)
from pipelines.forge.train import Measured
from pipelines.forge.training_questions import TEST_SEEDS, held_out_questions
from pipelines.learning.cross_fitted import expected_success
from pipelines.learning.evidence import read_evidence
from pipelines.learning.grow_pool import (
    Candidate,
    add_candidate,
    ask_candidate,
    choose_candidate,
    growth_round,
)
from pipelines.learning.pool_outcomes import load_pool_outcomes
from pipelines.selfplay.round_record import FROZEN, RoundFolder, RoundRecord, Step
from universe.analysis.candidate import CandidateValue, value_candidate
from universe.solver.select import universe_program
from warehouse import NotReadyError, Outcomes
from warehouse.home import Home

#: Seconds that an answer of a small engine of one's own takes: a guess on the safe side.
ANSWER_S = 0.5


@dataclass(frozen=True)
class CloseSettings:
    """How a specialist is made, what it is tested on, and what all of it may cost."""

    forge: ForgeSettings
    held_out: int = 120
    elsewhere: int = 140
    probes: int = 200
    judged_on: int = 480  # questions beyond the frozen set, in its proportion or the traffic's
    cap: Cap = field(default_factory=Cap)
    prices: Prices | None = None  # by which it has to pay; None: it is not planned
    probe_steps: int = 24  # of the training, after which the plan is made
    price_weight: float = 0.0  # the score that one USD per query has to buy


@dataclass(frozen=True)
class Closed:
    """The story of a gap, from its record."""

    refused: str | None  # why it went no further
    forged: Forged | None = None
    plan: Step | None = None
    test: Step | None = None
    universe: Step | None = None
    promotion: Step | None = None
    bought: Step | None = None


def close_gap(
    home: Home,
    gap: TargetGap,
    known: Catalogue,
    settings: CloseSettings,
    *,
    connect: Callable[[], None] = lambda: None,
    tell: Tell = lambda line: None,
    on_measured: Callable[[Measured], None] = lambda measured: None,
    on_progress: Progress = lambda expert, answered: None,
) -> Closed:
    """Plan, make a specialist, test it, ask it what places it, and put the router with it to the test.

    Args:
        home: with a champion.
        gap: to close.
        known: the catalogue with the base.
        settings: how.
        connect: called before experts are asked; must establish a Ray connection.
        tell: told in a sentence what happens.
        on_measured: told what training measures.
        on_progress: told as experts answer.

    Raises:
        InfeasibleError: the cap does not suffice; nothing is lost.
    """
    folder = forge_folder(home, gap)
    meter = Meter(folder / "spent.json", settings.cap)
    try:
        return _close(home, gap, known, settings, meter, connect, tell, on_measured, on_progress)
    finally:
        if folder.is_dir():
            meter.save()


def _close(
    home: Home, gap: TargetGap, known: Catalogue, settings: CloseSettings, meter: Meter,
    connect: Callable[[], None], tell: Tell, on_measured: Callable[[Measured], None], on_progress: Progress,
) -> Closed:  # fmt: skip
    file = forge_folder(home, gap) / "record.json"
    name = f"{settings.forge.base}-{gap.slug}"

    def asked_usd() -> float:
        rounds = (judgement_round(gap), growth_round(name))
        return sum(RoundMoney(home.warehouse(), own).spent_usd() for own in rounds)

    def check(what: str, work_s: float, usd: float) -> None:
        meter.check(what, gap.name, work_s=work_s, usd=usd, asked_usd=asked_usd())

    def measured(found: Measured) -> None:
        on_measured(found)
        meter.tick()

    def progress(expert: str, answered: int) -> None:
        on_progress(expert, answered)
        meter.tick()

    record = RoundRecord(file)
    asking_usd, asking_s = (0.0, 0.0) if "bought" in record else expect_asking(home, settings)
    check("asking", asking_s, asking_usd)
    by_domain = read_traffic_shares(home)
    judged = record.step("judgement", lambda: reserve_judgement(home, gap, by_domain, settings.judged_on))
    tell(
        f"{len(judged['ids'])} questions are held out to judge by, {judged['of_gap']} of them in the gap:"
        f" {judged['share']:.1%} as in {judged['told_by']}"
    )
    plan: Step | None = None
    if settings.prices is not None:
        plan = _plan(home, gap, known, settings, settings.prices, record, by_domain, tell, measured)
        tell(plan["reason"])
        if not plan["pays"]:
            return Closed(f"it does not pay: {plan['reason']}", plan=plan)
        work_s = 0.0 if "train" in RoundRecord(file) else plan["left_s"]
        check("training and asking", work_s + asking_s, asking_usd)
    forged = forge_specialist(home, gap, known, settings.forge, tell=tell, on_measured=measured)
    record = RoundRecord(file)
    test = record.step("test", lambda: try_specialist(home, gap, known, forged, settings))
    meter.tick()
    tell(f"the gap {test['gap_line']}; elsewhere {test['elsewhere_line']}")
    if test["refused"]:
        return Closed(test["refused"], forged, plan, test)
    spec = load_catalogue(forged.specialist.catalogue).get(forged.specialist.name)

    def judge() -> Step:
        return ask_pool(home, gap, known, judged, meter.left_usd(asked_usd()), connect, progress)

    asked = record.step("asked", judge)
    tell(f"the pool has answered what it is judged by: {asked['answers']} answers, {asked['usd']:.6f} USD")

    def add() -> Step:
        most = len(judged["ids"]) + len(RoundFolder(home.rounds).record(FROZEN)["questions"]["ids"])
        candidate = choose_candidate(home, spec.name, probes=settings.probes, test_questions=most)
        receipt = ask_candidate(
            home, candidate, spec, run_id="", budget_usd=meter.left_usd(asked_usd()), connect=connect,
            on_progress=progress,
        )  # fmt: skip
        value = value_specialist(home, candidate, settings)
        growth = add_candidate(home, candidate, receipt)
        return asdict(value) | {
            "version": growth.version, "former": candidate.champion_version, "probes": growth.probes,
            "tested": growth.tested, "asked_usd": receipt.cost_usd, "gain": value.gain,
        }  # fmt: skip

    added = record.step("add", add)
    meter.tick()
    price, worth = (1000 * added[key] for key in ("price_usd", "break_even_usd"))
    tell(
        f"the universe {'takes' if added['chosen'] else 'leaves'} it at {price:.6f} USD per 1,000 queries"
        f" (worth up to {worth:.6f}), score {added['gain']:+.4f}"
    )
    if not added["chosen"]:
        return Closed("the universe does not take it at its price", forged, plan, test, added)
    promotion = record.step("promotion", lambda: challenge(home, added, spec))
    tell(f"version {promotion['version']} {promotion['verdict']}")

    def bought() -> Step:
        frozen = RoundFolder(home.rounds).record(FROZEN)["questions"]["ids"]
        found = measure_frozen(home, added, [*frozen, *judged["ids"]])
        alone = measure_frozen(home, added, frozen) if judged["ids"] else None
        paid_usd = asked_usd()
        return found | {
            "alone": alone, "spent_s": meter.spent_s, "spent_usd": meter.spent_usd(paid_usd),
            "asked_usd": paid_usd,
        }  # fmt: skip

    paid = record.step("bought", bought)
    tell(paid["line"])
    tell(f"in all {paid['spent_s'] / 60:.1f} minutes and {paid['spent_usd']:.4f} USD")
    return Closed(None, forged, plan, test, added, promotion, paid)


def expect_asking(home: Home, settings: CloseSettings) -> tuple[float, float]:
    """What asking is expected to cost at most: USD and seconds; of answers like those to the frozen set."""
    from orchestrator.versions.mlflow_registry import load_champion

    champion, _ = load_champion(home.mlflow_uri)
    costs = {name: cost for name, cost in champion.info["mean_cost_usd"].items() if cost is not None}
    judged = settings.judged_on
    base = costs.get(settings.forge.base, max(costs.values(), default=0.0))
    usd = judged * sum(costs.get(name, 0.0) for name in champion.experts) + (judged + settings.probes) * base
    answers = judged * (len(champion.experts) + 1) + settings.probes
    return usd, answers * ANSWER_S if settings.cap.minutes is not None else 0.0


def ask_pool(
    home: Home, gap: TargetGap, known: Catalogue, judged: Step, left_usd: float | None,
    connect: Callable[[], None], on_progress: Progress,
) -> Step:  # fmt: skip
    """Have the champion's pool answer what the specialist is judged by; experts without an entry cannot."""
    from orchestrator.versions.mlflow_registry import load_champion

    champion, _ = load_champion(home.mlflow_uri)
    specs = [known.get(name) for name in champion.experts if name in known.names]
    if not judged["ids"] or len(specs) < len(champion.experts):
        return {"answers": 0, "usd": 0.0, "open": 0}
    connect()
    receipts = answer_with_all(
        home.warehouse(), specs, judgement_questions(home, judged["ids"]), round=judgement_round(gap),
        run_id="", budget_usd=left_usd, on_progress=on_progress,
    )  # fmt: skip
    return {
        "answers": sum(receipt.asked + receipt.reused for receipt in receipts),
        "usd": sum(receipt.cost_usd for receipt in receipts),
        "open": sum(receipt.unasked for receipt in receipts),
    }


def _plan(
    home: Home, gap: TargetGap, known: Catalogue, settings: CloseSettings, prices: Prices,
    record: RoundRecord, by_domain: dict[str, float], tell: Tell, on_measured: Callable[[Measured], None],
) -> Step:  # fmt: skip
    """The plan of the gap, after the first steps of its training; as JSON holds it."""
    if "plan" in record:
        return record["plan"]
    made = propose_plan(
        home, gap, known, settings.forge, prices, probe_steps=settings.probe_steps,
        price_weight=settings.price_weight, by_domain=by_domain, begins=True, tell=tell,
        on_measured=on_measured,
    )  # fmt: skip
    recipe = settings.forge.recipe
    left_s = 3600 * made.training_hours * max(0.0, 1 - settings.probe_steps / recipe.steps)
    # The training has written to the record meanwhile.
    return RoundRecord(record.path).step(
        "plan", lambda: asdict(made) | {"pays": made.pays, "reason": made.reason, "left_s": left_s}
    )


def try_specialist(
    home: Home, gap: TargetGap, known: Catalogue, forged: Forged, settings: CloseSettings
) -> Step:
    """Test the specialist against its base on questions that nothing was learned from; as JSON holds it."""
    base = known.get(settings.forge.base)
    held_out = held_out_questions(
        gap, settings.held_out, seed=TEST_SEEDS[0], unlike=learned_questions(home, gap), allow_fewer=True
    )
    others = other_questions(home.warehouse().scan("questions"), gap, settings.elsewhere, seed=TEST_SEEDS[0])
    verdict = compare_specialist(base, forged.specialist.folder, held_out, others, settings.forge.recipe)
    return {
        "gap": verdict.gap.record,
        "levels": [level.record for level in verdict.levels],
        "elsewhere": verdict.elsewhere.record,
        "gap_line": f"{verdict.gap.specialist}, base {verdict.gap.base}",
        "elsewhere_line": f"{verdict.elsewhere.difference} against the base's {verdict.elsewhere.base}",
        "refused": why_refused(verdict),
        "training_usd": forged.trained["spent_s"] / 3600 * settings.cap.usd_per_hour,
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
        held_out_questions(
            gap, held_out, seed=TEST_SEEDS[1], unlike=learned_questions(home, gap), allow_fewer=True
        ),
        other_questions(home.warehouse().scan("questions"), gap, elsewhere, seed=TEST_SEEDS[1]),
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
