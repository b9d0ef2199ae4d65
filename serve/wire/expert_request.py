"""What every request that an expert is to answer has: whom it is for, whose it is, what the expert gets."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from experts.catalogue.spec import Task
from serve.wire.constraints import AnswerLimits

ROUTED = "leeroo"  # the model name that routes; "leeroo:<preset>" names how much a point of success is worth

_OURS = {*AnswerLimits.model_fields, "model", "stream", "stream_options"}


class ExpertRequest(AnswerLimits):
    """A request that goes to an expert, but for our extensions. Fields that are not named here go too."""

    model_config = ConfigDict(extra="allow")

    task: ClassVar[Task] = "chat"  # that an expert has to offer

    model: str = Field(
        ROUTED,
        max_length=200,
        description="leeroo, leeroo:quality, leeroo:balanced, leeroo:economy, leeroo:ensemble, or an expert",
    )
    user: str | None = Field(None, max_length=256, description="the end user, for the operator's records")

    _for_expert: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _can_be_passed_on(self) -> Self:
        try:
            self._for_expert = self.model_dump(exclude_unset=True, exclude=_OURS)
        except (ValueError, RecursionError):
            raise ValueError("it is nested too deep") from None
        return self

    @property
    def may_be_kept(self) -> bool:
        """Whether anything may be kept of the request beside its cost: not where it says ``store: false``."""
        return (self.model_extra or {}).get("store") is not False

    def for_expert(self) -> dict[str, Any]:
        """Return the request without our extensions, as an expert gets it: once made, not to be changed."""
        return self._for_expert
