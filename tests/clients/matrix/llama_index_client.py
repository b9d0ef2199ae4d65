import asyncio

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from tried import ASKED, CITY, KEY, TEXT, V1, City, tries

told = {"model": "leeroo", "api_base": V1, "api_key": KEY, "is_chat_model": True}
model = OpenAILike(**told, is_function_calling_model=True, context_window=8000)
TURNS = [ChatMessage(role="user", content=ASKED)]


@tries("chat")
def chat():
    assert model.chat(TURNS).message.content == TEXT


@tries("chat, streamed")
def streamed():
    assert "".join(piece.delta or "" for piece in model.stream_chat(TURNS)) == TEXT


@tries("chat, asynchronous")
def asynchronous():
    assert asyncio.run(model.achat(TURNS)).message.content == TEXT


@tries("tools")
def tools():
    def find_city(city: str) -> str:
        """Find a city."""
        return f"{city} found"

    tool = FunctionTool.from_defaults(find_city)
    assert model.predict_and_call([tool], user_msg=ASKED).response == "Lima found"


@tries("structured output")
def structured():
    assert model.as_structured_llm(City).chat(TURNS).raw == CITY


@tries("embeddings, also asynchronous")
def embeddings():
    vectors = OpenAILikeEmbedding(model_name="vectors", api_base=V1, api_key=KEY)
    assert vectors.get_text_embedding_batch(["one", "three"]) == [[3.0, 0.5], [5.0, 0.5]]
    assert vectors.get_query_embedding("four") == [4.0, 0.5]
    assert asyncio.run(vectors.aget_text_embedding("one")) == [3.0, 0.5]
