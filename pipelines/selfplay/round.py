"""One self-play round: `run_round` is a line a step. docs/architecture.md walks along these lines.

Every step leaves what it found in the round's record; a round that was killed at any moment goes on with the
step it was in, and answers are kept one by one in the warehouse. After a step the round tells what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestrator.evaluation.improvement import fix_cost
from orchestrator.versions.mlflow_registry import champion_version
from orchestrator.versions.promotion import Standing
from pipelines.answering.domains import measure_domains
from pipelines.answering.round_money import RoundMoney
from pipelines.learning.cross_fitted import expected_success
from pipelines.learning.evidence import read_evidence, read_questions
from pipelines.questions.brief import Brief
from pipelines.questions.duplicates import Refusal
from pipelines.selfplay.answer import answer_round, count_answers
from pipelines.selfplay.assign import assign, offer_questions
from pipelines.selfplay.context import RunContext
from pipelines.selfplay.events import (
    Answered,
    Assigned,
    GapsFound,
    LeftOut,
    Measured,
    QuestionsMade,
    RoundDone,
    Tested,
    Trained,
    UniverseChosen,
)
from pipelines.selfplay.frozen_set import FrozenQuestions
from pipelines.selfplay.learn import challenge, choose_universe, find_gaps, measure, train
from pipelines.selfplay.make_questions import make_round_questions
from pipelines.selfplay.next_brief import read_brief, read_gap
from pipelines.selfplay.results import RoundResult
from pipelines.selfplay.round_log import log_round, track
from pipelines.selfplay.round_record import FROZEN, RoundRecord, Step
from warehouse import Outcomes, TooFewError

if TYPE_CHECKING:
    from universe.model.expectation import Expected

#: What the steps find that are told only when they are done, not when a run comes back to them.
_Finding = Assigned | UniverseChosen | Trained | Measured


def run_round(
    run: RunContext, name: str, frozen: FrozenQuestions, budget_usd: float | None, brief: Brief
) -> tuple[RoundResult, Brief]:
    """Run one round, or go on with it; return its result and the next round's brief.

    Args:
        run: what the rounds of a run share.
        name: of the round.
        frozen: the frozen set.
        budget_usd: what the round may spend; None: no limit.
        brief: what the round before found.

    Raises:
        InputError: settings differ from those that the round was begun with, no answer came back, or too few
            to train on.
    """
    record = run.rounds.record(name)
    record.check(run.settings.decisive(run.panel.experts), run.settings.by_step())
    with track(
        run.home, run.settings, run.panel, record, f"round {name}", kind="round", round=name
    ) as run_id:
        steps = _Steps(run, record, name, frozen, run_id, RoundMoney(run.warehouse, name, budget_usd))
        found = steps.make(brief)
        questions = read_questions(run.warehouse, found["ids"], keeper=run.rounds.folder)
        assigned = steps.assign(questions)
        answered = steps.answer(questions, assigned["ids"])
        before = steps.find_champion()
        evidence = steps.read_evidence()
        universe = steps.choose_universe(evidence)["experts"]
        version = steps.train(evidence, universe)["version"]
        purchase = steps.measure(evidence, before, version)["purchase"]
        standing = steps.challenge(evidence, before, version)
        gaps = steps.find_gaps(evidence, universe)["gaps"]
        result = steps.conclude(found["ids"], version, standing, purchase)
        log_round(answered, result, {"questions": found, "gaps": gaps})
    run.tell(RoundDone(result))
    return result, read_brief(run.home, run.warehouse, evidence.learned, run.panel.names, record)


@dataclass(frozen=True)
class _Learned:
    """The answers so far, split once, and what is expected of those that may be learned from."""

    every: Outcomes
    learned: Outcomes
    frozen: Outcomes
    expect: Callable[[], Expected]  # cross-fitted once, for universe and gaps; not at all where both are done


@dataclass(frozen=True)
class _Steps:
    """The steps of one round: each takes its values from the run, is done once, kept, and told."""

    run: RunContext
    record: RoundRecord
    name: str
    frozen: FrozenQuestions
    run_id: str
    money: RoundMoney

    def make(self, brief: Brief) -> Step:
        """Questions: made, screened, stored."""
        run = self.run
        found = self.record.step(
            "questions",
            lambda: make_round_questions(
                run.sources, run.warehouse, run.connection, round=self.name, run_id=self.run_id,
                seed=run.settings.questions.seed, frozen=self.frozen, used_ids=run.rounds.used_ids(),
                brief=brief, left_usd=self.money.left_usd,
            ),
        )  # fmt: skip
        refusals = tuple(Refusal(**refusal) for refusal in found["refusals"])
        run.tell(QuestionsMade(self.name, tuple(found["ids"]), refusals, len(run.panel.experts)))
        return found

    def assign(self, questions: pa.Table) -> Step:
        """Whom to ask what."""
        run, settings = self.run, self.run.settings

        def work() -> Assigned:
            known = read_evidence(run.warehouse, run.panel.names, self.frozen.ids)
            return assign(
                questions, run.panel.experts, known.to_learn() if known else None, round=self.name,
                explore=settings.asking.explore, left_usd=self.money.left_usd(),
                embedder=settings.router.embedder, cache_dir=run.home.embeddings,
                seed=settings.questions.seed,
            )  # fmt: skip

        return self._step("assignment", work)

    def answer(self, questions: pa.Table, assigned: Mapping[str, Sequence[str]] | None) -> Answered:
        """Answers: kept one by one in the warehouse, so that this step needs no record."""
        run = self.run
        answered = answer_round(
            run.warehouse, run.panel, offer_questions(questions, run.panel.names, assigned),
            run_id=self.run_id, money=self.money, connection=run.connection, tell=run.tell,
        )  # fmt: skip
        with run.warehouse.connect() as connection:
            ids = questions["question_id"].to_pylist()
            domains = tuple(measure_domains(connection, ids, run.panel.names))
        answered = replace(answered, domains=domains)
        run.tell(answered)
        return answered

    def find_champion(self) -> str | None:
        """Who was champion before this round: that stays known after its own version was promoted."""
        uri = self.run.home.mlflow_uri
        before: str | None = self.record.step("champion", lambda: {"version": champion_version(uri)})[
            "version"
        ]
        return before

    def read_evidence(self) -> _Learned:
        """What there is to learn from and to test on."""
        run = self.run
        evidence = read_evidence(run.warehouse, run.panel.names, self.frozen.ids)
        learned = evidence.to_learn() if evidence else None
        frozen = evidence.to_test() if evidence else None
        if evidence is None or learned is None or frozen is None:
            raise TooFewError(
                "no answer came back", where=str(self.record.path), fix="see the experts' errors above"
            )

        if evidence.left_out:
            run.tell(LeftOut(self.name, evidence.left_out))

        @cache
        def expect() -> Expected:
            embedder = run.settings.router.embedder
            return expected_success(learned, embedder=embedder, cache_dir=run.home.embeddings)

        return _Learned(evidence.every, learned, frozen, expect)

    def choose_universe(self, evidence: _Learned) -> Step:
        """The experts to keep."""
        limits, home = self.run.settings.universe, self.run.home
        return self._step(
            "universe",
            lambda: choose_universe(evidence.learned, evidence.expect(), limits, home, round=self.name),
        )

    def train(self, evidence: _Learned, universe: Sequence[str]) -> Step:
        """A router over them, registered."""
        # A universe of one needs no router; what is learned over all of them tells when to widen it.
        pool = universe if len(universe) > 1 else evidence.learned.experts
        settings, home = self.run.settings.router, self.run.home
        return self._step(
            "training", lambda: train(evidence.every.only(pool), settings, home, round=self.name)
        )

    def measure(self, evidence: _Learned, before: str | None, version: str) -> Step:
        """What the round bought, on the frozen set."""
        home = self.run.home
        costs = self.run.rounds.record(FROZEN)

        def work() -> Measured:
            at_cost = costs.step("cost", lambda: {"at_cost_usd": fix_cost(evidence.frozen)})["at_cost_usd"]
            return measure(before, version, evidence.frozen, at_cost, home, round=self.name)

        return self._step("evaluation", work)

    def challenge(self, evidence: _Learned, before: str | None, version: str) -> Standing:
        """The test against the champion; the universe becomes the pool in use if it is passed."""
        kept = self.record.step(
            "promotion",
            lambda: asdict(challenge(version, before, evidence.every, self.run.home, round=self.name)),
        )
        standing = Standing(**kept)
        self.run.tell(Tested(self.name, standing))
        return standing

    def find_gaps(self, evidence: _Learned, universe: Sequence[str]) -> Step:
        """What no expert can do."""
        run = self.run
        found = self.record.step(
            "gaps",
            lambda: find_gaps(
                run.warehouse, evidence.learned, run.panel.names, universe, evidence.expect,
                embedder=run.settings.router.embedder, home=run.home, round=self.name,
            ).kept(),
        )  # fmt: skip
        run.tell(GapsFound(self.name, tuple(found["lines"]), tuple(map(read_gap, found["gaps"]))))
        return found

    def conclude(
        self, question_ids: Sequence[str], version: str, standing: Standing, purchase: Step | None
    ) -> RoundResult:
        """What the round cost and what it bought."""
        run = self.run
        return RoundResult.of(
            self.record.step(
                "result",
                lambda: {
                    "round": self.name,
                    "run_id": self.run_id,
                    "questions": len(question_ids),
                    "answers": count_answers(run.warehouse, question_ids, run.panel.names),
                    "cost_usd": self.money.spent_usd(),
                    "version": version,
                    "promoted": standing.promoted,
                    "verdict": standing.verdict,
                    "purchase": purchase,
                },
            )
        )

    def _step(self, name: str, work: Callable[[], _Finding]) -> Step:
        """Do a step that was not done before: keep what it found, then tell it."""
        told: list[_Finding] = []

        def keep() -> Step:
            told.append(work())
            return told[0].kept()

        found = self.record.step(name, keep, settings=self.run.settings.by_step().get(name))
        for event in told:
            self.run.tell(event)
        return found
