"""What happens to a request: who should answer is decided, they are asked, and the answer says so."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from serve.breaker import Breaker
from serve.clients import LedgerClient, RouterClient
from serve.config import ServeConfig
from serve.conversations import Conversations, loses_little
from serve.dispatch import Answered, first_answer
from serve.errors import ApiError, ExpertFailure
from serve.expert_client import Answer, ExpertClient, OpenStream
from serve.job import CompletionRequest, Job, Plan
from serve.ledger import Caller, Refusal
from serve.metrics import Metrics
from serve.protocol import (
    PRESETS,
    ROUTED,
    ChatRequest,
    FeedbackRequest,
    RouteReply,
    RouteRequest,
)
from serve.records import answer_report, decision_row, route_reply
from serve.router import Query, Ruling
from serve.spending import bound_usd, cost_usd, estimate_usage
from warehouse import InputError

logger = logging.getLogger("ray.serve")

T = TypeVar("T")


@dataclass
class Gateway:
    """Routes requests, asks the experts and keeps the books; knows nothing of HTTP."""

    config: ServeConfig
    router: RouterClient
    ledger: LedgerClient
    experts: Mapping[str, ExpertClient]
    started: int = field(default_factory=lambda: int(time.time()))
    breaker: Breaker = field(default_factory=Breaker)
    metrics: Metrics = field(default_factory=Metrics)
    conversations: Conversations = field(default_factory=Conversations)
    _in_flight: int = 0

    @property
    def routed_names(self) -> tuple[str, ...]:
        """The model names that route."""
        return (ROUTED, *(f"{ROUTED}:{preset}" for preset in PRESETS))

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place among the requests under way.

        Raises:
            ApiError: 429, when all places are taken. Refusing early keeps those inside fast.
        """
        if self._in_flight >= self.config.max_in_flight:
            raise ApiError(429, "too many requests at once", code="overloaded", retry_after_s=1)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def route(self, request: RouteRequest, caller: Caller) -> RouteReply:
        """Decide only."""
        query = Query(
            request.query,
            preset=request.preset or caller.preset,
            multiplier=request.multiplier,
            max_cost_usd=request.max_cost_usd,
            min_success=request.min_success,
            allow=self._allowed(request.experts, caller),
        )
        return route_reply(await self._rule(query), self.experts)

    async def answer(self, request: CompletionRequest, caller: Caller) -> Answer:
        """Answer in one piece; the answer has a ``leeroo`` object.

        Raises:
            ApiError: the request is refused, or nobody could answer it. Nothing is charged then.
        """
        job = await self._begin(request, caller)
        cost: float | None = None
        expert = ""
        try:
            answered = await self._ask(job, lambda client, timeout_s: client.answer(job.body, timeout_s))
            expert = answered.expert.spec.name
            cost = self._count(job, answered, answered.value.get("usage") or estimate_usage(job.body, 0))
        finally:
            await asyncio.shield(self._settle(job, expert, cost))
        report = answer_report(job, answered, self.experts) | self._costs(job, cost)
        self._remember(job, expert, _text_of(answered.value, "message"))
        return answered.value | {"leeroo": report}

    async def stream(
        self, request: CompletionRequest, caller: Caller
    ) -> tuple[dict[str, Any], AsyncGenerator[Answer, None]]:
        """Begin to answer; returns what is known of it, and its pieces.

        The first piece and the last have a ``leeroo`` object, the last with the cost. A stream that
        breaks off ends with an ``{"error": ...}`` piece; what came before it is charged.

        Raises:
            ApiError: the request is refused, or nobody could begin to answer it. Nothing is charged then.
        """
        job = await self._begin(request, caller)
        try:
            answered = await self._ask(job, lambda client, timeout_s: client.open_stream(job.body, timeout_s))
        except BaseException:
            await self._settle(job, "", None)
            raise
        report = answer_report(job, answered, self.experts)
        return report, self._pieces(job, answered, report, wants_usage=request.wants_usage)

    async def add_feedback(self, request: FeedbackRequest, caller: Caller) -> None:
        """Attach a score to the decision behind an answer.

        Raises:
            ApiError: this caller has no such answer, or its time for feedback is over.
        """
        if not await self.ledger.add_feedback(caller, request.request_id, request.score):
            raise ApiError(
                404,
                f"no routed answer {request.request_id!r} waits for feedback "
                f"(it does for {self.config.feedback_window_s:g} s)",
                param="request_id",
                code="unknown_request",
            )

    async def _pieces(
        self, job: Job, answered: Answered[OpenStream], report: dict[str, Any], *, wants_usage: bool
    ) -> AsyncGenerator[Answer, None]:
        expert = answered.expert.spec.name
        first = answered.value.first
        usage, count, text = first.get("usage"), 1, _text_of(first, "delta")
        failure: ExpertFailure | None = None
        try:
            yield _without_usage(first) | {"leeroo": report}
            async for piece in answered.value.rest:
                if isinstance(piece, ExpertFailure):
                    failure = piece
                    self._note(expert, piece)
                    break
                usage, count = piece.get("usage") or usage, count + 1
                text += _text_of(piece, "delta")
                if piece.get("choices"):
                    yield _without_usage(piece)
        finally:
            # A client that went away is charged for what was made until then.
            usage = usage or estimate_usage(job.body, count)
            cost = self._count(job, answered, usage)
            await asyncio.shield(self._settle(job, expert, cost))
        if failure is not None:
            yield ApiError(502, f"the answer broke off: {failure.message}", code="stream_cut").body()
            return
        self._remember(job, expert, text)
        closing: Answer = {name: first.get(name) for name in ("id", "object", "created", "model")}
        report = report | self._costs(job, cost) | {"latency_s": round(time.monotonic() - job.began, 4)}
        closing |= {"choices": [], "leeroo": report}
        yield closing | ({"usage": usage} if wants_usage else {})

    async def _begin(self, request: CompletionRequest, caller: Caller) -> Job:
        """Decide who answers, and set aside what that can cost."""
        began = time.monotonic()
        plan = await self._plan(request, caller)
        body = request.for_expert()
        order = [self.experts[name] for name in plan.order if name in self.experts]
        bounds = [bound_usd(client.spec, body) for client in order]
        request_id = f"req-{uuid.uuid4().hex}"
        grant = await self.ledger.reserve(caller, request_id, bounds)
        if isinstance(grant, float):
            raise ApiError(429, "this key asks too often", code="rate_limit_exceeded", retry_after_s=grant)
        if isinstance(grant, Refusal):
            status = 401 if grant.code == "invalid_api_key" else 429
            raise ApiError(status, grant.message, code=grant.code)
        affordable = tuple(
            client for client, bound in zip(order, bounds, strict=True) if bound <= grant.reserved_usd + 1e-12
        )
        return Job(
            request_id,
            request,
            caller,
            began,
            body,
            affordable,
            plan,
            grant.remaining_usd,
            grant.reserved_usd,
        )

    async def _plan(self, request: CompletionRequest, caller: Caller) -> Plan:
        if request.model in self.experts:
            self._allowed([request.model], caller)
            return Plan((request.model,), "named by the request")
        name, colon, preset = request.model.partition(":")
        if name != ROUTED or (colon and preset not in PRESETS):
            raise ApiError(
                404,
                f"no model {request.model!r}; there are {', '.join((*self.routed_names, *self.experts))}",
                param="model",
                code="model_not_found",
            )
        allowed = self._allowed(request.experts, caller)
        resting = self.breaker.resting(allowed)
        query = Query(
            request.query,
            preset=preset or caller.preset,
            multiplier=request.multiplier,
            max_cost_usd=request.max_cost_usd,
            min_success=request.min_success,
            allow=allowed,
            deny=resting if len(resting) < len(allowed) else (),
        )
        ruling = await self._rule(query)
        return self._stay(request, caller, ruling)

    def _stay(self, request: CompletionRequest, caller: Caller, ruling: Ruling) -> Plan:
        """Keep a conversation with its expert where that loses little."""
        decision = ruling.decision
        order = (decision.expert, *decision.fallbacks)
        if isinstance(request, ChatRequest):
            held = self.conversations.expert_of(caller.key_id, request.messages)
            if held in decision.fallbacks and loses_little(decision, held):
                others = tuple(name for name in order if name != held)
                reason = f"the conversation stays with {held}: {decision.expert} promises little more"
                return Plan((held, *others), reason, ruling)
        return Plan(order, decision.reason, ruling)

    def _remember(self, job: Job, expert: str, text: str) -> None:
        if isinstance(job.request, ChatRequest) and job.plan.ruling is not None:
            self.conversations.remember(job.caller.key_id, job.request.messages, text, expert)

    async def _rule(self, query: Query) -> Ruling:
        try:
            return await self.router.decide(query)
        except InputError as error:
            raise ApiError(400, str(error), code="no_expert_allowed") from None

    def _allowed(self, wanted: list[str] | None, caller: Caller) -> tuple[str, ...]:
        """Return the experts that may answer: those we run, the key permits and the request wants."""
        permitted = [name for name in self.experts if caller.experts is None or name in caller.experts]
        for name in wanted or ():
            if name not in permitted:
                raise ApiError(
                    400,
                    f"no expert {name!r} for this key; there are {', '.join(permitted)}",
                    param="experts",
                    code="unknown_expert",
                )
        if not permitted:
            raise ApiError(403, "none of the experts of this key is served here", code="no_expert_allowed")
        return tuple(wanted or permitted)

    async def _ask(
        self, job: Job, ask: Callable[[ExpertClient, float], Awaitable[T | ExpertFailure]]
    ) -> Answered[T]:
        return await first_answer(job.order, ask, job.began + self.config.deadline_s, self._note)

    def _count(self, job: Job, answered: Answered[Any], usage: dict[str, Any]) -> float:
        """Add an answer to the figures; return its cost in USD."""
        cost = cost_usd(answered.expert.spec, usage)
        self.metrics.count_answer(answered.expert.spec.name, usage, cost, time.monotonic() - job.began)
        return cost

    async def _settle(self, job: Job, expert: str, cost: float | None) -> None:
        """Charge the cost and keep the decision; without an answer, only give the reservation back."""
        routed = cost is not None and job.plan.ruling is not None
        decision = decision_row(job, expert, cost or 0.0) if routed else None
        if job.caller.key_id is not None or decision is not None:
            await self.ledger.settle(job.caller, job.request_id, cost or 0.0, decision)

    def _costs(self, job: Job, cost: float | None) -> dict[str, Any]:
        if job.remaining_usd is None:
            return {"cost_usd": cost}
        return {"cost_usd": cost, "remaining_usd": job.remaining_usd + job.reserved_usd - (cost or 0.0)}

    def _note(self, expert: str, failure: ExpertFailure | None) -> None:
        self.breaker.record(expert, healthy=failure is None or not failure.is_our_fault)
        if failure is not None:
            self.metrics.count_failure(expert, failure.status)
            logger.warning("expert %s failed with %d: %s", expert, failure.status, failure.message)


def _text_of(answer: Answer, part: str) -> str:
    """Return the text of the first choice of an answer (``message``) or of a piece of one (``delta``)."""
    choices = answer.get("choices") or [{}]
    return str((choices[0].get(part) or {}).get("content") or "")


def _without_usage(piece: Answer) -> Answer:
    return {name: value for name, value in piece.items() if name != "usage"}
