"""What a request says in its headers beside its body."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from serve.wire.session_header import SESSION_HEADER


class RequestHeaders(BaseModel):
    """The headers that the paths which experts answer heed, beside the key."""

    model_config = ConfigDict(frozen=True)

    traceparent: str | None = Field(
        None, description="the caller's span (W3C Trace Context), where the endpoint traces"
    )
    session: str | None = Field(
        None,
        alias=SESSION_HEADER,
        description="the client's session, which stays with one expert; the operator may name another header",
    )
    cache_control: str | None = Field(
        None,
        alias="cache-control",
        description="where answers are cached: no-cache asks anew, no-store keeps nothing, max-age=60",
    )


NO_HEADERS = RequestHeaders()
