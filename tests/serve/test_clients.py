"""Clients that people have, unmodified, against the web application on a port."""

import asyncio
import json

import openai
import pytest

CAPITAL = [{"role": "user", "content": "What is the capital of Peru?"}]
SAID = "gemma-3-270m says hello"
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}}


@pytest.fixture
def base(local_url):
    return {"base_url": f"{local_url}/v1", "api_key": "none"}


def text(pieces):
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def test_openai(base):
    client = openai.OpenAI(**base)
    assert "leeroo" in [model.id for model in client.models.list()]
    answer = client.chat.completions.create(model="leeroo:quality", messages=CAPITAL)
    assert answer.choices[0].message.content == SAID
    asked = {"model": "leeroo", "messages": CAPITAL, "stream": True}
    assert text(client.chat.completions.create(**asked)) == "onetwothree"
    for prompt in ("2 + 2 =", ["2 + 2 ="]):
        assert client.completions.create(model="leeroo", prompt=prompt).choices[0].text.endswith("hello")
    for prompts in (["2 + 2 =", "3 + 3 ="], [1, 2], [[1, 2]], []):
        with pytest.raises(openai.BadRequestError, match="one text"):
            client.completions.create(model="leeroo", prompt=prompts)
    assert client.models.retrieve("leeroo:economy").owned_by == "leeroo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    raw = client.chat.completions.with_raw_response.create(model="leeroo:economy", messages=CAPITAL)
    assert raw.headers["x-leeroo-expert"] == "smollm2-135m"
    limited = client.chat.completions.create(
        model="leeroo:quality", messages=CAPITAL, extra_body={"experts": ["smollm2-135m"]}
    )
    assert limited.model == "smollm2-135m"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-9", messages=CAPITAL)


def test_openai_async(base):
    async def talk():
        async with openai.AsyncOpenAI(**base) as client:
            answer = await client.chat.completions.create(model="leeroo:quality", messages=CAPITAL)
            stream = await client.chat.completions.create(
                model="leeroo", messages=CAPITAL, stream=True, stream_options={"include_usage": True}
            )
            return answer, [piece async for piece in stream]

    answer, pieces = asyncio.run(talk())
    assert answer.choices[0].message.content == SAID
    assert text(pieces) == "onetwothree"
    assert pieces[-1].usage.total_tokens == 150


def test_litellm(base):
    import litellm  # takes seconds, in every process that collects this file

    asked = {"model": "openai/leeroo:quality", "messages": CAPITAL, **base}
    answer = litellm.completion(**asked)
    assert answer.choices[0].message.content == SAID
    assert answer.usage.total_tokens == 150
    assert text(litellm.completion(**asked, stream=True)) == "onetwothree"
    assert asyncio.run(litellm.acompletion(**asked)).choices[0].message.content == SAID
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**asked | {"model": "openai/gpt-9"})


def test_tools_and_formats_reach_the_expert_as_they_are(base, local_experts):
    client = openai.OpenAI(**base)
    asked = {"tools": TOOLS, "tool_choice": "auto", "response_format": SCHEMA, "logprobs": True}
    called = [
        *CAPITAL,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "Lima"},
    ]
    client.chat.completions.create(model="gemma-3-270m", messages=called, **asked)
    (body,) = local_experts["gemma-3-270m"].bodies
    assert body == {"messages": called, **asked}
    assert json.dumps(body)
