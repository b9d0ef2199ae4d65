"""An expert behind an API: what is passed on to it, and what is made of what it says."""

import asyncio
import sys
from pathlib import Path

import pytest

from experts import ExpertSpec
from experts.upstream import Failure, FailureKind, ask_of
from serve.experts.direct import DirectClient

sys.path.insert(0, str(Path(__file__).parent.parent))

from hostile_upstream import Plan

ASKED = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def ask(upstream):
    spec = ExpertSpec(
        name="api",
        backend="openai",
        model="m",
        base_url=upstream.url,
        price={"usd_per_mtok_in": 1, "usd_per_mtok_out": 1},
        timeout_s=1,
    )

    def ask(body, *, stream=False):
        async def go():
            expert = DirectClient(spec)
            try:
                if not stream:
                    return await expert.answer(ask_of(spec, body), 5.0)
                opened = await expert.open_stream(ask_of(spec, body), 5.0)
                if isinstance(opened, Failure):
                    return [opened]
                return [*opened.opening, *[piece async for piece in opened.rest]]
            finally:
                await expert.aclose()

        upstream.requests.clear()
        return asyncio.run(go())

    return ask


def test_options_that_change_price_or_model_are_not_passed_on(ask, upstream):
    kept = {"temperature": 0.5, "max_tokens": 5, "tools": [{"type": "function", "function": {"name": "f"}}]}
    dropped = {
        "service_tier": "priority",
        "models": ["dear"],
        "provider": {"order": ["dear"]},
        "web_search_options": {},
        "store": True,
        "extra_headers": {"X-A": "b"},
    }
    answer = ask(ASKED | kept | dropped)
    assert answer.body["model"] == "api"
    assert upstream.requests == [ASKED | kept | {"model": "m", "stream": False}]


@pytest.mark.parametrize(
    "body",
    [
        ASKED | {"tools": [{"type": "web_search"}]},
        ASKED | {"tools": [{"name": "no type"}]},
        ASKED | {"tools": [{"type": ["function"]}]},
        ASKED | {"tools": 5},
        ASKED | {"prompt": "x"},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_passed_on_is_the_requests_fault(ask, upstream, body, stream):
    told = ask(body, stream=stream)
    (failure,) = told if stream else [told]
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.is_our_fault) == (FailureKind.BAD_REQUEST, False)
    assert upstream.requests == []


def test_the_last_piece_of_a_stream_tells_what_it_came_to(ask, upstream):
    upstream.plans["four"] = Plan(words=4)
    pieces = ask({"messages": [{"role": "user", "content": "#four#"}]}, stream=True)
    assert pieces[-1].body == {}
    assert (pieces[-1].usage.completion_tokens, pieces[-1].usage.is_estimated) == (4, False)
    assert [piece.shows for piece in pieces] == [False, *[True] * 4, False, False]


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_is_asked_once_whatever_it_says(ask, upstream, stream):
    upstream.plans["busy"] = Plan(status=429, raw=b"{}", headers=(("retry-after", "7"),), bills=False)
    told = ask({"messages": [{"role": "user", "content": "#busy#"}]}, stream=stream)
    (failure,) = told if stream else [told]
    assert (failure.kind, failure.retry_after_s) == (FailureKind.BUSY, 7.0)
    assert len(upstream.requests) == 1
