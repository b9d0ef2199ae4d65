"""The wire format: OpenAI's chat requests with our extensions, and the replies of our own paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from serve.wire.constraints import Constraints
from serve.wire.expert_request import ExpertRequest
from serve.wire.overview import ExpertState

_MAX_MESSAGES = 2_048
_PARTS_OF_TEXT = ("text", "refusal")


class Message(BaseModel):
    """One turn of a conversation. Fields beyond these go to the expert as they are."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        description="who speaks"
    )
    content: str | list[dict[str, Any]] | None = Field(None, description="a text, or a list of parts")

    @field_validator("content")
    @classmethod
    def _has_parts(cls, content: str | list[dict[str, Any]] | None) -> str | list[dict[str, Any]] | None:
        for part in content if isinstance(content, list) else ():
            kind = part.get("type")
            if not isinstance(kind, str):
                raise ValueError("each part needs a type that is a text, such as text or image_url")
            if kind in _PARTS_OF_TEXT and not isinstance(part.get(kind), str):
                raise ValueError(f"a part of type {kind} needs a text named {kind}")
        return content

    @property
    def text(self) -> str:
        """The words of the turn, without what is not text."""
        if isinstance(self.content, list):
            return "\n".join(str(part["text"]) for part in self.content if isinstance(part.get("text"), str))
        return self.content or ""


