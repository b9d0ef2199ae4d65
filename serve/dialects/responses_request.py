"""A request to OpenAI's Responses API, and the chat completion that it asks for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.dialects.parts import DialectRequest, chat_request, refuse
from serve.dialects.responses_input import turns_of
from serve.dialects.responses_tools import choice_of, tools_of
from serve.wire.protocol import ChatRequest

#: Fields that would need what is not kept or not run here, and what to do instead.
_NOT_HERE = {
    "previous_response_id": "no responses are kept here; send the whole conversation as input",
    "conversation": "no conversations are kept here; send the whole conversation as input",
    "prompt": "no prompts are kept here; send instructions and input",
    "background": "nothing is answered in the background here; leave it out",
}
_LOGPROBS = "message.output_text.logprobs"


class TextFormat(BaseModel):
    """The form that the text of the answer has to have."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    type: Literal["text", "json_object", "json_schema"] = Field(description="text, or JSON of a kind")
    name: str | None = Field(None, max_length=100, description="name of the schema")
    schema_: dict[str, Any] | None = Field(None, alias="schema", description="the JSON schema")
    strict: bool | None = Field(None, description="whether the answer must fit the schema exactly")
    description: str | None = Field(None, description="of the schema")


class TextOptions(BaseModel):
    """What is wanted of the text of an answer."""

    format: TextFormat | None = Field(None, description="text (the default), json_object or json_schema")
    verbosity: str | None = Field(None, max_length=20, description="low, medium or high")


class ReasoningOptions(BaseModel):
    """What is wanted of the thoughts before an answer."""

    effort: str | None = Field(None, max_length=20, description="low, medium, high, ...")
    summary: str | None = Field(None, max_length=20, description="not made here: thoughts come as they are")


class ResponsesRequest(DialectRequest):
    """A request to the Responses API. Nothing is kept: a conversation is sent whole, with each request."""

    input: str | list[dict[str, Any]] = Field(description="a text, or the items of a conversation")
    instructions: str | None = Field(None, description="the system prompt")
    max_output_tokens: int | None = Field(None, ge=1, le=2**31 - 1, description="completion tokens at most")
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False, description="0 is greedy")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="log-probabilities for each token")
    text: TextOptions | None = Field(None, description="the form of the answer")
    reasoning: ReasoningOptions | None = Field(None, description="how much to think")
    tools: list[dict[str, Any]] | None = Field(
        None, description="functions and custom tools, which the client runs"
    )
    tool_choice: str | dict[str, Any] | None = Field(None, description="auto, none, required, or a tool")
    parallel_tool_calls: bool | None = Field(None, description="whether to call several tools at once")
    metadata: dict[str, Any] | None = Field(None, description="returned as it is")
    include: list[str] | None = Field(None, description=f"{_LOGPROBS} is heeded")
    user: str | None = Field(None, max_length=256, description="the end user, for the operator's records")
    store: bool | None = Field(
        None, description="false: nothing is recorded of it but its cost; responses are never kept"
    )
    previous_response_id: str | None = Field(None, description="not here: no responses are kept")
    conversation: str | dict[str, Any] | None = Field(None, description="not here: none are kept")
    prompt: dict[str, Any] | None = Field(None, description="not here: none are kept")
    background: bool | None = Field(None, description="not here, unless false")

    def to_chat(self) -> ChatRequest:
        """Return what is asked, as a chat completion.

        Raises:
            ApiError: it asks for what a chat completion has not.
        """
        for name, advice in _NOT_HERE.items():
            if getattr(self, name):
                refuse(advice, name)
        text = self.text or TextOptions()
        choice, named = choice_of(self.tool_choice)
        tools = tools_of(self.tools or [], named)
        wants_logprobs = self.top_logprobs is not None or _LOGPROBS in (self.include or ())
        fields = {
            "messages": turns_of(self.instructions, self.input),
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "logprobs": wants_logprobs or None,
            "top_logprobs": self.top_logprobs,
            "response_format": None if text.format is None else _format(text.format),
            "verbosity": text.verbosity,
            "reasoning_effort": None if self.reasoning is None else self.reasoning.effort,
            "tools": tools or None,
            "tool_choice": choice if tools else None,
            "parallel_tool_calls": self.parallel_tool_calls if tools else None,
            "metadata": self.metadata,
            "user": self.user,
            "store": False if self.store is False else None,
        }
        return chat_request(self, fields)


def _format(told: TextFormat) -> dict[str, Any] | None:
    if told.type == "text":
        return None
    if told.type == "json_object":
        return {"type": "json_object"}
    if told.schema_ is None:
        refuse("a format of type json_schema needs a schema", "text.format.schema")
    schema = {"name": told.name or "answer", "schema": told.schema_, "strict": told.strict}
    schema["description"] = told.description
    return {
        "type": "json_schema",
        "json_schema": {name: value for name, value in schema.items() if value is not None},
    }
