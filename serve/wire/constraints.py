"""Our extensions to every request: who may answer, and how many and how long for one answer."""

from __future__ import annotations

from pydantic import BaseModel, Field

from serve.wire.limits import MOST_EXPERTS_ASKED, SHORTEST_LATENCY_S


class Constraints(BaseModel):
    """Our extensions: limits on who may answer."""

    max_cost_usd: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="leave out experts expected to cost more than this"
    )
    min_success: float | None = Field(
        None, ge=0, le=1, description="prefer experts expected to succeed at least this often"
    )
    multiplier: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="price on cost: success that one USD must buy"
    )
    experts: list[str] | None = Field(
        None, min_length=1, max_length=100, description="the only experts that may answer"
    )


class AnswerLimits(Constraints):
    """Our extensions to a request for an answer; the same in every dialect."""

    max_experts_asked: int | None = Field(
        None,
        ge=1,
        le=MOST_EXPERTS_ASKED,
        description="experts that may answer, one after the other, while answers are not usable or, with"
        " leeroo:ensemble, do not settle it; 1 takes the first answer as it is",
    )
    max_latency_s: float | None = Field(
        None,
        ge=SHORTEST_LATENCY_S,
        allow_inf_nan=False,
        description="seconds for the answer (of a stream that goes out as it comes, for its first piece);"
        " nobody else is asked beside an answer that is there then",
    )
