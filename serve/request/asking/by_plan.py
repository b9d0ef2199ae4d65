"""Several experts for one answer: a policy decides who else is asked, and when to stop."""

from __future__ import annotations

import logging
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
from serve.request.asking.course import (
    MOST_AT_WORK,
    Agreement,
    Answered,
    Course,
    InOrder,
    Opinion,
    least_unusable,
)
from serve.request.asking.hedging import hedging_of
from serve.request.asking.latencies import Latencies, TimeLeft
from serve.request.in_flight import InFlight

logger = logging.getLogger("ray.serve")


def asks_several(job: InFlight) -> bool:
    """Tell whether several experts may be asked for one answer, and what they say weighed.

    Answers are compared; those that cannot be are doubted by their length, where that tells something. Nobody
    who streams waits for that.
    """
    habits = None if job.plan.ruling is None else job.plan.ruling.habits
    if habits is None:
        return False
    return (
        (_compares(habits, job.form) or (habits.lengths.tell and not job.request.stream))
        and (job.request.n or 1) == 1
        and job.most_answers > 1
        and len(job.order) > 1
    )


def _compares(habits: Habits, form: AnswerForm) -> bool:
    """Tell whether answers of this form are compared with each other."""
    return bool(habits.comparable.any()) and is_comparable(form)


def course_of(job: InFlight, latencies: Latencies) -> Course[WholeAnswer]:
    """Return the course of a request whose answer comes whole."""
    ruling = job.plan.ruling
    if ruling is None or ruling.habits is None or not asks_several(job):
        hedging = hedging_of(job, latencies, is_stream=False)
        return InOrder(job.order, job.most_answers, time_left_of(job, latencies), hedging)
    return ByPlan(job, ruling.decision, ruling.habits, latencies)


def time_left_of(job: InFlight, latencies: Latencies) -> TimeLeft | None:
    """Return the time that the answer to a request has, where that is bounded."""
    if job.max_latency_s is None:
        return None
    return TimeLeft(job.began, job.began + job.max_latency_s, latencies)


