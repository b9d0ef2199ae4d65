"""Close a gap: plan it, make the specialist, test it, let the universe and the gate decide; resumable.

Each step is in the gap's record once it is done. Nothing is retrained for the router: the specialist is
placed by its answers, as any expert that is added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from experts.catalogue_file import Catalogue, load_catalogue
from pipelines.answering.bulk import Progress
from pipelines.answering.round_money import RoundMoney
from pipelines.forge.closing.asking import ask_pool, expect_asking
from pipelines.forge.closing.cap import Meter
from pipelines.forge.closing.judgement import judgement_round, reserve_judgement
from pipelines.forge.closing.judging import challenge, measure_frozen, value_specialist
from pipelines.forge.closing.plan import Prices
from pipelines.forge.closing.propose import propose_plan
from pipelines.forge.closing.settings import CloseSettings
from pipelines.forge.closing.traffic_share import read_traffic_shares
from pipelines.forge.closing.trial import try_specialist
from pipelines.forge.gap import TargetGap
from pipelines.forge.run import (
    Forged,
    Tell,
    forge_folder,
    forge_specialist,
)
from pipelines.forge.train import Measured
from pipelines.learning.grow_pool import (
    add_candidate,
    ask_candidate,
    choose_candidate,
    growth_round,
)
from pipelines.selfplay.round_record import FROZEN, RoundFolder, RoundRecord, Step
from warehouse.home import Home


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
        connect: called before experts are asked, and workers train; must establish a Ray connection.
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
        plan = _plan(home, gap, known, settings, settings.prices, record, by_domain, connect, tell, measured)
        tell(plan["reason"])
        if not plan["pays"]:
            return Closed(f"it does not pay: {plan['reason']}", plan=plan)
        work_s = 0.0 if "train" in RoundRecord(file) else plan["left_s"]
        check("training and asking", work_s + asking_s, asking_usd)
    forged = forge_specialist(
        home, gap, known, settings.forge, connect=connect, tell=tell, on_measured=measured
    )
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


def _plan(
    home: Home, gap: TargetGap, known: Catalogue, settings: CloseSettings, prices: Prices,
    record: RoundRecord, by_domain: dict[str, float], connect: Callable[[], None], tell: Tell,
    on_measured: Callable[[Measured], None],
) -> Step:  # fmt: skip
    """The plan of the gap, after the first steps of its training; as JSON holds it."""
    if "plan" in record:
        return record["plan"]
    made = propose_plan(
        home, gap, known, settings.forge, prices, probe_steps=settings.probe_steps,
        price_weight=settings.price_weight, by_domain=by_domain, begins=True, connect=connect, tell=tell,
        on_measured=on_measured,
    )  # fmt: skip
    recipe = settings.forge.recipe
    left_s = 3600 * made.training_hours * max(0.0, 1 - settings.probe_steps / recipe.steps)
    # The training has written to the record meanwhile.
    return RoundRecord(record.path).step(
        "plan", lambda: asdict(made) | {"pays": made.pays, "reason": made.reason, "left_s": left_s}
    )
