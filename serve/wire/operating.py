"""The wire format of an operator's orders to a running endpoint."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Order(BaseModel):
    """What a running endpoint is to do."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["drain", "resume", "reload"] = Field(
        description="drain: send an expert no request any more; resume: send it requests again; reload: read"
        " the catalogue again"
    )
    expert: str | None = Field(None, max_length=200, description="which one; not with reload")

    @model_validator(mode="after")
    def _names_an_expert(self) -> Self:
        if (self.expert is None) != (self.action == "reload"):
            raise ValueError("drain and resume name an expert, reload names none")
        return self
