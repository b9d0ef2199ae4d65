"""When the endpoint asks a second expert beside one that is slow to answer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Hedge(BaseModel):
    """The wait for an expert before another is asked beside it; none where neither field is given.

    Source: Dean and Barroso, *The tail at scale*, 2013, which hedges after the 95th percentile.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_s: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="seconds without an answer, or a first token"
    )
    percentile: float | None = Field(
        default=None,
        ge=50,
        lt=100,
        allow_inf_nan=False,
        description="the same by its own latest answers: the percentage of them that came sooner",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Hedge:
        if self.after_s is not None and self.percentile is not None:
            raise ValueError("after_s and percentile both say when to hedge; keep one of them")
        return self

    @property
    def is_on(self) -> bool:
        """Whether a second expert is ever asked."""
        return self.after_s is not None or self.percentile is not None
