"""Each vendor's words for what is wrong, and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.upstream import CONSEQUENCES, Failure, FailureKind, TokenCounter, read_reply, scrub
from tests.experts.upstream.scripted_socket import make_ask, make_spec

K = FailureKind
SPEC = make_spec()


def judge(status: int, body: Any, headers: dict[str, str] | None = None, **asked: Any) -> Failure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = read_reply(
        make_ask(SPEC, **asked), status, headers or {}, data, TokenCounter(SPEC), secrets=("hunter2hunter2",)
    )
    assert isinstance(reply, Failure), reply
    return reply


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


TABLE = yaml.safe_load(Path(__file__).with_name("refusals.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", TABLE["words"], ids=lambda row: row["house"])
def test_each_houses_words(row: dict[str, Any]) -> None:
    failure = judge(row["status"], row.get("body") or row["page"].encode())
    assert failure.kind == row["kind"], failure
    assert failure.upstream_status == row["status"]


@pytest.mark.parametrize("row", TABLE["refused"], ids=lambda row: row["field"])
def test_refused_fields_in_each_houses_words(row: dict[str, Any]) -> None:
    names = ("logprobs", "top_logprobs", "seed", "logit_bias", "tools", "tool_choice", "n", "user", "top_p")
    failure = judge(row["status"], row["body"], **dict.fromkeys((*names, "presence_penalty"), 1))
    assert failure.kind is K.REFUSED_PARAMETER, failure
    assert failure.param == row["field"]


@pytest.mark.parametrize(
    "words",
    [
        "insufficient_quota",
        "invalid api key",
        "you exceeded your current quota",
        "context length",
        "content_filter",
    ],
)
def test_a_callers_own_words_rest_no_expert(words: str) -> None:
    """A server that repeats requests in its errors is no way to take an expert away from others."""
    messages = [{"role": "user", "content": f"Please explain: {words}"}]
    for message in (
        f"bad value: Please explain: {words}",
        f"[{{'type': 'missing', 'input': 'Please explain: {words}'}}]",
    ):
        failure = judge(400, error(message), messages=messages)
        assert failure.kind is K.BAD_REQUEST, failure


texts = st.text(max_size=60) | st.sampled_from(
    ["hunter2hunter2", "Bearer abcdef12345", "sk-abcdefghijkl", "\x00\n\r\u2028", "\ud800"]
)
values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "code",
                    "type",
                    "param",
                    "details",
                    "retry_after",
                    "retryDelay",
                    "detail",
                    "choices",
                    "errors",
                ]
            )
            | texts,
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-ratelimit-reset", "location"]
    ),
    st.text(max_size=30),
    max_size=3,
)


@settings(max_examples=700, deadline=None)
@given(status=st.integers(300, 599), body=values, headers=HEADERS)
def test_any_refusal_is_a_failure_that_can_be_shown(status: int, body: Any, headers: dict[str, str]) -> None:
    data = json.dumps(body).encode("utf-8", "surrogatepass")
    reply = read_reply(make_ask(SPEC), status, headers, data, TokenCounter(SPEC), secrets=("hunter2hunter2",))
    assert isinstance(reply, Failure)
    assert CONSEQUENCES[reply.kind].status >= 400
    for text in (reply.message, reply.param or ""):
        assert "hunter2hunter2" not in text
        assert "sk-abcdefghijkl" not in text
        assert "abcdef12345" not in text
        assert len(text) <= 300
        assert text.isprintable() or not text
        text.encode()
    assert reply.retry_after_s is None or 0 <= reply.retry_after_s <= 3600


@settings(max_examples=300, deadline=None)
@given(status=st.sampled_from([200, 400, 401, 429, 500]), data=st.binary(max_size=200))
def test_any_bytes_are_judged(status: int, data: bytes) -> None:
    assert isinstance(read_reply(make_ask(SPEC), status, {}, data, TokenCounter(SPEC)), Failure)


@settings(max_examples=200, deadline=None)
@given(
    before=st.text(max_size=30),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40),
    after=st.text(max_size=400),
)
def test_nothing_shows_a_secret(before: str, secret: str, after: str) -> None:
    shown = scrub(f"{before}{secret}{after} {secret}", (secret,))
    assert secret not in shown
    assert len(shown) <= 300


@pytest.mark.parametrize(
    "said",
    [
        "sk-proj-abc123DEF456",
        "sk-ant-api03-xyzXYZ123",
        "Bearer abc.def-ghi",
        "AIzaSyA1234567890abcdefg",
        "gsk_abcdefghijklmnop",
        "hf_abcdefghijklmnop",
        "xai-abcdefghijklmnop",
        "abcd****wxyz",
        "api_key=verysecret1",
        '"api-key": "verysecret1"',
        "https://user:verysecret1@host/",
        "?key=verysecret1&x=1",
        "eyJhbGciOi.eyJzdWIi.abc",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_what_looks_like_a_key_is_hidden(said: str) -> None:
    shown = scrub(f"the key {said} is bad")
    secret = said.split("=")[-1] if "?" not in said else "verysecret1"
    for part in ("verysecret1", secret) if "secret" in said else (said,):
        assert part not in shown or part.startswith("https"), shown
    assert "***" in shown
    assert "is bad" in shown or "host" in shown or "x=1" in shown
