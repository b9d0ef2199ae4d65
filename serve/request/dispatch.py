"""Ask experts along a course, each charged, until the answer to give is there."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from experts.forms import Unusable
from experts.upstream import Failure, FailureKind
from serve.experts.client import ExpertClient
from serve.request.asking.at_work import AtWork, Came
from serve.request.asking.course import Answered, Attempt, Course
from serve.wire.api_errors import ApiError

T = TypeVar("T")

BUSY_WAIT_S = 2.0  # told to a client where no upstream said how long it is busy
_OF_TIME = {FailureKind.TIMEOUT, FailureKind.STALLED}
_NOT_NEEDED = Failure(FailureKind.TIMEOUT, "another answered before it", in_time_of_caller=True)


class Books(Protocol):
    """The books on the attempts of a request."""

    async def begin(self, expert: ExpertClient) -> bool:
        """Tell whether an expert may be asked: somebody waits, and what it may cost is set aside."""
        ...

    def answered(
        self, expert: ExpertClient, value: object, unusable: Unusable | None, asked_at: float
    ) -> float:
        """Note that it answers, usably or not; return what that cost."""
        ...

    def failed(self, expert: ExpertClient, failure: Failure, asked_at: float) -> float:
        """Note that it failed; return what that cost."""
        ...

    def abandoned(self, expert: ExpertClient) -> float | None:
        """Note that nobody waits for it any more; return what that cost, None where nothing was sent."""
        ...


async def find_answer(
    course: Course[T],
    ask: Callable[[ExpertClient, float], Awaitable[T | Failure]],
    deadline: float,
    books: Books,
    *,
    judge: Callable[[T], Unusable | None] = lambda _: None,
    drop: Callable[[Answered[T]], float] | None = None,
) -> Answered[T]:
    """Ask experts along a course until it has the answer to give.

    An expert gets its own ``timeout_s`` as long as there are fallbacks; the last one gets all the time that
    is left. The course continues even after a failure caused by the request: another expert may have a longer
    context or accept an option that this one does not. A request does not wait for a busy expert if another
    is available. An expert still at work when the answer is there is cancelled, and charged as if its caller
    had left.

    Args:
        course: names the experts to ask.
        ask: asks one expert, within so many seconds.
        deadline: on the clock of ``time.monotonic``.
        books: told of every attempt.
        judge: returns why an answer is not usable, None if it is.
        drop: takes an answer that came beside the one given back and that goes on; returns what it cost.

    Raises:
        ApiError: no expert answered; see :func:`refusal`.
    """
    attempts: list[Attempt] = []
    answers: list[Answered[T]] = []
    work = AtWork(course, ask, books.begin, deadline)

    def note(came: Came[T]) -> bool:
        """Charge what came; tell whether others may be asked."""
        expert, value = came.expert, came.value
        if not isinstance(value, Failure):
            verdict = judge(value)
            cost_usd = books.answered(expert, value, verdict, came.asked_at)
            took_s = time.monotonic() - came.asked_at
            answered = Answered(expert, value, (), came.asked_at, took_s, cost_usd, verdict)
            answers.append(answered)
            if verdict is not None:
                attempts.append(Attempt(expert.spec.name, verdict, cost_usd))
            course.answered(answered)
            return True
        if value.kind in _OF_TIME and came.limit_s < expert.spec.timeout_s:
            value = replace(value, in_time_of_caller=True)
        cost_usd = books.failed(expert, value, came.asked_at)
        attempts.append(Attempt(expert.spec.name, value, cost_usd))
        course.excluded(expert, cost_usd)
        return value.consequence.may_ask_next

    try:
        while (came := await work.next()) is not None:
            if not note(came):
                break
    finally:
        late, broken_off = work.leave()
        for came in late:
            if drop is None or isinstance(came.value, Failure):
                note(came)
                continue
            took_s = time.monotonic() - came.asked_at
            dropped_usd = drop(Answered(came.expert, came.value, (), came.asked_at, took_s))
            attempts.append(Attempt(came.expert.spec.name, _NOT_NEEDED, dropped_usd))
        for expert in broken_off:
            cost_usd = books.abandoned(expert)
            if cost_usd is not None:
                attempts.append(Attempt(expert.spec.name, _NOT_NEEDED, cost_usd))
        await work.ended()
    if not answers:
        raise refusal(attempts)
    given = course.choose(answers)
    told = {attempt.expert for attempt in attempts} | {given.expert.spec.name}
    if given.agreement is None:
        attempts += [
            Attempt(answered.expert.spec.name, _NOT_NEEDED, answered.cost_usd)
            for answered in answers
            if answered.expert.spec.name not in told
        ]
    others = tuple(attempt for attempt in attempts if attempt.expert != given.expert.spec.name)
    return replace(given, attempts=others)


def refusal(attempts: Sequence[Attempt]) -> ApiError:
    """Return the error that best explains to a caller why no expert answered.

    It blames the request (400) only if every expert does. Otherwise such complaints are left out, and so are
    problems of the operator's account if an expert failed for another reason. The status is 429 if all are
    busy, with the shortest wait that an upstream asked for; 504 if the time ran out at last; 503 if none of
    them runs; else 502.
    """
    if not attempts:
        return ApiError(504, "the time for this request ran out before an expert was asked", code="timeout")
    failures = [attempt.why for attempt in attempts if isinstance(attempt.why, Failure)]
    names = (attempt.expert for attempt in attempts)
    told = "; ".join(f"{name}: {failure.message}" for name, failure in zip(names, failures, strict=True))
    ours = [failure for failure in failures if failure.consequence.blame != "request"]
    if not ours:
        return ApiError(400, told, code=_code_of(failures[0]), param=failures[0].param)
    ours = [failure for failure in ours if failure.consequence.blame == "expert"] or ours
    kinds = {failure.kind for failure in ours}
    if kinds == {FailureKind.BUSY}:
        waits_s = [failure.retry_after_s for failure in ours if failure.retry_after_s]
        return ApiError(429, told, code="overloaded", retry_after_s=min(waits_s, default=BUSY_WAIT_S))
    if ours[-1].kind in _OF_TIME:
        return ApiError(504, told, code="timeout")
    if kinds == {FailureKind.NOT_RUNNING}:
        return ApiError(503, told, code="unavailable", retry_after_s=BUSY_WAIT_S)
    return ApiError(502, told, code="no_expert_answered")


def _code_of(failure: Failure) -> str:
    codes = {
        FailureKind.BAD_REQUEST: "invalid_request",
        FailureKind.REFUSED_PARAMETER: "unsupported_parameter",
    }
    return codes.get(failure.kind, failure.kind.value)
