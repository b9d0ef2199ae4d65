"""A request on its way: what was decided about it, and what may be spent on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from serve.experts.handle import ExpertClient
from serve.ledger.messages import Caller
from serve.router.messages import Ruling
from serve.wire.protocol import ChatRequest, TextRequest

CompletionRequest = ChatRequest | TextRequest


@dataclass(frozen=True)
class Plan:
    """Who is to answer, in which order, and why; no ruling where the caller named the expert."""

    order: tuple[str, ...]
    reason: str
    ruling: Ruling | None = None


@dataclass(frozen=True)
class Job:
    """One request on its way: who asks what, who may answer in which order, and since when."""

    request_id: str
    request: CompletionRequest
    caller: Caller
    began: float  # on the clock of time.monotonic
    body: dict[str, Any]  # as the experts get it
    order: tuple[ExpertClient, ...]
    plan: Plan
    remaining_usd: float | None  # of the budget, beyond what this request may cost
    reserved_usd: float
    failures: list[tuple[str, int]] = field(default_factory=list)  # expert and status, as they come
