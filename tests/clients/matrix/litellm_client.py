import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it looks for a list of prices on the internet

import litellm
from tried import ASKED, CITY, KEY, TEXT, URL, V1, City, tries

TURNS = [{"role": "user", "content": ASKED}]
OURS = {"model": "openai/leeroo", "api_base": V1, "api_key": KEY}


@tries("chat")
def chat():
    answer = litellm.completion(messages=TURNS, **OURS)
    assert answer.choices[0].message.content == TEXT
    assert answer.usage.total_tokens == 49


@tries("chat, streamed")
def streamed():
    pieces = litellm.completion(messages=TURNS, stream=True, **OURS)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == TEXT


@tries("chat, asynchronous")
def asynchronous():
    answer = asyncio.run(litellm.acompletion(messages=TURNS, **OURS))
    assert answer.choices[0].message.content == TEXT


@tries("structured outputs")
def structured():
    answer = litellm.completion(messages=TURNS, response_format=City, **OURS)
    assert City.model_validate_json(answer.choices[0].message.content) == CITY


@tries("responses")
def responses():
    assert litellm.responses(input=ASKED, **OURS).output[0].content[0].text == TEXT


@tries("messages, as `anthropic/`")
def messages():
    told = {"model": "anthropic/leeroo", "api_base": URL, "api_key": KEY}
    assert litellm.completion(messages=TURNS, max_tokens=99, **told).choices[0].message.content == TEXT
