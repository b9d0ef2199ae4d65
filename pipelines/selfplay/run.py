"""Self-play: rounds that ask where the router knows least, learn, and say what each of them bought.

``python -m pipelines.selfplay`` is what a Ray job runs; ``leeroo selfplay`` is the same command. Every step
keeps what it finished, so a run that was stopped goes on where it was when the same settings run again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from pipelines.answering.round_money import RoundMoney
from pipelines.learning.evidence import read_evidence, read_questions
from pipelines.questions.brief import Brief
from pipelines.questions.sources.base import Desk
from pipelines.questions.sources.opening import open_sources
from pipelines.ray_session import Connection
from pipelines.selfplay.answer import answer_round
from pipelines.selfplay.context import RunContext
from pipelines.selfplay.events import FrozenSet, RoundDone, RunDone, Tell, ignore
from pipelines.selfplay.frozen_set import FrozenQuestions, check_affordable, freeze_questions
from pipelines.selfplay.next_brief import read_brief
from pipelines.selfplay.panel import seat
from pipelines.selfplay.results import RoundResult, SelfplayResult
from pipelines.selfplay.round import run_round
from pipelines.selfplay.round_log import log_run, track
from pipelines.selfplay.round_record import FROZEN, RUN_PREFIX, RoundFolder
from pipelines.selfplay.settings import SelfplaySettings
from warehouse.home import Home

#: A run ends when less than this share of its budget is left.
LEFT_OVER = 0.02


def run_selfplay(settings: SelfplaySettings, home: Home, tell: Tell = ignore) -> SelfplayResult:
    """Run the rounds and return what they bought.

    Args:
        settings: what the run does.
        home: where everything is kept.
        tell: hears what each step found; see :mod:`pipelines.selfplay.events`.

    Raises:
        InputError: the settings, the catalogue or the questions are bad, an expert cannot run here, or the
            budget does not cover the frozen set; nothing is written.
    """
    with open_selfplay(settings, home, tell) as run:
        record = run.rounds.record(f"{RUN_PREFIX}{settings.rounds.first}")
        name = f"selfplay from {settings.rounds.first}"
        with track(home, run.settings, run.panel, record, name, kind="selfplay") as run_id:
            frozen = freeze_and_ask(run, run_id)
            rounds, stopped = play(run, frozen)
            spent_usd = RoundMoney(run.warehouse, FROZEN).spent_usd()
            result = SelfplayResult(run_id, tuple(rounds), spent_usd, stopped)
            log_run(result)
    tell(RunDone(result))
    return result


@contextlib.contextmanager
def open_selfplay(settings: SelfplaySettings, home: Home, tell: Tell = ignore) -> Iterator[RunContext]:
    """Check the settings and make every value of a run; closes the Ray connection that it may have opened.

    Raises:
        InputError: the settings, the catalogue or the questions are bad, or an expert cannot run here.
    """
    settings.check()
    panel = seat(settings.catalogue, judge=settings.asking.judge, writer=settings.questions.writer)
    warehouse = home.warehouse()
    sources = open_sources(settings.questions, Desk(warehouse, panel.writer, panel.validators))
    settings = replace(settings, questions=replace(settings.questions, per_round=sources.per_round))
    with Connection(settings.address) as connection:
        rounds = RoundFolder(home.rounds)
        yield RunContext(settings, home, warehouse, panel, sources, rounds, connection, tell)


def play(run: RunContext, frozen: FrozenQuestions) -> tuple[list[RoundResult], str]:
    """Run the rounds of the plan; return what they bought, and why no further one was run."""
    plan = run.settings.rounds
    results: list[RoundResult] = []
    brief = _read_brief(run, frozen)
    for position, name in enumerate(plan.names):
        record = run.rounds.record(name)
        if "result" in record:
            record.check(run.settings.decisive(run.panel.experts), run.settings.by_step())
            result = RoundResult.of(record["result"])
            run.tell(RoundDone(result, is_kept=True))
            brief = _read_brief(run, frozen, name)
        else:
            allowance = None
            if plan.budget_usd is not None:
                spent = RoundMoney(run.warehouse, FROZEN).spent_usd() + sum(r.cost_usd for r in results)
                if plan.budget_usd - spent < LEFT_OVER * plan.budget_usd:
                    return (
                        results,
                        f"The budget of {plan.budget_usd:.6g} USD is used up ({spent:.6g} spent).",
                    )
                allowance = (plan.budget_usd - spent) / (plan.count - position)
            result, brief = run_round(run, name, frozen, allowance, brief)
        results.append(result)
        if not result.questions:
            return results, f"Round {name} found no new questions."
        bar = plan.min_points_per_usd
        if bar is not None and result.points_per_usd < bar:
            return results, (
                f"Round {name} gained {result.points_per_usd:.4g} points per USD, under the bar of {bar:.4g}:"
                " no further round."
            )
    return results, f"{plan.count} round{'s' * (plan.count > 1)} done."


def freeze_and_ask(run: RunContext, run_id: str = "") -> FrozenQuestions:
    """Make the home's frozen set once, and see that every expert has answered it.

    Args:
        run: what the rounds of a run share.
        run_id: kept on the answers.

    Raises:
        InputError: no question falls to the set, it came from elsewhere, or the budget does not cover it.
    """
    record = run.rounds.record(FROZEN)
    frozen = freeze_questions(run.sources.freezing, run.settings.questions, run.warehouse, record)
    aside = frozen.set_aside
    run.tell(
        FrozenSet(
            len(frozen.ids), frozen.source,
            aside.questions.num_rows if aside else None, aside.total if aside else None,
        )
    )  # fmt: skip
    questions = read_questions(run.warehouse, frozen.ids, keeper=run.rounds.folder)
    plan = run.settings.rounds
    cap_usd = None
    if plan.budget_usd is not None:  # what earlier attempts at the rounds have spent is gone
        rounds = (RoundMoney(run.warehouse, name) for name in plan.names)
        cap_usd = plan.budget_usd - sum(money.spent_usd() for money in rounds)
    money = RoundMoney(run.warehouse, FROZEN, cap_usd)
    check_affordable(run.warehouse, run.panel.experts, questions, money.left_usd())
    offered = dict.fromkeys(run.panel.names, questions)
    run.tell(
        answer_round(
            run.warehouse, run.panel, offered, run_id=run_id, money=money, connection=run.connection,
            tell=run.tell,
        )
    )  # fmt: skip
    return frozen


def _read_brief(run: RunContext, frozen: FrozenQuestions, round: str | None = None) -> Brief:
    """What the home's answers say: before the first round of a run, or after one that was done before."""
    evidence = read_evidence(run.warehouse, run.panel.names, frozen.ids)
    learned = evidence.to_learn() if evidence else None
    record = run.rounds.record(round) if round is not None else None
    return read_brief(run.home, run.warehouse, learned, run.panel.names, record)
