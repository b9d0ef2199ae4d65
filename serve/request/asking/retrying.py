"""Attempts of one expert at a request: again after failures that cost nothing, the first token in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from experts.backends.api_calls import retry_wait_s
from experts.catalogue.spec import ExpertSpec
from experts.upstream import Ask, Failure, FailureKind, TokenCounter
from serve.experts.client import ExpertClient, OpenStream
from serve.request.charges import charge_failure
from serve.request.in_flight import InFlight

T = TypeVar("T")

#: The field of :class:`experts.catalogue.retries.Retries` that a failure falls under; others are final.
_CLASS_OF = {
    FailureKind.BUSY: "overloaded",
    FailureKind.UNREACHABLE: "unreachable",
    FailureKind.NOT_RUNNING: "unreachable",
    FailureKind.SERVER_ERROR: "server_error",
    FailureKind.MALFORMED: "server_error",
    FailureKind.EMPTY: "server_error",
    FailureKind.TIMEOUT: "timeout",
    FailureKind.STALLED: "timeout",
    FailureKind.BROKEN_CONNECTION: "timeout",
    FailureKind.CUT_STREAM: "timeout",
}


async def ask_with_retries(
    job: InFlight,
    spec: ExpertSpec,
    counter: TokenCounter,
    ask: Callable[[float], Awaitable[T | Failure]],
    timeout_s: float,
) -> T | Failure:
    """Ask an expert, again as often as its catalogue entry says, all within ``timeout_s``.

    Only a failure that nobody bills is followed by another attempt: what was set aside is for one. The wait
    is the one that the upstream named, else it doubles, at random; one that takes all the time left is not
    waited for.

    Args:
        job: the request; while it waits the expert is not at work on it.
        spec: of the expert.
        counter: of the expert.
        ask: asks it once, within so many seconds.
        timeout_s: for all attempts.
    """
    name, attempts = spec.name, 0
    ends_at = time.monotonic() + timeout_s
    while True:
        value = await ask(max(0.001, ends_at - time.monotonic()))
        if not isinstance(value, Failure) or value.in_time_of_caller or job.has_left:
            return value
        allowed = getattr(spec.retries, _CLASS_OF.get(value.kind, ""), 0)
        charge = charge_failure(job.asks[name], value, counter)
        if attempts >= allowed or charge.cost_usd or charge.claimed_usd:
            return value
        wait_s = retry_wait_s(value.retry_after_s, attempts)
        if time.monotonic() + wait_s >= ends_at:
            return value
        attempts += 1
        job.at_work.discard(name)
        await asyncio.sleep(wait_s)
        job.at_work.add(name)


async def open_in_time(
    client: ExpertClient, ask: Ask, timeout_s: float, *, is_last: bool
) -> OpenStream | Failure:
    """Open a stream; an expert with a fallback has its ``first_token_s`` to show something.

    Running over it is the expert's failure, and not its caller's lack of time.
    """
    limit_s = client.spec.first_token_s
    if limit_s is None or is_last or limit_s >= timeout_s:
        return await client.open_stream(ask, timeout_s)
    value = await client.open_stream(ask, limit_s)
    if isinstance(value, Failure) and value.kind in (FailureKind.TIMEOUT, FailureKind.STALLED):
        return replace(value, message=f"no token came within {limit_s:.3g} s", in_time_of_caller=False)
    return value
