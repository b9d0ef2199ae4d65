"""What an expert can do, as its catalogue entry states it. What nobody states may be tried."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def yes_or_no(value: Any) -> Any:
    """Return YAML's truth value, which it makes of a bare yes or no, as a word again."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


YesNo = Annotated[Literal["yes", "no", "unknown"], BeforeValidator(yes_or_no)]


class Capabilities(BaseModel):
    """What an expert can do: a stated ``no`` keeps requests that need it away, ``unknown`` may be tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tools: YesNo = Field(default="unknown", description="whether it calls tools")
    parallel_tools: YesNo = Field(default="unknown", description="whether it calls several tools at once")
    json_schema: YesNo = Field(
        default="unknown", description="whether it takes a response_format of type json_schema"
    )
    vision: YesNo = Field(default="unknown", description="whether it reads images")
    audio: YesNo = Field(default="unknown", description="whether it hears sound")
    files: YesNo = Field(default="unknown", description="whether it reads attached files, such as PDF")
    reasoning_effort: YesNo = Field(default="unknown", description="whether it takes reasoning_effort")
    languages: tuple[str, ...] = Field(
        default=(), description="languages that it answers well in, as ISO 639 codes; empty: not known"
    )

    @field_validator("languages")
    @classmethod
    def _codes(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        for code in languages:
            if not _LANGUAGE.fullmatch(code):
                raise ValueError(f"{code!r} is no language code; write ISO 639 codes such as en, de or pt-BR")
        return languages


#: The fields that are yes, no or unknown.
ABILITIES = tuple(name for name in Capabilities.model_fields if name != "languages")
