"""Several experts for one answer: a policy decides who else is asked, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from experts.forms import AnswerForm, Said, comparable_key, is_comparable, option_count
from orchestrator import Decision
from orchestrator.asking.habits import Habits
from orchestrator.asking.plans import MAX_ASKS, Limits
from orchestrator.asking.policy import Ask, AskingPolicy, Stop
from orchestrator.asking.readings import Reading
from serve.experts.client import ExpertClient, WholeAnswer
from serve.request.asking.course import Agreement, Answered, Course, InOrder, Opinion, least_unusable
from serve.request.asking.latencies import Latencies
from serve.request.in_flight import InFlight


def asks_several(job: InFlight) -> bool:
    """Tell whether several experts may be asked for one answer, and what they say compared."""
    habits = None if job.plan.ruling is None else job.plan.ruling.habits
    return (
        habits is not None
        and bool(habits.comparable.any())
        and is_comparable(job.form)
        and (job.request.n or 1) == 1
        and job.most_answers > 1
        and len(job.order) > 1
    )


def course_of(job: InFlight, latencies: Latencies) -> Course[WholeAnswer]:
    """Return the course of a request whose answer comes whole."""
    ruling = job.plan.ruling
    if ruling is None or ruling.habits is None or not asks_several(job):
        return InOrder(job.order, job.most_answers)
    return ByPlan(job, ruling.decision, ruling.habits, latencies)


class ByPlan:
    """The course that the policy over asking takes; see :mod:`orchestrator.asking.policy`.

    Routing is its case of one ask: without an answer to compare, it asks whom the router chose.
    """

    def __init__(self, job: InFlight, decision: Decision, habits: Habits, latencies: Latencies) -> None:
        most_usd = job.request.max_cost_usd
        self._form: AnswerForm = job.form
        self._clients = {client.spec.name: client for client in job.order}
        self._policy = AskingPolicy(habits.of_pool(tuple(decision.success)))
        self._latencies = latencies
        self._until = None if job.max_latency_s is None else job.began + job.max_latency_s
        self._answers: list[Answered[WholeAnswer]] = []
        self._state = self._policy.plan(
            np.array(list(decision.success.values())),
            np.array([decision.cost_usd[name] for name in decision.success]),
            decision.multiplier,
            allowed=np.array([name in self._clients for name in decision.success]),
            options=option_count(job.form),
            limits=Limits(
                max_asks=min(job.most_answers, MAX_ASKS),
                ceiling_usd=float("inf") if most_usd is None else most_usd,
            ),
        )

    def next_expert(self) -> ExpertClient | None:
        """Return whom the policy asks; nobody whose answer would come too late beside one that is there."""
        while isinstance(action := self._policy.next_action(self._state), Ask):
            if not self._would_be_late(action.expert):
                return self._clients[action.expert]
            self._state = self._policy.exclude(self._state, action.expert)
        return None

    @property
    def is_last(self) -> bool:
        """Whether nobody else may be asked."""
        return int(self._state.plans.open.sum()) <= 1

    def excluded(self, expert: ExpertClient, cost_usd: float = 0.0) -> None:
        """The plan goes on without it."""
        self._state = self._policy.exclude(self._state, expert.spec.name, cost_usd)

    def answered(self, answered: Answered[WholeAnswer]) -> None:
        """Weigh an answer as evidence."""
        name = answered.expert.spec.name
        self._answers.append(answered)
        self._state = self._policy.observe(self._state, name, self._read(answered), answered.cost_usd)

    def choose(self, answers: Sequence[Answered[WholeAnswer]]) -> Answered[WholeAnswer]:
        """Return the answer that is likeliest right, as its likeliest expert put it, with who agreed."""
        verdict = self._policy.answer_now(self._state)
        by_name = {answered.expert.spec.name: answered for answered in answers}
        given = by_name.get(verdict.expert or "")
        if given is None or given.unusable is not None:
            return least_unusable(answers)
        return self._with_agreement(given, verdict)

    def _with_agreement(self, given: Answered[WholeAnswer], verdict: Stop) -> Answered[WholeAnswer]:
        opinions = tuple(
            Opinion(one.expert.spec.name, one.cost_usd, one.expert.spec.name in verdict.agreed)
            for one in self._answers
        )
        return replace(given, agreement=Agreement(opinions, verdict.success))

    def _read(self, answered: Answered[WholeAnswer]) -> Reading:
        if answered.unusable is not None:
            return Reading(readable=False)
        (choice, *_) = answered.value.body["choices"]
        return Reading(comparable_key(self._form, Said.of_choice(choice)))

    def _would_be_late(self, expert: str) -> bool:
        if self._until is None or all(answered.unusable is not None for answered in self._answers):
            return False
        return time.monotonic() + self._latencies.expected_s(expert) > self._until
