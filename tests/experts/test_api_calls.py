from __future__ import annotations

import asyncio
import time

import pytest

from experts.backends.api_calls import RateLimit, retry_wait_s


def send_all(limit: RateLimit, sizes: list[int]) -> list[tuple[float, int]]:
    async def run() -> list[tuple[float, int]]:
        sent: list[tuple[float, int]] = []

        async def one(tokens: int) -> None:
            await limit.take(tokens)
            sent.append((time.monotonic(), tokens))

        await asyncio.gather(*map(one, sizes))
        return sent

    return asyncio.run(run())


def test_no_window_exceeds_the_requests() -> None:
    sent = send_all(RateLimit(requests_per_min=5, window_s=0.2), [1] * 17)
    assert sent[-1][0] - sent[0][0] >= 0.59
    for start, _ in sent:
        assert sum(start <= at < start + 0.19 for at, _ in sent) <= 5


def test_no_window_exceeds_the_tokens() -> None:
    sizes = [30, 50, 40, 10, 90, 20]
    sent = send_all(RateLimit(tokens_per_min=100, window_s=0.2), sizes)
    assert [tokens for _, tokens in sent] == sizes  # first come, first served
    for start, _ in sent:
        assert sum(tokens for at, tokens in sent if start <= at < start + 0.19) <= 100


def test_a_request_over_the_limit_goes_alone() -> None:
    began = time.monotonic()
    sent = send_all(RateLimit(tokens_per_min=100, window_s=0.2), [10, 500, 10])
    assert sent[1][0] - sent[0][0] >= 0.19
    assert sent[2][0] - sent[1][0] >= 0.19
    assert time.monotonic() - began < 5


def test_all_hold_back_when_the_api_has_had_enough() -> None:
    limit = RateLimit()
    limit.hold_back(0.2)
    began = time.monotonic()
    send_all(limit, [1, 1])
    assert time.monotonic() - began >= 0.19


def test_the_wait_is_the_one_asked_for() -> None:
    assert 2.0 <= retry_wait_s(2.0, 0) <= 2.2
    assert 0.5 <= retry_wait_s(0.5, 7) <= 0.55
    assert retry_wait_s(0.0, 3) == 0.0


@pytest.mark.parametrize("attempt", [0, 1, 5, 20])
def test_backoff_grows_and_is_spread(attempt: int) -> None:
    waits = [retry_wait_s(None, attempt) for _ in range(300)]
    most = min(30.0, 0.5 * 2**attempt)
    assert 0 <= min(waits) < 0.2 * most
    assert 0.8 * most < max(waits) <= most
