"""What an expert is: a model, how it is run, how it is asked, and what it costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from experts.catalogue.bundled_models import BUNDLED_MODELS, BUNDLED_PREFIX
from experts.catalogue.capabilities import Capabilities, YesNo
from experts.catalogue.cooldown import Cooldown
from experts.catalogue.dialect import Dialect
from experts.catalogue.hedge import Hedge
from experts.catalogue.pricing import Price, price_at
from experts.catalogue.prompts import DEFAULT_TEMPLATES, check_template
from experts.catalogue.retries import Retries

#: What an expert can be asked: for an answer, for vectors of texts, for the order of documents.
Task = Literal["chat", "embeddings", "rerank"]
_ROUTER = "leeroo"  # and "leeroo:<preset>": what requests put into `model` to be routed


def _as_list(value: Any) -> Any:
    """One price is a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


class Resources(BaseModel):
    """What one replica of an expert holds, and how many replicas there may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_gpus: float = Field(default=0, ge=0, description="GPUs per replica; 0 runs on the CPU")
    num_cpus: float = Field(default=1, ge=0, description="logical CPUs per replica, as Ray counts them")
    accelerator_type: str | None = Field(
        default=None, description="Ray accelerator type, such as A100 or H100"
    )
    node_labels: dict[str, str] = Field(
        default_factory=dict,
        description="labels that a node must have, as Ray's label selectors word them, such as "
        "{region: eu} or {spot: '!true'}",
    )
    replicas_min: int = Field(default=1, ge=0, description="replicas kept when idle; 0 scales to zero")
    replicas_max: int = Field(default=1, ge=1, description="replicas at full load")

    @model_validator(mode="after")
    def _ordered(self) -> Resources:
        if self.replicas_min > self.replicas_max:
            raise ValueError(
                f"replicas_min {self.replicas_min} exceeds replicas_max {self.replicas_max}; change one"
            )
        return self


class ExpertSpec(BaseModel):
    """One expert: a model, how it is run, how it is asked, and what it costs."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(min_length=1, max_length=200, description="unique name, shown everywhere")
    backend: str = Field(description="how the model is asked: vllm, openai, litellm or recorded")
    model: str = Field(
        min_length=1,
        description="hub id, local folder, bundled:<name>, or the API's model name; litellm: provider/name",
    )
    prices: Annotated[tuple[Price, ...], BeforeValidator(_as_list)] = Field(
        alias="price",
        min_length=1,
        description="what its tokens cost: one price, or a list by the day from which each holds",
    )
    revision: str | None = Field(default=None, description="commit or tag of the model on the hub")
    engine: dict[str, Any] = Field(
        default_factory=dict, description="vLLM engine options, passed on as they are"
    )
    lora: str | None = Field(
        default=None, description="folder or hub id of a LoRA adapter on top of the model"
    )
    resources: Resources = Field(default_factory=lambda: Resources(), description="hardware and replicas")
    prompt: str | None = Field(default=None, description="template with {question}, {choices}, {letters}")
    scoring: Literal["letter", "cloze", "generate"] = Field(
        default="letter",
        description="multiple choice by likelihood of the letters, of the options' text, or by generation",
    )
    chat: bool = Field(default=False, description="wrap the prompt in the model's chat template")
    max_tokens: int = Field(default=64, ge=1, description="maximum completion tokens of a free-form answer")
    temperature: float = Field(default=0.0, ge=0, le=2, allow_inf_nan=False, description="0 is greedy")
    stop: tuple[str, ...] = Field(default=(), description="texts that end a free-form answer")
    context_tokens: int | None = Field(
        default=None, ge=1, description="context window; the model's own when not given"
    )
    params_b: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="parameters, in billions"
    )
    trust_remote_code: bool = Field(default=False, description="run code from the model's repository")
    base_url: str | None = Field(
        default=None, description="openai: address of the API; OpenAI's own when not given"
    )
    api_key_env: str | None = Field(
        default=None, description="openai: environment variable that holds the key"
    )
    concurrency: int = Field(default=16, ge=1, description="openai: maximum requests in flight")
    timeout_s: float = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="openai: timeout of an attempt, in seconds"
    )
    max_retries: int = Field(default=5, ge=0, description="openai: retries in rounds, with backoff")
    retries: Retries = Field(
        default_factory=Retries, description="attempts of the endpoint after the first, by class of failure"
    )
    first_token_s: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="seconds in which a stream shows something, before the endpoint asks the next expert",
    )
    cooldown: Cooldown = Field(
        default_factory=Cooldown, description="after how many failures it is left alone, and for how long"
    )
    hedge: Hedge = Field(
        default_factory=Hedge, description="how long it may take before another is asked beside it"
    )
    dialect: Dialect = Field(
        default_factory=Dialect, description="openai: how the API words requests; a preset's name, or fields"
    )
    bills_failures: YesNo = Field(
        default="unknown",
        description="openai: whether the API bills calls without an answer; unknown counts as yes in budgets",
    )
    on_leave: Literal["cancel", "finish"] = Field(
        default="cancel",
        description="openai: whether a whole answer whose caller left is cut off, or let finish for its bill",
    )
    requests_per_min: int | None = Field(
        default=None, ge=1, description="openai: maximum requests in any minute"
    )
    tokens_per_min: int | None = Field(
        default=None, ge=1, description="openai: maximum tokens requested in any minute"
    )
    recording: str | None = Field(
        default=None, description="recorded: Parquet file or folder with the answers to replay"
    )
    tool_parser: str | None = Field(
        default=None, description="vllm: its parser of the model's tool calls, such as hermes"
    )
    offers: tuple[Task, ...] = Field(
        default=("chat",),
        min_length=1,
        description="what it can be asked: chat (completions too); embeddings and rerank of APIs",
    )
    capabilities: Capabilities = Field(
        default_factory=Capabilities, description="what it can do: a stated no keeps such requests away"
    )
    tags: tuple[str, ...] = Field(default=(), description="free-form labels")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not name.isprintable() or name != name.strip():
            raise ValueError("a name goes into headers and tables: no line breaks, no blanks around it")
        if name == _ROUTER or name.startswith(f"{_ROUTER}:"):
            raise ValueError(f"{name!r} asks the router, and would be no expert's any more")
        return name

    @field_validator("prices")
    @classmethod
    def _by_day(cls, prices: tuple[Price, ...]) -> tuple[Price, ...]:
        days = [price.since for price in prices[1:]]
        if None in days:
            raise ValueError("a later price says no day; give each price after the first its `since:`")
        dated = [price.since for price in prices if price.since is not None]
        if dated != sorted(set(dated)):
            raise ValueError("the prices are not in the order of their days; sort them by `since:`")
        return prices

    @field_validator("prompt")
    @classmethod
    def _template(cls, prompt: str | None) -> str | None:
        if prompt is not None:
            check_template(prompt)
        return prompt

    @field_validator("model")
    @classmethod
    def _model(cls, model: str, info: ValidationInfo) -> str:
        if model != model.strip() or not model.isprintable():
            raise ValueError("a model's name is one line; take the line breaks and blanks around it away")
        if info.data.get("backend") == "litellm" and not all(map(str.strip, model.split("/"))):
            raise ValueError(f"{model!r} names no provider and model; write PROVIDER/MODEL, nothing empty")
        if info.data.get("backend") == "litellm" and "/" not in model:
            raise ValueError(f"{model!r} names no provider; write PROVIDER/MODEL")
        if model.startswith(BUNDLED_PREFIX) and model not in BUNDLED_MODELS:
            raise ValueError(f"unknown bundled model {model!r}; use one of {', '.join(BUNDLED_MODELS)}")
        return model

    @field_validator("base_url")
    @classmethod
    def _address(cls, base_url: str | None) -> str | None:
        if base_url is None:
            return None
        try:
            parts = urlsplit(base_url)
            complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # brackets that do not close, a port that is no number
            complete = False
        if not complete:
            raise ValueError(f"{base_url!r} is no web address; write https://HOST/v1 or http://HOST:PORT/v1")
        return base_url

    @model_validator(mode="after")
    def _fits_backend(self) -> ExpertSpec:
        for is_used, backends, refusal in _BELONGS:
            if is_used(self) and self.backend not in backends:
                raise ValueError(refusal)
        return self

    @property
    def price(self) -> Price:
        """The price that holds now. Who sets money aside by it also charges by it: see ``Ask.price``."""
        return self.price_at(datetime.now(UTC))

    def price_at(self, when: datetime) -> Price:
        """Return the price that holds at a moment; a day begins at midnight UTC."""
        return price_at(self.prices, when)

    @property
    def version(self) -> str:
        """Hash (12 hex digits) of what decides the answers: model, adapter, templates, scoring, sampling."""
        choice = self.prompt or DEFAULT_TEMPLATES[self.scoring]
        free = self.prompt or DEFAULT_TEMPLATES["free"]
        content: list[object] = [self.model, self.revision, self.lora, choice, free, self.scoring, self.chat]
        content += [self.max_tokens, self.temperature, list(self.stop)]
        sampling = {"max_tokens": self.max_tokens, "temperature": self.temperature, "stop": list(self.stop)}
        told = {name: value for name, value in self.dialect.body.items() if name != "usage"}
        if (shaped := self.dialect.shape(sampling) | told) != sampling:
            content.append(shaped)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


#: What belongs to some backends alone: whether a spec uses it, whose it is, and what is said to others.
_BELONGS: tuple[tuple[Callable[[ExpertSpec], bool], tuple[str, ...], str], ...] = (
    (
        lambda spec: spec.offers != ("chat",),
        ("openai",),
        "embeddings and rerank are asked of APIs alone; set `backend: openai` or drop `offers:`",
    ),
    (
        lambda spec: spec.scoring == "cloze",
        ("vllm", "recorded"),
        "scoring cloze needs the vllm backend; set `scoring:` to letter or generate",
    ),
    (
        lambda spec: spec.model.startswith(BUNDLED_PREFIX),
        ("vllm",),
        "bundled models run on the vllm backend alone; set `backend: vllm`",
    ),
    (
        lambda spec: spec.dialect != Dialect(),
        ("openai", "litellm"),
        "dialect is for APIs; set `backend: openai` or drop it",
    ),
    (
        lambda spec: bool(spec.lora),
        ("vllm",),
        "lora needs the vllm backend; set `backend: vllm` or drop it",
    ),
)
