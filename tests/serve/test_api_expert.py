"""An expert behind an API: what is passed on to it, and what is made of its refusals."""

import asyncio
import json

import httpx
import openai
import pytest

from experts import ExpertSpec
from serve.experts.api_expert import ApiExpert
from serve.wire.api_errors import ExpertFailure

SPEC = ExpertSpec(
    name="api",
    backend="openai",
    model="m",
    base_url="http://upstream/v1",
    price={"usd_per_mtok_in": 1, "usd_per_mtok_out": 1},
    max_retries=0,
)
ASKED = {"messages": [{"role": "user", "content": "hello"}]}
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}


@pytest.fixture
def sent():
    return []


@pytest.fixture
def expert(sent):
    def upstream(request):
        sent.append(json.loads(request.content))
        return httpx.Response(200, json=ANSWER)

    expert = ApiExpert(SPEC)
    web = httpx.AsyncClient(transport=httpx.MockTransport(upstream))
    expert._client = openai.AsyncOpenAI(base_url=SPEC.base_url, api_key="k", http_client=web)
    return expert


def test_options_that_change_price_or_model_are_not_passed_on(expert, sent):
    kept = {"temperature": 0.5, "max_tokens": 5, "tools": [{"type": "function", "function": {"name": "f"}}]}
    dropped = {
        "service_tier": "priority",
        "models": ["dear"],
        "provider": {"order": ["dear"]},
        "web_search_options": {},
        "store": True,
        "extra_headers": {"X-A": "b"},
    }
    answer = asyncio.run(expert.answer(ASKED | kept | dropped))
    assert answer["model"] == "api"
    assert sent == [ASKED | kept | {"model": "m", "stream": False}]


@pytest.mark.parametrize(
    "body",
    [
        ASKED | {"tools": [{"type": "web_search"}]},
        ASKED | {"tools": [{"name": "no type"}]},
        ASKED | {"tools": 5},
        ASKED | {"logit_bias": {"1": float("nan")}},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": ASKED["messages"], "prompt": "x"},
    ],
)
def test_what_cannot_be_passed_on_is_the_requests_fault(expert, sent, body):
    failure = asyncio.run(expert.answer(body))
    assert isinstance(failure, ExpertFailure)
    assert failure.status == 400
    assert not failure.is_our_fault
    assert sent == []
