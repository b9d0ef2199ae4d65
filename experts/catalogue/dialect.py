"""How an API words requests where it differs from OpenAI: fields renamed, left out, bounded or added."""

from __future__ import annotations

import math
import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

#: The two names of the limit on completion tokens; engines differ in which one wins.
LIMITS = ("max_completion_tokens", "max_tokens")

#: Without these there is no request, or another one than was asked for.
_OURS = ("model", "messages", "prompt", "stream")
#: They decide what a request may cost, which is reckoned with before it is sent.
_MONEY = (*LIMITS, "n", "best_of")
_NO_LOGPROBS = ("logprobs", "top_logprobs")
_OLD_LIMIT = {"max_completion_tokens": "max_tokens"}
_CREDENTIAL = re.compile(
    r"secret|password|credential|api_key|access_key|(session|ad|auth|bearer)_token", re.IGNORECASE
)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OUR_HEADERS = frozenset(("host", "content-length", "content-type", "transfer-encoding", "connection"))
_KEY_HEADERS = frozenset(("authorization", "api-key", "x-api-key", "x-goog-api-key", "proxy-authorization"))

#: The differences of well-known APIs. What is missing here is found by ``leeroo experts check``.
PRESETS: dict[str, dict[str, Any]] = {
    "openai-reasoning": {
        "rename": {"max_tokens": "max_completion_tokens"},
        "drop": (
            "temperature",
            "top_p",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            *_NO_LOGPROBS,
        ),
    },
    "anthropic": {
        "drop": ("presence_penalty", "frequency_penalty", "logit_bias", "seed", *_NO_LOGPROBS),
        "cap": {"temperature": 1.0},
    },
    "azure": {"key_header": "api-key"},
    "cohere": {
        "rename": _OLD_LIMIT,
        "drop": ("logit_bias", "top_logprobs", "user", "parallel_tool_calls", "stream_options"),
        "cap": {"temperature": 1.0},
    },
    "deepseek": {"rename": _OLD_LIMIT, "drop": ("logit_bias", "seed", "user", "parallel_tool_calls")},
    "gemini": {"drop": ("logit_bias", "seed", "user", "parallel_tool_calls", *_NO_LOGPROBS)},
    "groq": {"drop": ("logit_bias", *_NO_LOGPROBS)},
    "llama-cpp": {"rename": _OLD_LIMIT},
    "mistral": {
        "rename": {**_OLD_LIMIT, "seed": "random_seed"},
        "drop": ("logit_bias", "user", "stream_options", *_NO_LOGPROBS),
        "cap": {"temperature": 1.5},
    },
    "ollama": {"rename": _OLD_LIMIT, "drop": ("logit_bias", "user", "parallel_tool_calls")},
    "openrouter": {"body": {"usage": {"include": True}}, "headers": {"X-Title": "Leeroo Orchestrator"}},
    "vllm": {"rename": _OLD_LIMIT},
    "xai-reasoning": {
        "rename": {"max_tokens": "max_completion_tokens"},
        "drop": ("presence_penalty", "frequency_penalty", "logit_bias"),
    },
}


