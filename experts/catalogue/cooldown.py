"""When the endpoint leaves an expert alone that keeps failing, and for how long."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

_MOST_FAILURES = 1_000_000
_DAY_S = 86_400.0


class Cooldown(BaseModel):
    """The rests of an expert: after so many failures in a row, each rest twice as long as the one before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_failures: int = Field(
        default=3, ge=1, le=_MOST_FAILURES, description="failures in a row after which it rests"
    )
    first_s: float = Field(default=5.0, gt=0, le=_DAY_S, description="seconds of its first rest")
    longest_s: float = Field(default=120.0, gt=0, le=_DAY_S, description="seconds that no rest exceeds")

    @model_validator(mode="after")
    def _ordered(self) -> Cooldown:
        if self.first_s > self.longest_s:
            raise ValueError(
                f"first_s {self.first_s:g} exceeds longest_s {self.longest_s:g}; change one of them"
            )
        return self

    def rest_s(self, strikes: int) -> float:
        """Return the seconds of the rest that so many failures in a row lead to; 0 for too few."""
        over = strikes - self.after_failures
        return 0.0 if over < 0 else min(self.first_s * 2.0 ** min(over, 32), self.longest_s)
