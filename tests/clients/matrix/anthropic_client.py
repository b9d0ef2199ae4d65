import asyncio

import anthropic
from tried import ASKED, CITY, KEY, TEXT, URL, City, refusal, tries

client = anthropic.Anthropic(base_url=URL, api_key=KEY)
ASK = {"model": "leeroo", "max_tokens": 99, "messages": [{"role": "user", "content": ASKED}]}
TOOL = {"name": "find_city", "input_schema": City.model_json_schema()}


@tries("messages")
def messages():
    assert client.messages.create(**ASK).content[0].text == TEXT


@tries("messages, streamed")
def streamed():
    with client.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream) == TEXT
        assert stream.get_final_message().stop_reason == "end_turn"


@tries("messages, asynchronous")
def asynchronous():
    async def ask():
        async with anthropic.AsyncAnthropic(base_url=URL, api_key=KEY) as ours:
            return await ours.messages.create(**ASK)

    assert asyncio.run(ask()).content[0].text == TEXT


@tries("tools")
def tools():
    called = client.messages.create(**ASK, tools=[TOOL])
    (use,) = called.content
    assert use.input == CITY.model_dump()
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "found"}
    turns = [
        *ASK["messages"],
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": [result]},
    ]
    said = client.messages.create(**{**ASK, "messages": turns}, tools=[TOOL])
    assert said.content[0].text == "The tool said: found"


@tries("`messages.parse`")
def parse():
    assert client.messages.parse(**ASK, output_format=City).parsed_output == CITY


@tries("`count_tokens`")
def count():
    assert client.messages.count_tokens(model="leeroo", messages=ASK["messages"]).input_tokens > 5


@tries("errors as its own classes")
def errors():
    asked = {**ASK, "model": "claude-9"}
    error = refusal(anthropic.NotFoundError, lambda: client.messages.create(**asked))
    assert error.body["error"]["type"] == "not_found_error"
