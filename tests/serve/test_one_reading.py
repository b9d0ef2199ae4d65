"""A body is parsed once, validated once and measured once, whatever is in it and however many may answer."""

import asyncio
import json
import math
import sys
import time

import pytest
from fake_experts import FixedRouter, LocalLedger, ScriptedExpert
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from experts.upstream.request import ask_of, measure
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.http.reading import is_called_json
from serve.request.gateway import Gateway
from serve.wire.api_errors import ApiError
from serve.wire.json_text import NotJsonError, read_json, write_json

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=6)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | ANY_TEXT
    | st.sampled_from([1e400, 10**400, "\ud800"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)


def is_json(value):
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return True


def nearly(one, other):
    """Equal, where a whole number of more than 64 bits may have become a number with a point."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(nearly(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(nearly, one, other))
    return one == other or (isinstance(one, int) and math.isclose(one, other, rel_tol=1e-15))


@given(VALUES, st.booleans())
@settings(max_examples=500, deadline=None)
def test_what_is_json_is_read_and_what_is_not_is_refused(value, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii).encode(errors="surrogatepass")
    if is_json(value):
        assert nearly(json.loads(text), read_json(text))
    else:
        with pytest.raises((NotJsonError, ApiError)):
            read_json(text)


@given(VALUES)
@settings(max_examples=500, deadline=None)
def test_the_place_of_what_is_no_json_is_named(value):
    text = json.dumps({"messages": [{"content": value}]}).encode()
    if is_json(value):
        assert read_json(text)
        return
    with pytest.raises(NotJsonError) as error:
        read_json(text)
    assert error.value.place[:3] == ("messages", 0, "content")
    assert error.value.refusal().param == "messages.0.content"


@given(VALUES)
@settings(max_examples=500, deadline=None)
def test_whatever_is_written_is_json_for_everybody(value):
    written = write_json(value)
    json.loads(written.decode(), parse_constant=pytest.fail)
    assert is_json(json.loads(written))
    if is_json(value):
        assert json.loads(written) == value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{} x",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
        b"nan",
        b"\xed\xa0\x80",
    ],
)
def test_what_cannot_be_read_is_a_400(content):
    with pytest.raises(ApiError) as refusal:
        read_json(content)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_request")


def test_what_is_nested_too_deep_is_refused_however_deep_the_process_may_go():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        with pytest.raises(ApiError, match="nested too deep"):
            read_json(b'{"a":' * 2_000 + b"1" + b"}" * 2_000)
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/json", True),
        ("Application/JSON ; charset=utf-8", True),
        ("application/merge-patch+json", True),
        ("text/plain", False),
        ("text/json", False),
        ("application/x-www-form-urlencoded", False),
        ("", False),
    ],
)
def test_a_body_is_what_its_sender_calls_it(kind, expected):
    assert is_called_json(kind) is expected


@given(VALUES.map(lambda value: {"messages": [{"role": "user", "content": "x"}], "tools": [value]}))
@settings(max_examples=300, deadline=None)
def test_no_body_is_measured_smaller_than_templates_write_it(body):
    written = len(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    assert measure(body).bytes >= written


EXPERTS = {name: ScriptedExpert(name) for name in ("smollm2-135m", "gemma-3-270m")}
for _expert in EXPERTS.values():  # a megabyte is within their windows
    _expert.spec = _expert.spec.model_copy(update={"context_tokens": 2_000_000})


@pytest.fixture
def app(tmp_path):
    config = ServeConfig(home=tmp_path, access="open", max_body_bytes=3_000_000)
    return create_api(Gateway(config, FixedRouter(*EXPERTS), LocalLedger(config), EXPERTS))


def cpu_s(run, times=7):
    """The least of several: what else runs here only adds."""
    took = []
    for _ in range(times):
        began = time.process_time()
        run()
        took.append(time.process_time() - began)
    return min(took)


@pytest.mark.parametrize("letters", ["word and ", "слово и ", 'a\nb\t"c" '])
def test_a_megabyte_costs_little_more_than_to_parse_it(app, letters):
    prompt = letters * (1_000_000 // len(letters.encode()))
    asked = {"model": "leeroo", "max_tokens": 5, "messages": [{"role": "user", "content": prompt}]}
    content = json.dumps(asked, ensure_ascii=False).encode()
    with TestClient(app, base_url="http://localhost", headers={"content-type": "application/json"}) as web:
        assert web.post("/v1/chat/completions", content=content).status_code == 200
    loop = asyncio.new_event_loop()

    def post(body):
        return lambda: loop.run_until_complete(send(app, body))

    short = json.dumps(asked | {"messages": [{"role": "user", "content": "x"}]}).encode()
    extra_s = cpu_s(post(content)) - cpu_s(post(short))
    loop.close()
    assert extra_s < 7 * cpu_s(lambda: json.loads(content)), f"{extra_s * 1e3:.2f} ms for the megabyte"


async def send(app, content):
    sent, messages = [], [{"type": "http.request", "body": content, "more_body": False}]
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    path = "/v1/chat/completions"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": headers, "client": ("127.0.0.1", 1), "server": ("localhost", 80), "scheme": "http"}

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def keep(message):
        sent.append(message)

    await app(scope, receive, keep)
    assert sent[0]["status"] == 200, sent


def test_a_request_is_measured_once_however_many_may_answer(app, monkeypatch):
    from experts.eligibility import needs
    from serve.request import admission, cost_bounds

    seen = []
    for module in (admission, cost_bounds, needs):
        monkeypatch.setattr(module, "measure", lambda body: seen.append(body) or measure(body))
    asyncio.run(send(app, b'{"model": "leeroo", "messages": [{"role": "user", "content": "hello"}]}'))
    assert len(seen) == 1


def test_a_measure_that_is_known_changes_nothing():
    body = {"messages": [{"role": "user", "content": "hello"}], "n": 2, "max_tokens": 7}
    for expert in EXPERTS.values():
        assert ask_of(expert.spec, body, measure(body)) == ask_of(expert.spec, body)
