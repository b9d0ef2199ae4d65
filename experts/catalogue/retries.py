"""How often the endpoint asks an expert again before it goes on to the next."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_MOST = 10


class Retries(BaseModel):
    """Further attempts of the endpoint at one request, by class of failure; none where nothing is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overloaded: int = Field(default=0, ge=0, le=_MOST, description="after 429, 529 and the like")
    unreachable: int = Field(default=0, ge=0, le=_MOST, description="where no connection was made")
    server_error: int = Field(default=0, ge=0, le=_MOST, description="after 5xx, and replies that are none")
    timeout: int = Field(default=0, ge=0, le=_MOST, description="where nothing came in time, or it broke off")