class StreamOptions(BaseModel):
    """Options for data that a stream carries besides the text."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = Field(None, description="send the token counts in a last chunk")


class CompletionOptions(ExpertRequest):
    """The common fields of chat and text completions. OpenAI's other fields go to the expert as they are."""

    model_config = ConfigDict(extra="allow")

    stream: bool | None = Field(None, description="send the answer as server-sent events")
    stream_options: StreamOptions | None = Field(None, description="only with stream")
    max_tokens: int | None = Field(None, ge=1, le=2**31 - 1, description="completion tokens at most")
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False, description="0 is greedy")
    top_p: float | None = Field(None, gt=0, le=1, description="nucleus sampling")
    n: int | None = Field(None, ge=1, le=16, description="answers to return")
    best_of: int | None = Field(
        None, ge=1, le=20, description="answers generated, of which the best are returned; all are paid"
    )
    stop: str | list[str] | None = Field(None, description="texts that end the answer")
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, description="for repeatable sampling")

    @property
    def wants_usage(self) -> bool:
        """Whether a stream should end with the token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def limit(self) -> int | None:
        """Completion tokens at most, where the request says so."""
        return self.max_tokens


class ChatRequest(CompletionOptions):
    """A chat completion."""

    messages: list[Message] = Field(min_length=1, max_length=_MAX_MESSAGES, description="the conversation")
    max_completion_tokens: int | None = Field(
        None, ge=1, le=2**31 - 1, description="completion tokens at most"
    )
    prompt: None = Field(None, exclude=True, description="not here: it belongs to /v1/completions")

    @field_validator("prompt", mode="before")
    @classmethod
    def _is_no_text(cls, prompt: object) -> None:
        if prompt is not None:
            raise ValueError("a chat completion takes messages; a prompt belongs to /v1/completions")

    @property
    def limit(self) -> int | None:
        """Completion tokens at most, where the request says so; of two limits, the higher."""
        return max(filter(None, (self.max_tokens, self.max_completion_tokens)), default=None)

    @property
    def query(self) -> str:
        """What the router reads; see :func:`last_asked`."""
        return last_asked(self.messages)


def last_asked(messages: Sequence[Message]) -> str:
    """Return the last thing the user said that is a text, else the last text, else nothing."""
    spoken = ""
    for message in reversed(messages):
        if message.role == "user" or not spoken:
            text = message.text
            if not text or text.isspace():
                continue
            if message.role == "user":
                return text
            spoken = text
    return spoken


def _only_text(prompt: object) -> object:
    if not isinstance(prompt, list):
        return prompt
    if [type(part) for part in prompt] != [str]:
        raise ValueError("give one text: prompts are answered one a request, and token ids are not taken")
    return prompt[0]


_TEXT = {"type": "string", "minLength": 1}
_TEXT_OR_LIST = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 1}]}


class TextRequest(CompletionOptions):
    """A text completion, of one prompt."""

    prompt: Annotated[str, BeforeValidator(_only_text), WithJsonSchema(_TEXT_OR_LIST)] = Field(
        min_length=1, description="the text to continue; a list may hold only one"
    )
    messages: None = Field(None, exclude=True, description="not here: they belong to /v1/chat/completions")
    max_completion_tokens: None = Field(None, exclude=True, description="not here: use max_tokens")

    @field_validator("messages", "max_completion_tokens", mode="before")
    @classmethod
    def _is_no_chat(cls, value: object) -> None:
        if value is not None:
            raise ValueError(
                "a text completion takes prompt and max_tokens; this belongs to /v1/chat/completions"
            )

    @property
    def query(self) -> str:
        """What the router reads: the prompt."""
        return self.prompt


class RouteRequest(Constraints):
    """Ask who would answer, without calling anyone. Give ``messages``, or the text as ``query``; not both."""

    model_config = ConfigDict(extra="forbid")

    query: str | None = Field(None, min_length=1, max_length=1_000_000, description="the text to route")
    messages: list[Message] | None = Field(
        None, min_length=1, max_length=_MAX_MESSAGES, description="the conversation to route"
    )
    preset: str | None = Field(
        None, min_length=1, max_length=100, description="how much a point of success is worth, by name"
    )

    @model_validator(mode="after")
    def _is_one_question(self) -> Self:
        if (self.query is None) == (self.messages is None):
            raise ValueError("give either query or messages")
        return self

    @property
    def text(self) -> str:
        """What the router reads, as it does of a chat completion."""
        return self.query if self.query is not None else last_asked(self.messages or ())


class ExpertForecast(BaseModel):
    """The forecast for one expert on one query."""

    expert: str = Field(description="its name")
    success: float = Field(description="expected score, 0 to 1")
    cost_usd: float = Field(description="expected cost of its answer in USD")
    served: bool = Field(description="whether this endpoint runs it")


class RouteReply(BaseModel):
    """The expert that would answer, its fallbacks, and the reason."""

    expert: str = Field(description="the expert that answers")
    fallbacks: list[str] = Field(description="the fallbacks, in order")
    reason: str = Field(description="why, in words")
    multiplier: float = Field(description="price on cost that was used: success that one USD must buy")
    router_version: str = Field(description="version of the orchestrator that decided")
    forecasts: list[ExpertForecast] = Field(description="one per expert that the router knows")


class Promise(BaseModel):
    """A preset of the router in use, and the expected cost and score of a query with it.

    Figures are per query, over questions like those that the router learned from, with their 95% intervals;
    null where the router was saved without them, and for keys that may use a part of its experts.
    """

    multiplier: float = Field(description="success that one USD must buy")
    cost_usd: float | None = Field(None, description="expected cost of an answer in USD")
    cost_low_usd: float | None = Field(None, description="lower end of its interval")
    cost_high_usd: float | None = Field(None, description="upper end of its interval")
    success: float | None = Field(None, description="expected score, 0 to 1")
    success_low: float | None = Field(None, description="lower end of its interval")
    success_high: float | None = Field(None, description="upper end of its interval")


class ModelCard(BaseModel):
    """One model that a request may name."""

    id: str = Field(description="the value for `model`")
    object: Literal["model"] = Field(default="model", description="always model")
    created: int = Field(description="start of this endpoint, in seconds since 1970")
    owned_by: str = Field(description="leeroo for routed names, else the backend")
    leeroo: Promise | None = Field(None, description="for a preset: its expected cost and score")


class ModelList(BaseModel):
    """The models that a request may name."""

    object: Literal["list"] = Field(default="list", description="always list")
    data: list[ModelCard] = Field(description="routed names first, then the experts")


class Health(BaseModel):
    """The endpoint is alive; the reply lists the experts it serves."""

    status: Literal["ok"] = Field(default="ok", description="always ok")
    router_version: str = Field(description="version of the orchestrator in use")
    experts: list[str] = Field(description="the experts that it serves")


class ErrorDetail(BaseModel):
    """The details of an error."""

    message: str = Field(description="what is wrong, for people")
    type: str = Field(description="OpenAI's class of error")
    param: str | None = Field(None, description="the field to correct")
    code: str | None = Field(None, description="machine-readable cause")


class ErrorReply(BaseModel):
    """Every refusal has this shape."""

    error: ErrorDetail = Field(description="what is wrong")


class Readiness(BaseModel):
    """Whether requests can be answered, and which experts are out of service: after failures, or drained."""

    ready: bool = Field(description="whether at least one expert is in service")
    experts: dict[str, ExpertState] = Field(description="each expert's state")


class Reply(BaseModel):
    """The common fields of OpenAI's two completions, with our ``leeroo`` object (who answered, and why)."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="id of the answer")
    created: int = Field(description="seconds since 1970")
    model: str = Field(description="the expert that answered")
    choices: list[dict[str, Any]] = Field(description="the answers")
    usage: dict[str, Any] | None = Field(None, description="token counts")
    leeroo: dict[str, Any] = Field(description="expert, router version, forecasts, cost, fallbacks, reason")


class TextReply(Reply):
    """OpenAI's text completion."""

    object: Literal["text_completion"] = Field(description="always text_completion")


class ChatReply(Reply):
    """OpenAI's chat completion."""

    object: Literal["chat.completion"] = Field(description="always chat.completion")
