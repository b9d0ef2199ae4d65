"""What a token costs: a price list, or a machine's hourly price at a measured throughput."""

from __future__ import annotations

from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Tokens = TypeVar("Tokens", float, NDArray[np.float64])

_MTOK = 1e6
_SECONDS_PER_HOUR = 3600.0
#: Of English text, about; for forecasts and where a recording has no counts. Never for what somebody pays.
CHARACTERS_PER_TOKEN = 4.0


class Price(BaseModel):
    """The price of an expert: either USD per million tokens, or USD per hour at a measured throughput.

    >>> Price(usd_per_mtok_in=0.5, usd_per_mtok_out=1.5).cost_usd(1_000_000, 0)
    0.5
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd_per_mtok_in: Money | None = Field(default=None, description="USD per million prompt tokens")
    usd_per_mtok_out: Money | None = Field(default=None, description="USD per million completion tokens")
    usd_per_mtok_cached_in: Money | None = Field(
        default=None,
        description="USD per million prompt tokens that the API had cached; as others if not given",
    )
    usd_per_hour: Money | None = Field(
        default=None, description="USD per hour of the hardware one replica holds"
    )
    tokens_per_s_in: Rate | None = Field(
        default=None, description="measured prompt tokens per second of one replica"
    )
    tokens_per_s_out: Rate | None = Field(
        default=None, description="measured completion tokens per second of one replica"
    )

    @model_validator(mode="after")
    def _one_complete_way(self) -> Price:
        per_token = (self.usd_per_mtok_in, self.usd_per_mtok_out)
        per_hour = (self.usd_per_hour, self.tokens_per_s_in, self.tokens_per_s_out)
        complete = [all(v is not None for v in way) for way in (per_token, per_hour)]
        started = [any(v is not None for v in way) for way in (per_token, per_hour)]
        if sum(complete) != 1 or started != complete:
            raise ValueError(
                "the price is incomplete, or given in two ways; "
                "give either usd_per_mtok_in and usd_per_mtok_out, "
                "or usd_per_hour, tokens_per_s_in and tokens_per_s_out"
            )
        if self.usd_per_mtok_cached_in is not None and self.usd_per_mtok_in is None:
            raise ValueError(
                "usd_per_mtok_cached_in belongs to a price per token; drop it, or give usd_per_mtok_in and "
                "usd_per_mtok_out"
            )
        if (self.usd_per_mtok_cached_in or 0.0) > (self.usd_per_mtok_in or 0.0):
            raise ValueError(
                f"usd_per_mtok_cached_in {self.usd_per_mtok_cached_in:g} exceeds usd_per_mtok_in "
                f"{self.usd_per_mtok_in:g}; cached tokens cost less, so check the two"
            )
        return self

    @property
    def usd_per_token(self) -> tuple[float, float]:
        """USD per prompt token and per completion token."""
        if self.usd_per_hour is not None and self.tokens_per_s_in and self.tokens_per_s_out:
            usd_per_s = self.usd_per_hour / _SECONDS_PER_HOUR
            return usd_per_s / self.tokens_per_s_in, usd_per_s / self.tokens_per_s_out
        return (self.usd_per_mtok_in or 0.0) / _MTOK, (self.usd_per_mtok_out or 0.0) / _MTOK

    def cost_usd(
        self, prompt_tokens: Tokens, completion_tokens: Tokens, cached_tokens: Tokens | float = 0.0
    ) -> Tokens:
        """Return the cost in USD of so many tokens; floats, or arrays of one shape (NaN stays NaN).

        ``cached_tokens`` are those of the prompt that the API had kept; they have a price of their own where
        the price list names one.
        """
        per_prompt, per_completion = self.usd_per_token
        cost: Tokens = prompt_tokens * per_prompt + completion_tokens * per_completion
        if self.usd_per_mtok_cached_in is not None:
            cost = cost - cached_tokens * (per_prompt - self.usd_per_mtok_cached_in / _MTOK)
        return cost
