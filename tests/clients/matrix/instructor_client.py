import anthropic
import instructor
import openai
from tried import ASKED, CITY, KEY, URL, V1, City, tries

TURNS = [{"role": "user", "content": ASKED}]
client = openai.OpenAI(base_url=V1, api_key=KEY)


@tries("by tools")
def by_tools():
    ours = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    assert ours.chat.completions.create(model="leeroo", messages=TURNS, response_model=City).city == CITY.city


@tries("by a JSON schema")
def by_schema():
    ours = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
    assert ours.chat.completions.create(model="leeroo", messages=TURNS, response_model=City).city == CITY.city


@tries("by a partial stream")
def partial():
    ours = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    *_, last = ours.chat.completions.create_partial(model="leeroo", messages=TURNS, response_model=City)
    assert City(**last.model_dump()) == CITY


@tries("by the Messages API's tools")
def by_messages():
    ours = instructor.from_anthropic(anthropic.Anthropic(base_url=URL, api_key=KEY))
    assert (
        ours.messages.create(model="leeroo", max_tokens=99, messages=TURNS, response_model=City).city
        == CITY.city
    )
