import asyncio
import json

import openai
from tried import ASKED, CITY, KEY, TEXT, V1, City, refusal, tries

client = openai.OpenAI(base_url=V1, api_key=KEY)
TURNS = [{"role": "user", "content": ASKED}]
FUNCTION = {"name": "find_city", "parameters": City.model_json_schema()}
TOOLS = [{"type": "function", "function": FUNCTION}]


@tries("chat")
def chat():
    assert client.chat.completions.create(model="leeroo", messages=TURNS).choices[0].message.content == TEXT


@tries("chat, streamed")
def chat_streamed():
    pieces = client.chat.completions.create(model="leeroo", messages=TURNS, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == TEXT


@tries("chat, asynchronous")
def chat_async():
    async def ask():
        async with openai.AsyncOpenAI(base_url=V1, api_key=KEY) as ours:
            return await ours.chat.completions.create(model="leeroo", messages=TURNS)

    assert asyncio.run(ask()).choices[0].message.content == TEXT


@tries("tools")
def tools():
    answer = client.chat.completions.create(model="leeroo", messages=TURNS, tools=TOOLS)
    call = answer.choices[0].message.tool_calls[0]
    turns = [*TURNS, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "found"}]
    said = client.chat.completions.create(model="leeroo", messages=turns, tools=TOOLS)
    assert said.choices[0].message.content == "The tool said: found"


@tries("chat `.parse`")
def chat_parse():
    answer = client.chat.completions.parse(model="leeroo", messages=TURNS, response_format=City)
    assert answer.choices[0].message.parsed == CITY


@tries("responses")
def responses():
    assert client.responses.create(model="leeroo", input=ASKED).output_text == TEXT


@tries("responses, streamed")
def responses_streamed():
    with client.responses.stream(model="leeroo", input=ASKED) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text == TEXT


@tries("responses with tools")
def responses_tools():
    tool = {"type": "function", **FUNCTION, "strict": False}
    (call,) = client.responses.create(model="leeroo", input=ASKED, tools=[tool]).output
    assert json.loads(call.arguments)["city"] == "Lima"


@tries("responses `.parse`")
def responses_parse():
    assert client.responses.parse(model="leeroo", input=ASKED, text_format=City).output_parsed == CITY


@tries("embeddings")
def embeddings():
    answer = client.embeddings.create(model="vectors", input=["one", "three"])
    assert [one.embedding for one in answer.data] == [[3.0, 0.5], [5.0, 0.5]]
    assert answer.usage.prompt_tokens == 16


@tries("errors as its own classes")
def errors():
    asked = {"model": "leeroo", "input": ASKED, "previous_response_id": "resp_1"}
    error = refusal(openai.BadRequestError, lambda: client.responses.create(**asked))
    assert error.param == "previous_response_id"
