"""The official clients of both APIs, unmodified, on one endpoint: they read what it says as their own."""

import asyncio
import json

import openai
import pytest
from able_api import TEXT, THOUGHT, AbleHandler
from pydantic import BaseModel

ASKED = "What is the capital of Peru?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"type": "function", "name": "find_city", "description": "finds one", "parameters": SCHEMA}
TOOL = {"name": "find_city", "description": "finds one", "input_schema": SCHEMA}


class City(BaseModel):
    city: str
    people_m: float


@pytest.fixture(scope="module")
def openai_client(endpoint):
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key=endpoint.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def anthropic_client(endpoint):
    import anthropic  # takes seconds, in every process that collects this file

    with anthropic.Anthropic(base_url=endpoint.url, api_key=endpoint.key, max_retries=0) as client:
        yield client


def responses_kinds(response):
    return [item.type for item in response.output]


def test_responses_whole(openai_client, endpoint):
    spent_usd = endpoint.spent_usd()
    answer = openai_client.responses.create(
        model="leeroo", input=ASKED, instructions="Be brief.", max_output_tokens=50, metadata={"a": "b"}
    )
    assert answer.output_text == TEXT
    assert (answer.status, answer.model, answer.metadata) == ("completed", "able", {"a": "b"})
    assert answer.usage.input_tokens == 40
    assert answer.usage.output_tokens == 9
    assert answer.id == f"resp_{answer.leeroo['request_id'].removeprefix('req-')}"
    assert AbleHandler.bodies[-1]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert AbleHandler.bodies[-1]["max_tokens"] == 50
    assert answer.leeroo["cost_usd"] == pytest.approx((40 + 4 * 9) / 1e6)
    assert endpoint.comes_to_usd(spent_usd + answer.leeroo["cost_usd"])
    cut = openai_client.responses.create(model="able", input=ASKED, max_output_tokens=1)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_responses_tools(openai_client):
    asked = [{"role": "user", "content": "think of the city"}]
    called = openai_client.responses.create(model="leeroo", input=asked, tools=[FUNCTION])
    assert responses_kinds(called) == ["reasoning", "function_call"]
    thought, call = called.output
    assert thought.content[0].text == THOUGHT
    assert json.loads(call.arguments) == {"city": "Lima"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "found"}
    said = openai_client.responses.create(
        model="leeroo", input=[*asked, *called.output, result], tools=[FUNCTION]
    )
    assert said.output_text == "The tool said: found"
    user, assistant, tool = AbleHandler.bodies[-1]["messages"]
    assert (user["role"], assistant["role"], tool["tool_call_id"]) == ("user", "assistant", call.call_id)
    both = openai_client.responses.create(
        model="leeroo", input="both", tools=[FUNCTION, {**FUNCTION, "name": "other"}], tool_choice="required"
    )
    assert [call.name for call in both.output] == ["find_city", "other"]


def test_responses_parse(openai_client):
    parsed = openai_client.responses.parse(model="leeroo", input=ASKED, text_format=City)
    assert parsed.output_parsed == City(city="Lima", people_m=7.5)
    chat = openai_client.chat.completions.parse(
        model="leeroo", messages=[{"role": "user", "content": ASKED}], response_format=City
    )
    assert chat.choices[0].message.parsed == City(city="Lima", people_m=7.5)


@pytest.mark.parametrize("asked", [ASKED, "think first"])
def test_responses_stream(openai_client, asked):
    kinds, text = [], ""
    with openai_client.responses.stream(model="leeroo", input=asked) as stream:
        for event in stream:
            kinds.append(event.type)
            text += event.delta if event.type == "response.output_text.delta" else ""
        final = stream.get_final_response()
    assert (kinds[:2], kinds[-1]) == (["response.created", "response.in_progress"], "response.completed")
    assert text == final.output_text == TEXT
    assert final.usage.total_tokens == 49
    assert final.leeroo["cost_usd"] > 0
    assert ("response.reasoning_text.done" in kinds) == ("think" in asked)


def test_responses_stream_of_calls(openai_client):
    tools = [FUNCTION, {**FUNCTION, "name": "other"}]
    with openai_client.responses.stream(model="able", input="both", tools=tools) as stream:
        numbers = [event.sequence_number for event in stream]
        final = stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    assert [(call.name, json.loads(call.arguments)) for call in final.output] == [
        ("find_city", {"city": "Lima"}),
        ("other", {"city": "Lima"}),
    ]


def test_responses_refusals(openai_client):
    for odd in (
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"conversation": "conv_1"},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        {"input": []},
        {"tool_choice": {"type": "mcp"}},
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.responses.create(**{"model": "leeroo", "input": ASKED, **odd})
        assert refused.value.param, odd
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.create(model="gpt-9", input=ASKED)


