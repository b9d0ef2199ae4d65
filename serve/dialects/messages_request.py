"""A request to Anthropic's Messages API, and the chat completion that it asks for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.dialects.messages_turns import turns_of
from serve.dialects.parts import DialectRequest, chat_request, refuse
from serve.wire.protocol import ChatRequest

_MOST_MESSAGES = 2_048
_LONGEST_USER = 256
#: Anthropic's efforts, of which OpenAI has three.
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


class Turn(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["user", "assistant", "system"] = Field(description="who speaks")
    content: str | list[dict[str, Any]] = Field(description="a text, or a list of blocks")


class Metadata(BaseModel):
    """About the request."""

    user_id: str | None = Field(None, description="the end user, for the operator's records")


class OutputConfig(BaseModel):
    """What is wanted of the answer."""

    effort: str | None = Field(None, max_length=20, description="low, medium, high, xhigh or max")
    format: dict[str, Any] | None = Field(None, description="type json_schema, with a schema")


class CountRequest(DialectRequest):
    """What is read of a request to the Messages API: the conversation and the tools."""

    messages: list[Turn] = Field(min_length=1, max_length=_MOST_MESSAGES, description="the conversation")
    system: str | list[dict[str, Any]] | None = Field(None, description="the system prompt")
    tools: list[dict[str, Any]] | None = Field(None, description="tools that the client runs")
    tool_choice: dict[str, Any] | None = Field(None, description="of type auto, any, tool or none")
    thinking: dict[str, Any] | None = Field(
        None, description="taken, and not heeded: thoughts are shown where an expert shows them"
    )
    output_config: OutputConfig | None = Field(None, description="effort, and the form of the answer")

    def to_chat(self) -> ChatRequest:
        """Return what is asked, as a chat completion.

        Raises:
            ApiError: it asks for what a chat completion has not.
        """
        config, choice = self.output_config or OutputConfig(), self.tool_choice or {}
        tools = [_tool(tool, f"tools.{position}") for position, tool in enumerate(self.tools or ())]
        alone = choice.get("disable_parallel_tool_use") is True
        fields = {
            "messages": turns_of(self.system, [(turn.role, turn.content) for turn in self.messages]),
            "tools": tools or None,
            "tool_choice": _choice(choice) if tools else None,
            "parallel_tool_calls": False if tools and alone else None,
            "reasoning_effort": _EFFORTS.get(config.effort or ""),
            "response_format": None if config.format is None else _format(config.format),
        }
        return chat_request(self, fields | self._sampling())

    def _sampling(self) -> dict[str, Any]:
        return {}


class MessagesRequest(CountRequest):
    """A request to the Messages API."""

    max_tokens: int = Field(ge=1, le=2**31 - 1, description="completion tokens at most")
    temperature: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="0 is greedy")
    top_k: int | None = Field(None, ge=1, le=2**31 - 1, description="for experts that take it")
    stop_sequences: list[str] | None = Field(None, max_length=100, description="texts that end the answer")
    metadata: Metadata | None = Field(None, description="about the request")
    mcp_servers: list[dict[str, Any]] | None = Field(None, description="not here, unless empty")
    container: str | dict[str, Any] | None = Field(None, description="not here")

    def to_chat(self) -> ChatRequest:
        """Return what is asked, as a chat completion.

        Raises:
            ApiError: it asks for what a chat completion has not.
        """
        if self.mcp_servers or self.container:
            refuse(
                "no tools are run here; give tools that the client runs",
                "mcp_servers" if self.mcp_servers else "container",
            )
        return super().to_chat()

    def _sampling(self) -> dict[str, Any]:
        user = None if self.metadata is None else self.metadata.user_id
        return {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "stop": self.stop_sequences or None,
            "user": None if user is None else user[:_LONGEST_USER],
        }


def _tool(tool: dict[str, Any], place: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind not in (None, "custom"):
        refuse(
            f"tools of type {str(kind)[:100]!r} are Anthropic's own; give tools with an input_schema",
            f"{place}.type",
        )
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        refuse("a tool needs a name", f"{place}.name")
    if not isinstance(tool.get("input_schema"), dict):
        refuse("a tool needs an input_schema", f"{place}.input_schema")
    inner = {name: tool[name] for name in ("name", "description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": inner | {"parameters": tool["input_schema"]}}


def _choice(choice: dict[str, Any]) -> str | dict[str, Any] | None:
    kind = choice.get("type", "auto")
    if kind == "tool" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    words = {"auto": "auto", "any": "required", "none": "none"}
    if not isinstance(kind, str) or kind not in words:
        refuse("give one of type auto, any, none, or tool with a name", "tool_choice")
    return words[kind]


def _format(told: dict[str, Any]) -> dict[str, Any]:
    if told.get("type") != "json_schema" or not isinstance(told.get("schema"), dict):
        refuse("give a format of type json_schema with a schema", "output_config.format")
    schema = {"name": "answer", "schema": told["schema"], "strict": True}
    return {"type": "json_schema", "json_schema": schema}
