"""A request on its way: what was decided about it, what may be spent on it, and who works on it now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from experts.forms import AnswerForm
from experts.upstream import Ask
from serve.experts.client import ExpertClient
from serve.ledger.messages import Caller, Verdict
from serve.request.charges import RequestBudget
from serve.request.tracing.notes import UNTRACED, Notes
from serve.request.usable.whole_answer import WholeReply
from serve.router.messages import Ruling
from serve.wire.protocol import ChatRequest, TextRequest
from serve.wire.request_headers import NO_HEADERS, RequestHeaders
from serve.wire.vectors import EmbeddingsRequest, RerankRequest

CompletionRequest = ChatRequest | TextRequest | EmbeddingsRequest | RerankRequest


@dataclass(frozen=True)
class Dice:
    """The random draws for one request; None in ``explores`` if exploring is off for it."""

    share: float
    temperature: float
    explores: bool | None


@dataclass(frozen=True)
class Plan:
    """The experts that are to answer, in order, and why; no ruling if the caller named the expert."""

    order: tuple[str, ...]
    reason: str
    ruling: Ruling | None = None
    may_explore: bool = True  # unless a conversation stays where it is, or several are asked
    greedy: str | None = None  # who comes first where nobody is drawn
    propensities: dict[str, float] = field(default_factory=dict)  # chance of each to be asked first
    explored: bool = False  # another than the greedy choice was drawn


@dataclass
class InFlight:
    """One request on its way: who asks what, who may answer in which order, and since when."""

    request_id: str
    request: CompletionRequest
    caller: Caller
    began: float  # on the clock of time.monotonic
    asks: dict[str, Ask]  # by expert, as it is asked
    order: tuple[ExpertClient, ...]
    plan: Plan
    budget_usd: float | None  # what the key had left with nothing set aside for this request
    purse: RequestBudget
    form: AnswerForm  # that an answer has to have
    dice: Dice  # whether it explores
    preset: str | None = None  # what it is routed by, if not by a multiplier
    session: bytes | None = None  # stands for the session that it belongs to, where it names one
    decide_s: float | None = None  # from its admission to the router's decision
    failures: list[tuple[str, int]] = field(default_factory=list)  # expert and status, as they come
    verdicts: list[Verdict] = field(default_factory=list)  # on the answers that came
    at_work: set[str] = field(default_factory=set)  # the experts that it was sent to, and that work on it
    asked_at: float = 0.0  # when it was sent to an expert last, on the clock of time.monotonic
    has_left: bool = False  # its caller is gone: nobody else is to be asked
    notes: Notes = UNTRACED
    keep_answer: Callable[[WholeReply], None] | None = None  # takes its answer into the cache

    @property
    def most_answers(self) -> int:
        """How many experts may give an answer before the best of their answers is taken."""
        return min(
            filter(None, (self.request.max_experts_asked, self.caller.max_experts_asked, len(self.order)))
        )

    @property
    def max_latency_s(self) -> float | None:
        """How long the answer may take, if its request or its key says so; the shorter of both."""
        return min(filter(None, (self.request.max_latency_s, self.caller.max_latency_s)), default=None)


@dataclass
class Visit:
    """Somebody who waits for a request, and what is noted of it; it is in flight once it was let in."""

    notes: Notes = UNTRACED
    headers: RequestHeaders = NO_HEADERS
    job: InFlight | None = None