class ByPlan:
    """The course that the policy over asking takes; see :mod:`orchestrator.asking.policy`.

    Routing is its special case of one ask: with nothing to compare or to doubt, it asks the router's choice.

    If time is too short for a second answer after the first, both experts are asked at once: the policy's
    second expert does not depend on the content of the first answer, as long as that can be read.
    """

    def __init__(self, job: InFlight, decision: Decision, habits: Habits, latencies: Latencies) -> None:
        most_usd = job.request.max_cost_usd
        self._form: AnswerForm = job.form
        self._clients = {client.spec.name: client for client in job.order}
        own = habits.of_pool(tuple(decision.success))
        self._compares = _compares(own, job.form)
        self._policy = AskingPolicy(own if self._compares else own.without_comparison())
        self._time_left = time_left_of(job, latencies)
        self._most_asks = min(job.most_answers, MAX_ASKS)
        self._at_work: dict[str, float] = {}  # by expert: since when
        self._beside: str | None = None
        self._answers: list[Answered[WholeAnswer]] = []
        self._expected_usd = decision.cost_usd
        self._state = self._policy.plan(
            np.array(list(decision.success.values())),
            np.array([decision.cost_usd[name] for name in decision.success]),
            decision.multiplier,
            allowed=np.array([name in self._clients for name in decision.success]),
            options=option_count(job.form),
            limits=Limits(
                max_asks=self._most_asks,
                ceiling_usd=float("inf") if most_usd is None else most_usd,
            ),
        )

    def next_expert(self) -> ExpertClient | None:
        """Return whom the policy asks; nobody whose answer would come too late beside one that is there."""
        while isinstance(action := self._policy.next_action(self._state), Ask):
            if not self._would_be_late(action.expert):
                self._at_work[action.expert] = time.monotonic()
                return self._clients[action.expert]
            self._state = self._policy.exclude(self._state, action.expert)
        return None

    @property
    def is_last(self) -> bool:
        """Whether no other expert may be asked."""
        return int(self._state.plans.open.sum()) <= 1

    def awaits_s(self) -> float | None:
        """Wait for a first answer; then for the expert still at work, which is paid for anyway, as long as it
        usually takes, if the policy would ask another expert.
        """
        if self._has_none or self._time_left is None:
            return None
        if not isinstance(self._policy.next_action(self._state), Ask):
            return 0.0
        return max(self._time_left.usual_wait_s(name, at) for name, at in self._at_work.items())

    def beside_after_s(self) -> float | None:
        """Return when to ask another expert: at once, if the second would come too late after the first; else
        at the last moment at which a fallback can replace a silent expert.
        """
        self._beside = None
        room = min(MOST_AT_WORK, self._most_asks - len(self._answers))
        if self._time_left is None or not self._has_none or len(self._at_work) >= room:
            return None
        second = self._second()
        if second is not None:
            self._beside = second
            return 0.0
        self._beside = self._stand_in()
        return None if self._beside is None else self._time_left.last_moment_s(self._beside)

    def next_beside(self) -> ExpertClient | None:
        """Return the expert that :meth:`beside_after_s` would ask."""
        if self._beside is None:
            return None
        self._at_work[self._beside] = time.monotonic()
        return self._clients[self._beside]

    def excluded(self, expert: ExpertClient, cost_usd: float = 0.0) -> None:
        """The plan goes on without it."""
        self._at_work.pop(expert.spec.name)
        self._state = self._policy.exclude(self._state, expert.spec.name, cost_usd)

    def answered(self, answered: Answered[WholeAnswer]) -> None:
        """Weigh an answer as evidence."""
        name = answered.expert.spec.name
        self._at_work.pop(name)
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
        if not self._compares and len(self._answers) < 2:
            return given
        opinions = tuple(
            Opinion(
                one.expert.spec.name,
                one.cost_usd,
                one.expert.spec.name in verdict.agreed if self._compares else None,
            )
            for one in self._answers
        )
        return replace(given, agreement=Agreement(opinions, verdict.success))

    def _read(self, answered: Answered[WholeAnswer]) -> Reading:
        if answered.unusable is not None:
            return Reading(readable=False)
        (choice, *_) = answered.value.body["choices"]
        usage = answered.value.usage
        was_cut = choice.get("finish_reason") == "length"  # how long it would have been, nobody knows
        tokens = None if usage.is_estimated or was_cut else usage.completion_tokens
        try:
            return Reading(comparable_key(self._form, Said.of_choice(choice)), tokens=tokens)
        except Exception:  # it is paid: it is not lost because nobody can compare it
            logger.exception("an answer cannot be compared")
            return Reading(None, tokens=tokens)

    @property
    def _has_none(self) -> bool:
        """Whether no usable answer is there."""
        return all(answered.unusable is not None for answered in self._answers)

    def _would_be_late(self, expert: str) -> bool:
        if self._time_left is None or self._has_none:
            return False
        return not self._time_left.is_enough_for(expert)

    def _second(self) -> str | None:
        """Return whom the policy asks after the one at work, where in turn that would take too long."""
        (first,) = self._at_work
        after = self._policy.observe(self._state, first, Reading(""), self._expected_usd[first])
        action = self._policy.next_action(after)
        if self._time_left is None or not isinstance(action, Ask):
            return None
        enough = self._time_left.is_enough_for
        return action.expert if enough(action.expert) and not enough(first, action.expert) else None

    def _stand_in(self) -> str | None:
        """Return whom the policy asks if the one at work says nothing, and who would be in time."""
        state = self._state
        for name in self._at_work:
            state = self._policy.exclude(state, name, self._expected_usd[name])
        while self._time_left is not None and isinstance(action := self._policy.next_action(state), Ask):
            if self._time_left.is_enough_for(action.expert):
                return action.expert
            state = self._policy.exclude(state, action.expert)
        return None
