import asyncio

from anthropic import AsyncAnthropic
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from tried import ASKED, CITY, KEY, TEXT, URL, V1, City, tries

ours = OpenAIProvider(base_url=V1, api_key=KEY)
theirs = AnthropicProvider(anthropic_client=AsyncAnthropic(base_url=URL, api_key=KEY))
MODELS = {
    "`OpenAIChatModel`": lambda: OpenAIChatModel("leeroo", provider=ours),
    "`OpenAIResponsesModel`": lambda: OpenAIResponsesModel("leeroo", provider=ours),
    "`AnthropicModel`": lambda: AnthropicModel("leeroo", provider=theirs),
}


def agent_with_tool(model):
    agent = Agent(model)

    @agent.tool_plain
    def find_city(city: str) -> str:
        """Find a city."""
        return f"{city} found"

    return agent


async def whole_streamed_tools_structured(model):
    assert (await Agent(model).run(ASKED)).output == TEXT
    async with Agent(model).run_stream(ASKED) as stream:
        assert await stream.get_output() == TEXT
    assert (await agent_with_tool(model).run(ASKED)).output == "The tool said: Lima found"
    assert (await Agent(model, output_type=City).run(ASKED)).output == CITY


for name, make in MODELS.items():

    @tries(f"{name}: whole, streamed, with tools, structured")
    def attempt(make=make):
        asyncio.run(whole_streamed_tools_structured(make()))
