"""The wire format of an operator's orders to a running endpoint."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Order(BaseModel):
    """What a running endpoint is to do."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["drain", "resume", "reload", "close", "open"] = Field(
        description="drain: send an expert no request any more; resume: send it requests again; reload: read"
        " the catalogue again; close: take no new requests, for maintenance; open: take them again"
    )
    expert: str | None = Field(None, max_length=200, description="which one; with drain and resume alone")
    retry_after_s: float | None = Field(
        None, gt=0, le=86_400, description="with close: what refused clients are told to wait; 30 by default"
    )

    @model_validator(mode="after")
    def _names_an_expert(self) -> Self:
        if (self.expert is None) == (self.action in ("drain", "resume")):
            raise ValueError("drain and resume name an expert, the other actions name none")
        if self.retry_after_s is not None and self.action != "close":
            raise ValueError("retry_after_s goes with close alone")
        return self
