"""Ask experts along a course: one after the other, each charged, until the answer to give is there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from experts.forms import Unusable
from experts.upstream import Failure, FailureKind
from serve.experts.client import ExpertClient
from serve.request.asking.course import Answered, Attempt, Course
from serve.wire.api_errors import ApiError

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

BUSY_WAIT_S = 2.0  # told to a client where no upstream said how long it is busy
_OF_TIME = {FailureKind.TIMEOUT, FailureKind.STALLED}


class Books(Protocol):
    """What is kept of the attempts on a request."""

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

    def abandoned(self, expert: ExpertClient) -> None:
        """Note that nobody waits for it any more."""
        ...


async def find_answer(
    course: Course[T],
    ask: Callable[[ExpertClient, float], Awaitable[T | Failure]],
    deadline: float,
    books: Books,
    *,
    judge: Callable[[T], Unusable | None] = lambda _: None,
) -> Answered[T]:
    """Ask experts along a course until it has the answer to give.

    An expert gets its own ``timeout_s`` while others could still stand in, the last one all the time that
    is left. A failure that lies in the request goes on too: another expert may have a longer context or take
    an option that this one does not. Nobody waits for an expert that is busy while another is at hand.

    Args:
        course: says whom to ask.
        ask: asks one expert, within so many seconds.
        deadline: on the clock of ``time.monotonic``.
        books: told of every attempt.
        judge: says why an answer is not usable, None where it is.

    Raises:
        ApiError: nobody answered; see :func:`refusal`.
    """
    attempts: list[Attempt] = []
    answers: list[Answered[T]] = []
    while (expert := course.next_expert()) is not None:
        if deadline - time.monotonic() <= 0 or not await books.begin(expert):
            course.excluded(expert)
            continue
        asked_at = time.monotonic()
        left_s = max(0.0, deadline - asked_at)
        limit_s = left_s if course.is_last else min(left_s, expert.spec.timeout_s)
        try:
            value = await _ask_safely(expert, ask, limit_s)
        except BaseException:
            books.abandoned(expert)
            raise
        if not isinstance(value, Failure):
            verdict = judge(value)
            cost_usd = books.answered(expert, value, verdict, asked_at)
            answered = Answered(expert, value, (), asked_at, time.monotonic() - asked_at, cost_usd, verdict)
            answers.append(answered)
            if verdict is not None:
                attempts.append(Attempt(expert.spec.name, verdict, cost_usd))
            course.answered(answered)
            continue
        if value.kind in _OF_TIME and limit_s < expert.spec.timeout_s:
            value = replace(value, in_time_of_caller=True)
        cost_usd = books.failed(expert, value, asked_at)
        attempts.append(Attempt(expert.spec.name, value, cost_usd))
        if not value.consequence.may_ask_next:
            break
        course.excluded(expert, cost_usd)
    if not answers:
        raise refusal(attempts)
    given = course.choose(answers)
    others = tuple(attempt for attempt in attempts if attempt.expert != given.expert.spec.name)
    return replace(given, attempts=others)


async def _ask_safely(
    expert: ExpertClient, ask: Callable[[ExpertClient, float], Awaitable[T | Failure]], limit_s: float
) -> T | Failure:
    """Ask one expert; what is raised on the way is a failure of it, unless it is we who are cancelled."""
    try:
        return await ask(expert, limit_s)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
    except Exception:
        logger.exception("asking %s failed", expert.spec.name)
    return Failure(FailureKind.BROKEN_CONNECTION, "the connection to it broke")


def refusal(attempts: Sequence[Attempt]) -> ApiError:
    """Return the error that tells a caller most truly why nobody answered.

    The request is to blame (400) only where every expert says so. Otherwise that is left out, and so is an
    operator's account beside an expert's trouble: where all are busy it is 429, with the shortest wait that
    an upstream asked for; 504 where the time ran out at last, 503 where none of them runs, else 502.
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
