"""Feedback on an answer, as it goes over the wire."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_MOST_CHARACTERS = 100_000  # of what is said of an answer


class FeedbackRequest(BaseModel):
    """How good an answer was: a score or a thumb, and in words if the request's texts are kept."""

    model_config = ConfigDict(extra="forbid")

    request_id: str = Field(
        min_length=1, max_length=100, description="the answer's leeroo.request_id, or its x-leeroo-request-id"
    )
    score: float | None = Field(None, ge=0, le=1, description="0 is useless, 1 is right")
    thumb: Literal["up", "down"] | None = Field(None, description="instead of a score")
    demonstration: str | None = Field(
        None, min_length=1, max_length=_MOST_CHARACTERS, description="the answer as it should have been"
    )
    comment: str | None = Field(None, min_length=1, max_length=_MOST_CHARACTERS, description="in words")
    level: Literal["request", "conversation"] = Field(
        "request", description="what it is about: this answer, or the conversation up to it"
    )
    source: Literal["api", "playground"] = Field("api", description="where it was given")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.score is not None and self.thumb is not None:
            raise ValueError("give a score or a thumb, not both")
        if self.value is None and self.demonstration is None and self.comment is None:
            raise ValueError("give a score, a thumb, a demonstration or a comment")
        return self

    @property
    def value(self) -> float | None:
        """The score, 1 for a thumb up and 0 for one down; None where there is neither."""
        return self.score if self.thumb is None else float(self.thumb == "up")

    @property
    def kind(self) -> Literal["score", "thumb", "demonstration", "comment"]:
        """The kind of feedback: the field that counts most."""
        if self.value is not None:
            return "score" if self.thumb is None else "thumb"
        return "comment" if self.demonstration is None else "demonstration"


class FeedbackReply(BaseModel):
    """The confirmation that feedback was recorded."""

    recorded: Literal[True] = Field(default=True, description="always true")
    texts_kept: bool | None = Field(
        None,
        description="whether comment and demonstration are kept: they are if texts are recorded",
    )
