"""Add an expert to the champion's pool: it answers the most informative questions; nothing is retrained.

It is asked as in a round: by its version, under a cap, through Ray Data, with answers stored as they come.
Questions that timed out or were refused temporarily stay open, and the next call asks them. No version is
made until enough are answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.answering.bulk import Progress, answer_open_work
from pipelines.answering.open_work import find_open_work
from pipelines.answering.receipt import AnswerReceipt
from pipelines.answering.round_money import RoundMoney
from pipelines.learning.pool_outcomes import load_pool_outcomes
from warehouse import CannotRunError, InputError, Outcomes
from warehouse.home import Home

if TYPE_CHECKING:
    from experts import ExpertSpec
    from orchestrator import Orchestrator

#: Share of the questions that must have been answered, or have failed for good, before an expert is placed.
ENOUGH = 0.9


@dataclass(frozen=True)
class Candidate:
    """An expert to be added, and the questions for it."""

    name: str
    champion: Orchestrator
    champion_version: str
    probe_ids: tuple[str, ...]  # that place it
    test_ids: tuple[str, ...]  # held out, for its test against the champion alone

    @property
    def known(self) -> list[str]:
        """The experts whose answers its own are compared with."""
        return list(dict.fromkeys([*self.champion.info["mean_score"], *self.champion.experts]))

    @property
    def sources(self) -> str:
        """Where the champion's questions came from, by commas."""
        return ",".join(self.champion.info["sources"])


@dataclass(frozen=True)
class Growth:
    """A version whose pool has one more expert."""

    version: str  # registered, as challenger
    probes: int  # answers that placed the expert
    tested: int  # held-out questions that it and the whole pool have answered


def choose_candidate(home: Home, name: str, *, probes: int, test_questions: int) -> Candidate:
    """Choose questions for an expert: those on which the known ones differ most, and held-out ones.

    Raises:
        InputError: there is no champion, the expert is in its pool already, or no questions are there.
    """
    from orchestrator.pool_changes import choose_probes, choose_test_questions
    from orchestrator.versions.mlflow_registry import load_champion

    champion, version = load_champion(home.mlflow_uri)
    if name in champion.experts:
        raise InputError(f"{name!r} is in the pool already", fix=f"`leeroo experts retire {name}` first")
    candidate = Candidate(name, champion, version, (), ())
    known = load_pool_outcomes(home, None, ",".join(candidate.known), candidate.sources)
    chosen = known.question_ids[choose_probes(champion, known, probes)]
    held_out = known.question_ids[choose_test_questions(champion, known, test_questions)]
    return Candidate(name, champion, version, tuple(chosen.tolist()), tuple(held_out.tolist()))


def ask_candidate(
    home: Home,
    candidate: Candidate,
    spec: ExpertSpec,
    *,
    run_id: str,
    budget_usd: float | None = None,
    connect: Callable[[], None] = lambda: None,
    on_progress: Progress = lambda expert, answered: None,
) -> AnswerReceipt:
    """Have the expert answer the questions that this version of it has not answered yet.

    Args:
        home: whose warehouse.
        candidate: the expert and its questions.
        spec: the expert.
        run_id: kept on every row.
        budget_usd: maximum total cost of adding it, earlier calls included. None: no limit.
        connect: called before the first question; must establish a Ray connection.
        on_progress: called as questions are answered.

    Raises:
        InputError: the budget is not a finite number of 0 or more.
    """
    warehouse = home.warehouse()
    wanted = pa.array([*candidate.probe_ids, *candidate.test_ids], pa.string())
    questions = warehouse.scan("questions")
    questions = questions.filter(pc.is_in(questions["question_id"], value_set=wanted))
    work = find_open_work(warehouse, [spec], questions)
    if work:
        connect()
    money = RoundMoney(warehouse, growth_round(candidate.name), budget_usd)
    (receipt,) = answer_open_work(
        warehouse, work, round=money.round, run_id=run_id, budget_usd=money.left_usd(),
        on_progress=on_progress,
    )  # fmt: skip
    return receipt


def add_candidate(home: Home, candidate: Candidate, receipt: AnswerReceipt | None) -> Growth:
    """Place the expert by its answers, and register the version with it as challenger.

    Args:
        home: whose warehouse and registry.
        candidate: the expert.
        receipt: of its answers; None if they were recorded.

    Raises:
        CannotRunError: too many questions stayed open; the same call asks them again.
        InputError: it has no answers, or too few.
    """
    from orchestrator.pool_changes import add_expert
    from orchestrator.versions.mlflow_registry import log_version

    wanted = len({*candidate.probe_ids, *candidate.test_ids})
    if receipt is not None and receipt.unasked > (1 - ENOUGH) * wanted:
        raise CannotRunError(
            f"{receipt.unasked} questions to {candidate.name!r} stay open: {receipt.problem}",
            fix="run the same command again; what was answered is kept",
        )
    answers = load_pool_outcomes(home, None, ",".join([*candidate.known, candidate.name]), candidate.sources)
    probed = answers.take(np.isin(answers.question_ids, candidate.probe_ids))
    extended = add_expert(candidate.champion, candidate.name, probed)
    version = log_version(extended, tracking_uri=home.mlflow_uri)
    column = probed.experts.index(candidate.name)
    placed = int(np.isfinite(probed.score[:, column]).sum())
    return Growth(version, placed, _count_complete(candidate, answers))


def has_recorded_answers(home: Home, name: str) -> bool:
    """Tell whether the warehouse has answers under this name."""
    experts = home.warehouse().scan("answers", ["expert"])["expert"]
    return bool(pc.any(pc.equal(experts, name)).as_py())


def growth_round(name: str) -> str:
    """Return the round under which the answers of an added expert are stored."""
    return f"add-{quote(name, safe='')}"


def _count_complete(candidate: Candidate, answers: Outcomes) -> int:
    held_out = answers.only([*candidate.champion.experts, candidate.name])
    held_out = held_out.take(np.isin(held_out.question_ids, candidate.test_ids))
    return int(np.isfinite(held_out.score + held_out.cost_usd).all(axis=1).sum())