class Dialect(BaseModel):
    """How an API's requests differ from OpenAI's: the name of a preset, fields, or both.

    Applied in this order: ``default``, ``cap``, ``drop``, ``rename``, ``body``. Fields given beside a preset
    add to it and override it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str | None = Field(default=None, description=f"a known API: {', '.join(PRESETS)}")
    rename: dict[str, str] = Field(
        default_factory=dict, description="OpenAI's field names and the API's names for them"
    )
    drop: tuple[str, ...] = Field(default=(), description="fields that are never sent")
    default: dict[str, Any] = Field(
        default_factory=dict, description="values for fields that a request does not set"
    )
    cap: dict[str, float] = Field(default_factory=dict, description="maximum values of fields")
    headers: dict[str, str] = Field(default_factory=dict, description="HTTP headers of every request")
    body: dict[str, Any] = Field(default_factory=dict, description="fields of every request")
    key_header: str = Field(default="authorization", description="header of the key; Bearer in authorization")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"preset": given}
        if not isinstance(given, dict) or given.get("preset") is None:
            return given
        if (name := given["preset"]) not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; use one of {', '.join(PRESETS)}")
        merged = dict(given)
        for field, value in PRESETS[name].items():
            own = given.get(field)
            if isinstance(value, dict) and (own is None or isinstance(own, dict)):
                merged[field] = {**value, **(own or {})}
            elif isinstance(value, tuple) and (own is None or isinstance(own, list | tuple)):
                merged[field] = tuple(dict.fromkeys((*value, *(own or ()))))
            else:
                merged[field] = value if own is None else own
        return merged

    @field_validator("rename", "drop")
    @classmethod
    def _keeps_the_request(cls, fields: Any) -> Any:
        names = [*fields, *fields.values()] if isinstance(fields, dict) else fields
        for name in names:
            if name in _OURS:
                raise ValueError(f"{name!r} is what a request is made of; leave it out")
        return fields

    @field_validator("default", "body")
    @classmethod
    def _spends_no_more(cls, fields: dict[str, Any]) -> dict[str, Any]:
        for name in fields:
            if name in _OURS:
                raise ValueError(f"{name!r} is what a request is made of; leave it out")
            if _CREDENTIAL.search(name):
                raise ValueError(
                    f"{name!r} would write a credential into a file; name its variable in"
                    " `api_key_env:`, or leave it to the environment of the process"
                )
            if name in LIMITS:
                raise ValueError(f"{name!r} decides what a request may cost; set `max_tokens:` of the expert")
            if name in _MONEY:
                raise ValueError(f"{name!r} decides what a request may cost; leave it to the caller")
        return fields

    @field_validator("cap")
    @classmethod
    def _caps_are_numbers(cls, cap: dict[str, float]) -> dict[str, float]:
        for name, value in cap.items():
            if not math.isfinite(value) or value < 0 or (name in _MONEY and value < 1):
                raise ValueError(
                    f"a cap of {value:g} on {name!r} leaves nothing to ask with; give a larger one"
                )
        return cap

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an HTTP header; write letters, digits and dashes")
            if name.lower() in _KEY_HEADERS:
                raise ValueError(
                    f"the header {name!r} would write a key into a file; name its variable in `api_key_env:` "
                    f"and the header in `key_header:`"
                )
            if name.lower() in _OUR_HEADERS:
                raise ValueError(f"the header {name!r} belongs to the connection; leave it out")
            if not all(" " <= char <= "~" for char in value):
                raise ValueError(f"the header {name!r} holds what no header can; write ASCII on one line")
        return headers

    @field_validator("key_header")
    @classmethod
    def _key_header(cls, name: str) -> str:
        if not _HEADER.fullmatch(name) or name.lower() in _OUR_HEADERS:
            raise ValueError(f"{name!r} is no header for a key; write authorization, api-key or x-api-key")
        return name.lower()

    @model_validator(mode="after")
    def _renames_apart(self) -> Self:
        targets = [theirs for ours, theirs in self.rename.items() if ours not in LIMITS]
        if doubled := {target for target in targets if targets.count(target) > 1}:
            raise ValueError(f"two fields are renamed to {min(doubled)!r}; keep one of them")
        return self

    @property
    def sends_limit(self) -> bool:
        """Whether a limit on completion tokens is sent at all, under either name."""
        return not set(LIMITS) <= set(self.drop)

    def shape(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return fields with defaults, caps and omissions, still by OpenAI's names.

        A limit on completion tokens whose name is not sent goes by the other name: it is money.
        """
        shaped = {**self.default, **{name: value for name, value in fields.items() if value is not None}}
        for name, most in self.cap.items():
            value = shaped.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > most:
                shaped[name] = int(most) if isinstance(value, int) and most == int(most) else most
        for name in self.drop:
            value = shaped.pop(name, None)
            if name in LIMITS and value is not None and self.sends_limit:
                _put_limit(shaped, LIMITS[1 - LIMITS.index(name)], value)
        return shaped

    def word(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a request as the API wants them."""
        worded: dict[str, Any] = {}
        for name, value in self.shape(fields).items():
            target = self.rename.get(name, name)
            if name in LIMITS or target in LIMITS:
                _put_limit(worded, target, value)
            else:
                worded.setdefault(target, value)
        return worded | self.body

    def without(self, field: str) -> Dialect | None:
        """Return a dialect that no longer sends a field; None where it must not, or need not, be left out.

        ``field`` is a name as it was sent. A limit on completion tokens takes its other name; what a caller
        asked for and would miss (tools, a format, stop words, more answers, log-probabilities) stays.
        """
        name = next((ours for ours, theirs in self.rename.items() if theirs == field), field)
        if field in LIMITS:
            other = LIMITS[1 - LIMITS.index(field)]
            rename = {ours: theirs for ours, theirs in self.rename.items() if ours not in LIMITS}
            tried = self.rename.get(field) == other or self.rename.get(other) == field
            return None if tried else self.model_copy(update={"rename": rename | {field: other}})
        if name not in MAY_BE_DROPPED or name in self.drop:
            return None
        return self.model_copy(update={"drop": (*self.drop, name)})


#: Fields that an answer is not worse without, should an API refuse them.
MAY_BE_DROPPED = frozenset(
    ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "user", "stream_options")
) | {"parallel_tool_calls", "reasoning_effort", "verbosity"}


def _put_limit(fields: dict[str, Any], name: str, value: Any) -> None:
    """Set a limit; of two under one name the smaller one holds."""
    there = fields.get(name)
    are_numbers = isinstance(there, int | float) and isinstance(value, int | float)
    fields[name] = min(there, value) if are_numbers else value
