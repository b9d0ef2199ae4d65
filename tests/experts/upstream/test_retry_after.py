"""How long an upstream asks to be left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.upstream.refusals.retry_after import MOST_S, read_retry_after

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z

SEVERAL = {"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "9"}
SEVERAL |= {"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "0"}
TOLD: list[tuple[dict[str, str], Any, str, float | None]] = [
    ({"Retry-After": "20"}, None, "", 20.0),
    ({"retry-after": "0"}, None, "", 0.0),
    ({"retry-after": "1.5"}, None, "", 1.5),
    ({"retry-after": "Wed, 18 Nov 2026 11:07:10 GMT"}, None, "", 30.0),
    ({"retry-after": "Wed, 18 Nov 2020 11:07:10 GMT"}, None, "", 0.0),
    ({"retry-after": "20s"}, None, "", 20.0),
    ({"retry-after-ms": "250", "retry-after": "9"}, None, "", 0.25),
    ({"retry-after": "1e12"}, None, "", MOST_S),
    ({"retry-after": "99999999999999999999"}, None, "", MOST_S),
    ({"retry-after": "-5"}, None, "", None),
    ({"retry-after": "nan"}, None, "", None),
    ({"retry-after": "inf"}, None, "", None),
    ({"retry-after": "soon"}, None, "", None),
    ({"x-ratelimit-reset-tokens": "1m30s", "x-ratelimit-remaining-tokens": "0"}, None, "", 90.0),
    (SEVERAL, None, "", 360.0),
    ({"x-ratelimit-reset-requests": "20ms"}, None, "", 0.02),
    ({"x-ratelimit-reset": str(NOW + 40)}, None, "", 40.0),
    ({"X-RateLimit-Reset": str(int(NOW + 40) * 1000)}, None, "", 40.0),
    ({"anthropic-ratelimit-requests-reset": "2026-11-18T11:07:00Z"}, None, "", 20.0),
    ({"ratelimit-reset": "17"}, None, "", 17.0),
    ({}, {"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "33s"}]}}, "", 33.0),
    ({}, {"error": {"details": [{"retryDelay": {"seconds": 33, "nanos": 5}}]}}, "", 33.0),
    ({}, {"error": {"metadata": {"headers": {"X-RateLimit-Reset": str(int(NOW + 7) * 1000)}}}}, "", 7.0),
    ({}, {"retry_after": 12}, "", 12.0),
    ({}, {"retry_after_ms": 1200}, "", 1.2),
    ({}, None, "rate limit reached. please try again in 20s.", 20.0),
    ({}, None, "please try again in 1m12.5s. visit", 72.5),
    ({}, None, "please try again in 6ms.", 0.006),
    ({}, None, "please retry after 24 seconds.", 24.0),
    ({}, None, "please retry in 33.25s.", 33.25),
    ({}, None, "wait 2 minutes", 120.0),
    ({}, None, "try again in 2h30m", MOST_S),
    ({}, None, "try again later", None),
    ({}, None, "wait for the 5 sheep", None),
]


@pytest.mark.parametrize(("headers", "content", "words", "wait_s"), TOLD)
def test_each_houses_words(headers: dict[str, str], content: Any, words: str, wait_s: float | None) -> None:
    assert read_retry_after(headers, content, words, NOW) == (
        None if wait_s is None else pytest.approx(wait_s, abs=1e-3)
    )


NAMES = [
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-reset",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining-tokens",
]
ODD = st.text(max_size=40) | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(str)


@settings(max_examples=400, deadline=None)
@given(
    headers=st.dictionaries(st.sampled_from(NAMES), ODD),
    content=st.dictionaries(
        st.sampled_from(["retry_after", "retryDelay", "x-ratelimit-reset"]),
        ODD | st.floats() | st.integers() | st.none() | st.booleans(),
    ),
    words=ODD.map("try again in {}".format),
)
def test_whatever_is_said_the_wait_is_bounded(headers: dict[str, str], content: Any, words: str) -> None:
    wait_s = read_retry_after(headers, json.loads(json.dumps(content)), words, NOW)
    assert wait_s is None or 0 <= wait_s <= MOST_S
