"""Which token counts are believed, and what stands in for the others."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.upstream import Answer, Ask, TokenCounter, Usage, ask_of, read_reply
from experts.upstream.counting import characters_of
from experts.upstream.shape.json_text import Unbounded
from experts.upstream.usage_told import read_usage
from tests.experts.upstream.scripted_socket import completion, make_ask, make_spec

SPEC = make_spec()


def read(told: Any, written: int = 40, **asked: Any) -> Usage:
    return read_usage(told, make_ask(SPEC, **asked), TokenCounter(SPEC), written)


def test_sane_counts_are_believed() -> None:
    assert read({"prompt_tokens": 12, "completion_tokens": 9}) == Usage(12, 9)
    assert read({"input_tokens": 12, "output_tokens": 9}) == Usage(12, 9)
    assert read({"prompt_tokens": 12.0, "completion_tokens": 9.0}) == Usage(12, 9)


INSANE = [
    -1,
    math.nan,
    math.inf,
    True,
    "9",
    [9],
    {},
    None,
    1.5,
    10**9,
    10**17,
    Unbounded("Infinity"),
    Unbounded("1" * 40),
]


@pytest.mark.parametrize("value", INSANE, ids=repr)
def test_insane_counts_are_replaced_by_ours(value: Any) -> None:
    usage = read({"prompt_tokens": value, "completion_tokens": 9})
    assert usage.is_estimated
    assert usage.completion_tokens == 9
    assert 5 <= usage.prompt_tokens <= 40
    usage = read({"prompt_tokens": 12, "completion_tokens": value})
    assert usage.is_estimated
    assert usage.prompt_tokens == 12
    assert 9 <= usage.completion_tokens <= 20


@pytest.mark.parametrize(
    "told", [None, {}, [], "none", 7, {"prompt_tokens": 0, "completion_tokens": 0}, {"total_tokens": 20}]
)
def test_none_told_is_our_count(told: Any) -> None:
    usage = read(told)
    assert usage.is_estimated
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0


def test_the_bounds_are_those_of_the_request() -> None:
    assert not read({"prompt_tokens": 12, "completion_tokens": 50}).is_estimated
    assert read({"prompt_tokens": 12, "completion_tokens": 51}).is_estimated
    assert not read({"prompt_tokens": 12, "completion_tokens": 150}, n=3).is_estimated
    assert read(
        {"prompt_tokens": 8001, "completion_tokens": 5}, messages=[{"role": "user", "content": "a" * 99_999}]
    ).is_estimated
    assert not read(
        {"prompt_tokens": 8000, "completion_tokens": 5}, messages=[{"role": "user", "content": "a" * 99_999}]
    ).is_estimated


def test_a_prompt_that_a_host_puts_before_ours_is_believed_and_no_more() -> None:
    assert not read({"prompt_tokens": 1816, "completion_tokens": 5}).is_estimated
    assert read({"prompt_tokens": 7000, "completion_tokens": 5}).is_estimated


def test_a_claim_beyond_is_kept_for_the_books() -> None:
    usage = read({"prompt_tokens": 12, "completion_tokens": 10**9})
    assert usage.claimed_usd == pytest.approx(4000, rel=1e-6)
    assert "1000000000" in str(usage.claimed)
    assert read({"prompt_tokens": 12, "completion_tokens": Unbounded("9" * 40)}).claimed_usd == 100_000
    assert read({"prompt_tokens": -5, "completion_tokens": "x"}).claimed_usd == 0


@pytest.mark.parametrize(
    ("told", "completion_tokens"),
    [
        (
            {
                "prompt_tokens": 12,
                "completion_tokens": 9,
                "total_tokens": 41,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            29,
        ),
        (
            {
                "prompt_tokens": 12,
                "completion_tokens": 29,
                "total_tokens": 41,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            29,
        ),
        ({"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 41}, 29),
        ({"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}, 9),
        ({"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 10**9}, 9),
        ({"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": -3}, 9),
    ],
)
def test_thoughts_outside_the_completion_are_counted(told: Any, completion_tokens: int) -> None:
    assert read(told).completion_tokens == completion_tokens


@pytest.mark.parametrize(
    ("more", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 8}}, 8),
        ({"input_tokens_details": {"cached_tokens": 8}}, 8),
        ({"prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 4}, 8),
        ({"cache_read_input_tokens": 8}, 8),
        ({"cached_tokens": 8}, 8),
        ({"prompt_tokens_details": {"cached_tokens": 99}}, 12),
        ({"prompt_tokens_details": {"cached_tokens": -8}}, 0),
        ({"prompt_tokens_details": None, "cached_tokens": "8"}, 0),
        ({"prompt_tokens_details": [8]}, 0),
    ],
)
def test_cached_tokens_in_each_houses_words(more: Any, cached: int) -> None:
    usage = read({"prompt_tokens": 12, "completion_tokens": 9} | more)
    assert (usage.prompt_tokens, usage.cached_tokens) == (12, cached)


def test_a_house_that_leaves_the_cache_out_of_the_input() -> None:
    usage = read(
        {
            "input_tokens": 4,
            "cache_read_input_tokens": 8,
            "cache_creation_input_tokens": 3,
            "output_tokens": 9,
        }
    )
    assert (usage.prompt_tokens, usage.cached_tokens) == (15, 8)


@settings(max_examples=150, deadline=None)
@given(rate=st.floats(1.2, 5.5), lengths=st.lists(st.integers(200, 3000), min_size=40, max_size=60))
def test_the_count_is_learned_from_bills_and_errs_upward(rate: float, lengths: list[int]) -> None:
    counter = TokenCounter(SPEC)
    for length in lengths:
        counter.learn(length, max(1, round(length / rate)))
    right = 2000 / rate
    assert 0.98 * right <= counter.written_tokens(2000) <= 1.75 * right


def test_odd_bills_teach_little() -> None:
    counter = TokenCounter(SPEC)
    before = counter.written_tokens(1000)
    counter.learn(1_000_000, 10)
    counter.learn(0, 10**6)
    assert abs(counter.written_tokens(1000) - before) < 0.25 * before


contents = st.text(max_size=200) | st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=50)}), max_size=3
)


@settings(max_examples=200, deadline=None)
@given(
    content=contents,
    n=st.integers(1, 4) | st.none(),
    limit=st.integers(1, 500) | st.none(),
    other=st.integers(1, 500) | st.none(),
)
def test_no_upstream_that_obeys_its_limits_bills_more_than_the_bound(
    content: Any, n: Any, limit: Any, other: Any
) -> None:
    body = {
        "messages": [{"role": "user", "content": content}],
        "n": n,
        "max_tokens": limit,
        "max_completion_tokens": other,
    }
    ask: Ask = ask_of(SPEC, body)
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    worst_prompt = min(8000, sum(len(text.encode("utf-8", "replace")) for text in texts) + 30)
    longest = max(limit or 0, other or 0) or SPEC.max_tokens
    answers = n or 1
    assert ask.most_prompt_tokens >= worst_prompt * answers
    assert ask.most_completion_tokens == longest * answers
    assert ask.most_usd >= SPEC.price.cost_usd(float(worst_prompt), float(longest * answers))
    assert ask.prompt_characters >= sum(map(characters_of, texts))


def test_a_list_of_prompts_is_as_many_requests() -> None:
    one = ask_of(SPEC, {"prompt": "a" * 100, "max_tokens": 10})
    many = ask_of(SPEC, {"prompt": ["a" * 100] * 3, "max_tokens": 10, "n": 2})
    assert many.answers == 6
    assert many.most_completion_tokens == 6 * one.most_completion_tokens
    assert many.most_prompt_tokens >= 600


def test_pictures_fill_the_window_and_no_limit_is_infinite() -> None:
    body = {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]
    }
    assert ask_of(SPEC, body).most_prompt_tokens == 8000
    assert math.isinf(ask_of(make_spec(context_tokens=None), body).most_usd)
    unlimited = make_spec(context_tokens=None, dialect={"drop": ["max_tokens", "max_completion_tokens"]})
    assert math.isinf(make_ask(unlimited).most_usd)


def test_cached_tokens_have_their_own_price() -> None:
    price = {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 4.0, "usd_per_mtok_cached_in": 0.1}
    spec = make_spec(price=price)
    usage = {"prompt_tokens": 12, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 10}}
    reply = read_reply(
        make_ask(spec),
        200,
        {},
        json.dumps(completion(usage=usage)).encode(),
        TokenCounter(spec),
    )
    assert isinstance(reply, Answer)
    assert reply.usage.cost_usd(spec.price) == pytest.approx((2 * 1.0 + 10 * 0.1 + 2 * 4.0) / 1e6)
    assert reply.body["usage"]["prompt_tokens_details"] == {"cached_tokens": 10}


@pytest.mark.parametrize("more", [{}, {"total_tokens": 47}], ids=["no total", "a total"])
def test_thoughts_that_cannot_lie_within_the_completion_are_counted(more: Any) -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 31}}
    usage = read({"prompt_tokens": 12, "completion_tokens": 4} | details | more, written=20, max_tokens=50)
    assert usage == Usage(12, 35, reasoning_tokens=31)


def test_a_null_does_not_hide_the_count_beside_it() -> None:
    told = {"prompt_tokens": 12, "completion_tokens": None, "output_tokens": 9}
    assert read(told) == Usage(12, 9)
