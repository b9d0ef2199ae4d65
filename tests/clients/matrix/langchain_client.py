import asyncio

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from tried import ASKED, CITY, KEY, TEXT, URL, V1, City, tries

chat_model = ChatOpenAI(model="leeroo", base_url=V1, api_key=KEY)
of_responses = ChatOpenAI(model="leeroo", base_url=V1, api_key=KEY, use_responses_api=True)
of_messages = ChatAnthropic(model="leeroo", base_url=URL, api_key=KEY, max_tokens=99)


@tool
def find_city(city: str) -> str:
    """Find a city."""
    return f"{city} found"


def with_tools(model):
    model = model.bind_tools([find_city])
    turns = [HumanMessage(ASKED)]
    called = model.invoke(turns)
    (call,) = called.tool_calls
    assert call["args"] == {"city": "Lima"}
    said = model.invoke(
        [*turns, called, ToolMessage(find_city.invoke(call["args"]), tool_call_id=call["id"])]
    )
    assert said.text == "The tool said: Lima found"


@tries("`ChatOpenAI`, whole, streamed, asynchronous")
def chat():
    assert chat_model.invoke(ASKED).text == TEXT
    assert "".join(piece.text for piece in chat_model.stream(ASKED)) == TEXT
    assert asyncio.run(chat_model.ainvoke(ASKED)).text == TEXT


@tries("`ChatOpenAI` with tools")
def tools():
    with_tools(chat_model)


@tries("`ChatOpenAI`, structured output")
def structured():
    assert chat_model.with_structured_output(City).invoke(ASKED) == CITY


@tries("`ChatOpenAI` by the Responses API")
def responses():
    assert of_responses.invoke(ASKED).text == TEXT
    assert "".join(piece.text for piece in of_responses.stream(ASKED)) == TEXT
    with_tools(of_responses)


@tries("`ChatAnthropic`, whole, streamed, with tools")
def messages():
    assert of_messages.invoke(ASKED).text == TEXT
    assert "".join(piece.text for piece in of_messages.stream(ASKED)) == TEXT
    with_tools(of_messages)


@tries("`OpenAIEmbeddings`, also asynchronous")
def embeddings():
    # Texts go as they are: else it would cut them by the tokenizer of OpenAI's models, and send numbers.
    vectors = OpenAIEmbeddings(model="vectors", base_url=V1, api_key=KEY, check_embedding_ctx_length=False)
    assert vectors.embed_documents(["one", "three"]) == [[3.0, 0.5], [5.0, 0.5]]
    assert vectors.embed_query("four") == [4.0, 0.5]
    assert asyncio.run(vectors.aembed_documents(["one"])) == [[3.0, 0.5]]
