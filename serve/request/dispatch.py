"""Ask the chosen expert; when it fails, the next best, until one answers or the time is up."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from serve.experts.handle import ExpertClient
from serve.wire.api_errors import ApiError, ExpertFailure

T = TypeVar("T")


@dataclass(frozen=True)
class Attempt:
    """An expert that was asked in vain."""

    expert: str
    failure: ExpertFailure


@dataclass(frozen=True)
class Answered(Generic[T]):
    """What an expert gave, and who was asked in vain before."""

    expert: ExpertClient
    value: T
    attempts: tuple[Attempt, ...]
    took_s: float  # from asking it to its answer, or to the first piece of it


async def first_answer(
    experts: Sequence[ExpertClient],
    ask: Callable[[ExpertClient, float], Awaitable[T | ExpertFailure]],
    deadline: float,
    report: Callable[[str, ExpertFailure | None], None],
) -> Answered[T]:
    """Ask the experts in order until one answers.

    An expert gets its own ``timeout_s`` while others could still stand in, the last one all the time that
    is left. A failure that lies in the request (400) goes on too: another expert may have a longer context
    or take an option that this one does not.

    Args:
        experts: in the order to try them.
        ask: asks one expert, within so many seconds.
        deadline: on the clock of ``time.monotonic``.
        report: told of every outcome (None for an answer), for the experts' health.

    Raises:
        ApiError: nobody answered. It carries the refusal if the request is to blame, 429 if all were busy,
            504 if the time ran out, else 502.
    """
    attempts: list[Attempt] = []
    for index, expert in enumerate(experts):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        is_last = index == len(experts) - 1
        asked = time.monotonic()
        value = await ask(expert, left if is_last else min(left, expert.spec.timeout_s))
        if not isinstance(value, ExpertFailure):
            report(expert.spec.name, None)
            return Answered(expert, value, tuple(attempts), time.monotonic() - asked)
        report(expert.spec.name, value)
        attempts.append(Attempt(expert.spec.name, value))
    raise _refusal(attempts)


def _refusal(attempts: Sequence[Attempt]) -> ApiError:
    """Return the error that tells a caller most truly why nobody answered."""
    failures = [attempt.failure for attempt in attempts]
    if not failures:
        return ApiError(504, "the time for this request ran out before an expert was asked", code="timeout")
    told = "; ".join(f"{attempt.expert}: {attempt.failure.message}" for attempt in attempts)
    if all(failure.status < 500 and failure.status != 429 for failure in failures):
        return ApiError(400, told, code=failures[0].code or "invalid_request")
    if all(failure.status == 429 for failure in failures):
        return ApiError(429, told, code="overloaded", retry_after_s=2)
    if failures[-1].status == 504:
        return ApiError(504, told, code="timeout")
    return ApiError(502, told, code="no_expert_answered")