def test_messages_whole(anthropic_client, endpoint):
    spent_usd = endpoint.spent_usd()
    answer = anthropic_client.messages.create(
        model="leeroo", max_tokens=50, system="Be brief.", messages=[{"role": "user", "content": ASKED}]
    )
    assert [(block.type, block.text) for block in answer.content] == [("text", TEXT)]
    assert (answer.stop_reason, answer.model) == ("end_turn", "able")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (40, 9)
    assert endpoint.comes_to_usd(spent_usd + answer.leeroo["cost_usd"])
    cut = anthropic_client.messages.create(
        model="able", max_tokens=1, messages=[{"role": "user", "content": [{"type": "text", "text": ASKED}]}]
    )
    assert cut.stop_reason == "max_tokens"


def test_messages_tools(anthropic_client):
    asked = [{"role": "user", "content": "think of the city"}]
    called = anthropic_client.messages.create(model="leeroo", max_tokens=50, messages=asked, tools=[TOOL])
    assert [block.type for block in called.content] == ["thinking", "tool_use"]
    use = called.content[1]
    assert (called.stop_reason, use.name, use.input) == ("tool_use", "find_city", {"city": "Lima"})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "found"}]}
    turns = [
        *asked,
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": [result]},
    ]
    said = anthropic_client.messages.create(model="leeroo", max_tokens=50, messages=turns, tools=[TOOL])
    assert said.content[0].text == "The tool said: found"
    forced = {"type": "tool", "name": "other"}
    other = anthropic_client.messages.create(
        model="leeroo",
        max_tokens=50,
        messages=asked,
        tools=[TOOL, {**TOOL, "name": "other"}],
        tool_choice=forced,
    )
    assert other.content[-1].name == "other"


def test_messages_stream(anthropic_client):
    asked = [{"role": "user", "content": "think of both"}]
    tools = [TOOL, {**TOOL, "name": "other"}]
    with anthropic_client.messages.stream(model="able", max_tokens=9, messages=asked) as stream:
        assert "".join(stream.text_stream) == TEXT
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens, final.usage.input_tokens) == ("end_turn", 9, 40)
    with anthropic_client.messages.stream(model="able", max_tokens=9, messages=asked, tools=tools) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert [block.type for block in final.content] == ["thinking", "tool_use", "tool_use"]
    assert [block.input for block in final.content[1:]] == [{"city": "Lima"}] * 2
    assert final.stop_reason == "tool_use"


def test_messages_structured(anthropic_client):
    parsed = anthropic_client.messages.parse(
        model="leeroo",
        max_tokens=50,
        messages=[{"role": "user", "content": ASKED}],
        output_format=City,
    )
    assert parsed.parsed_output == City(city="Lima", people_m=7.5)


def test_tokens_are_counted(anthropic_client):
    def count(text):
        asked = [{"role": "user", "content": text}]
        return anthropic_client.messages.count_tokens(model="leeroo", messages=asked, tools=[TOOL])

    short, long = count(ASKED).input_tokens, count(ASKED * 100).input_tokens
    assert 10 < short < 200
    assert long > short + 100 * len(ASKED) / 6


def test_messages_refusals(anthropic_client, endpoint):
    import anthropic

    def ask(**odd):
        asked = {"model": "leeroo", "max_tokens": 9, "messages": [{"role": "user", "content": ASKED}]}
        return anthropic_client.messages.create(**asked | odd)

    picture = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    for odd in (
        {"max_tokens": 0},
        {"messages": []},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"name": "f"}]},
        {"messages": [{"role": "user", "content": [picture]}]},
        {"messages": [{"role": "user", "content": [{"type": "odd"}]}]},
        {"extra_body": {"temperature": 1.5}},
        {"extra_body": {"mcp_servers": [{"type": "url"}]}},
    ):
        with pytest.raises(anthropic.BadRequestError) as refused:
            ask(**odd)
        assert refused.value.body["type"] == "error", odd
        assert refused.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.NotFoundError) as unknown:
        ask(model="claude-9")
    assert unknown.value.body["error"]["type"] == "not_found_error"
    stranger = anthropic.Anthropic(base_url=endpoint.url, api_key="sk-none", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        stranger.messages.create(model="leeroo", max_tokens=9, messages=[{"role": "user", "content": ASKED}])
    assert refused.value.body["error"]["type"] == "authentication_error"


def test_both_at_once_and_asynchronous(endpoint):
    import anthropic

    async def ask():
        ours = openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key=endpoint.key)
        theirs = anthropic.AsyncAnthropic(base_url=endpoint.url, auth_token=endpoint.key, api_key=None)
        async with ours, theirs:
            turns = [{"role": "user", "content": ASKED}]
            whole, message, stream = await asyncio.gather(
                ours.responses.create(model="leeroo", input=ASKED),
                theirs.messages.create(model="leeroo", max_tokens=9, messages=turns),
                ours.responses.create(model="leeroo", input=ASKED, stream=True),
            )
            events = [event.type async for event in stream]
            async with theirs.messages.stream(model="leeroo", max_tokens=9, messages=turns) as streamed:
                final = await streamed.get_final_message()
        return whole.output_text, message.content[0].text, final.content[0].text, events[-1]

    assert asyncio.run(ask()) == (TEXT, TEXT, TEXT, "response.completed")
