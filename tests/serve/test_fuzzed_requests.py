"""Whatever is sent, it is answered, or refused in the shape of its API; nothing is a failure of ours."""

import asyncio
import copy
import json

import httpx
import pytest
from fake_experts import LocalLedger, LocalRouter, ScriptedExpert, VectorExpert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.config import ServeConfig
from serve.http.api import create_api
from serve.request.gateway import Gateway

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(
        [0, 1, -1, 1e400, 10**400, "", "leeroo", "leeroo:ensemble", "\ud800", "\udc00x", "\x00", "e\u0301"]
    ),
    st.text(st.characters(codec=None, categories=None), max_size=12),
)
VALUES = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What is 3 + 21?"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c", "content": "24", "name": "f"},
    {"role": "user", "content": "And the capital of Peru?"},
]
SHARED = {
    "model": "leeroo:economy",
    "stream": False,
    "stream_options": {"include_usage": True},
    "max_tokens": 5,
    "temperature": 0.5,
    "n": 2,
    "best_of": 2,
    "stop": ["x"],
    "seed": 1,
    "user": "u",
    "logit_bias": {"1": 2},
    "max_cost_usd": 1.0,
    "min_success": 0.1,
    "multiplier": 0.0,
    "experts": ["smollm2-135m"],
    "max_experts_asked": 2,
    "max_latency_s": 30.0,
}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "text"}}
LIMITS = {
    name: SHARED[name] for name in ("model", "stream", "max_cost_usd", "max_experts_asked", "max_latency_s")
}
PICTURE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
RESPONSES = LIMITS | {
    "input": [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 3 + 21?"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "24"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:,", "detail": "low"}]},
        {"role": "user", "content": "And the capital of Peru?"},
    ],
    "instructions": "Answer.",
    "max_output_tokens": 5,
    "text": {
        "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}},
        "verbosity": "low",
    },
    "reasoning": {"effort": "low"},
    "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}},
        {"type": "custom", "name": "g"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "metadata": {"a": "b"},
    "include": ["message.output_text.logprobs"],
    "store": False,
}
MESSAGES = LIMITS | {
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is 3 + 21?"}, {"type": "image", "source": PICTURE}],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "24"}]}
            ],
        },
        {"role": "user", "content": "And the capital of Peru?"},
    ],
    "system": [{"type": "text", "text": "Answer."}],
    "max_tokens": 5,
    "stop_sequences": ["x"],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "metadata": {"user_id": "u"},
}
VECTORS = {"model": "vectors", "user": "u", "max_latency_s": 30.0}
ORDERLY = {
    "/v1/chat/completions": SHARED | TOOLS | {"messages": TURNS},
    "/v1/completions": SHARED | {"prompt": ["2 + 2 ="], "suffix": "s", "echo": True},
    "/v1/route": {"messages": TURNS, "preset": "quality", "experts": ["gemma-3-270m"], "min_success": 0.1},
    "/v1/feedback": {"request_id": "req-1", "score": 0.5},
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/embeddings": VECTORS | {"input": ["a", "b"], "encoding_format": "float", "dimensions": 2},
    "/v1/rerank": VECTORS | {"query": "q", "documents": ["a", "b"], "top_n": 1, "return_documents": True},
}


def places_of(value, place=()):
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places_of(one, (*place, key))


@st.composite
def damaged(draw, orderly):
    """An orderly request with some fields left out, and up to two places spoilt."""
    body = copy.deepcopy(orderly)
    for name in draw(st.sets(st.sampled_from(sorted(body)))):
        if name not in ("messages", "prompt", "input", "max_tokens", "query", "documents"):
            del body[name]
    if "stream" in body:
        body["stream"] = draw(st.booleans())
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.sampled_from(list(places_of(body))))
        if not place:
            continue
        holder = body
        for key in place[:-1]:
            holder = holder[key]
        how = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
        if how == "replace":
            holder[place[-1]] = draw(VALUES)
        elif how == "drop":
            del holder[place[-1]]
        elif isinstance(holder, dict):
            name = draw(st.text(max_size=3) | st.sampled_from(["\ud800", "audio", "prompt", "type"]))
            holder[name] = draw(VALUES)
        else:
            holder.append(draw(VALUES))
    return body


TRANSLATED = ("/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/v1/rerank")
PATHS = {path: damaged(orderly) for path, orderly in ORDERLY.items()}


@pytest.fixture(scope="module")
def app(orchestrator, tmp_path_factory):
    config = ServeConfig(home=tmp_path_factory.mktemp("home"), access="open")
    experts = {name: ScriptedExpert(name) for name in ("smollm2-135m", "gemma-3-270m")}
    experts["vectors"] = VectorExpert("vectors")
    return create_api(Gateway(config, LocalRouter(orchestrator), LocalLedger(config), experts))


def send(app, path, content):
    async def go():
        # What the application does not catch itself is raised here.
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
            return await web.post(path, content=content, headers={"content-type": "application/json"})

    return asyncio.run(go())


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


ENDS = {
    "/v1/responses": ["response.completed", "response.incomplete", "response.failed"],
    "/v1/messages": ["message_stop", "error"],
}


def check(path, reply):
    text = reply.content.decode("utf-8")
    if reply.headers["content-type"].startswith("text/event-stream"):
        lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        if path in ENDS:
            assert json.loads(lines[-1])["type"] in ENDS[path]
        else:
            assert lines.pop() == "[DONE]"
        for line in lines:
            json.dumps(json.loads(line, parse_constant=refuse), ensure_ascii=False).encode()
        return
    told = json.loads(text, parse_constant=refuse)
    if reply.status_code == 200:
        return
    assert 400 <= reply.status_code < 500, text
    is_anthropic = path.startswith("/v1/messages")
    assert set(told["error"]) == (
        {"type", "message"} if is_anthropic else {"message", "type", "param", "code"}
    )
    assert told.get("type") == ("error" if is_anthropic else None)
    assert told["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
def test_odd_requests_are_answered_or_refused(app, path):
    seen = []

    @given(PATHS[path])
    @settings(
        max_examples=200 if path in TRANSLATED else 400,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(body):
        reply = send(app, path, json.dumps(body).encode())
        check(path, reply)
        seen.append(reply.status_code)

    ask()
    if path != "/v1/feedback":  # of answers that there are not
        assert 0.1 * len(seen) < seen.count(200) < 0.9 * len(seen)


@pytest.mark.parametrize("path", PATHS)
def test_odd_bytes_are_refused(app, path):
    @given(st.data())
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(data):
        content = bytearray(
            json.dumps(data.draw(PATHS[path]), ensure_ascii=False).encode(errors="surrogatepass")
        )
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, max(0, len(content) - 1)))
            content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        check(path, send(app, path, bytes(content)))

    ask()


NOT_OBJECTS = [b"", b"[]", b"null", b'"x"', b"NaN", b"\xff\xfe", b"\xef\xbb\xbf{}"]
DEEP = [b"[" * 100_000, b'{"messages": ' + b"[" * 50_000]


@pytest.mark.parametrize("content", NOT_OBJECTS + DEEP)
def test_what_is_no_request_at_all_is_refused(app, content):
    for path in PATHS:
        check(path, send(app, path, content))
