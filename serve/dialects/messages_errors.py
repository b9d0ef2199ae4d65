"""Errors as Anthropic's API words them: ``{"type": "error", "error": {"type", "message"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from serve.wire.api_errors import ApiError

_TYPES = {404: "not_found_error", 408: "timeout_error", 413: "request_too_large"}
_TYPES |= {503: "overloaded_error", 504: "timeout_error"}


class MessagesErrorDetail(BaseModel):
    """The details of an error."""

    type: str = Field(description="Anthropic's class of error")
    message: str = Field(description="what is wrong, for people")


class MessagesError(BaseModel):
    """Every refusal of the Messages API has this shape."""

    type: Literal["error"] = Field(default="error", description="always error")
    error: MessagesErrorDetail = Field(description="what is wrong")


def error_body(error: ApiError) -> dict[str, Any]:
    """Return an error in Anthropic's shape."""
    told = error.body()["error"]
    kind = _TYPES.get(error.status) or type_of(told)
    return {"type": "error", "error": {"type": kind, "message": told["message"]}}


def type_of(told: Mapping[str, Any]) -> str:
    """Return Anthropic's type of an error in OpenAI's shape: the same, but for a fault of the server."""
    kind = str(told.get("type"))
    return "api_error" if kind == "server_error" else kind
