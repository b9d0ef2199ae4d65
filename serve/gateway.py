"""What happens to a request: who should answer is decided, they are asked, and the answer says so."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from serve.breaker import Breaker
from serve.config import ServeConfig
from serve.dispatch import Answered, first_answer
from serve.errors import ApiError, ExpertFailure
from serve.expert_client import Answer, ExpertClient, OpenStream
from serve.metrics import Metrics
from serve.protocol import (
    PRESETS,
    ROUTED,
    ChatRequest,
    ExpertForecast,
    RouteReply,
    RouteRequest,
    TextRequest,
)
from serve.router import Query, Ruling
from warehouse import InputError

logger = logging.getLogger("ray.serve")

T = TypeVar("T")
CompletionRequest = ChatRequest | TextRequest


class RouterClient(Protocol):
    """What the gateway needs of the router."""

    async def decide(self, query: Query) -> Ruling:
        """Decide on one query; InputError when nobody may answer."""
        ...

    async def version(self) -> str:
        """Return the version of the orchestrator in use."""
        ...


@dataclass(frozen=True)
class Plan:
    """Who is to answer a request, in which order; no ruling where the caller named the expert."""

    order: tuple[str, ...]
    ruling: Ruling | None


@dataclass
class Gateway:
    """Routes requests and asks the experts; knows nothing of HTTP."""

    config: ServeConfig
    router: RouterClient
    experts: Mapping[str, ExpertClient]
    started: int = field(default_factory=lambda: int(time.time()))
    breaker: Breaker = field(default_factory=Breaker)
    metrics: Metrics = field(default_factory=Metrics)
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

    async def route(self, request: RouteRequest) -> RouteReply:
        """Decide only."""
        query = Query(
            request.query,
            preset=request.preset,
            multiplier=request.multiplier,
            max_cost_usd=request.max_cost_usd,
            min_success=request.min_success,
            allow=self._allowed(request.experts),
        )
        ruling = await self._rule(query)
        decision = ruling.decision
        return RouteReply(
            expert=decision.expert,
            fallbacks=list(decision.fallbacks),
            reason=decision.reason,
            multiplier=decision.multiplier,
            router_version=ruling.version,
            forecasts=[
                ExpertForecast(
                    expert=name,
                    success=success,
                    cost_usd=decision.cost_usd[name],
                    served=name in self.experts,
                )
                for name, success in decision.success.items()
            ],
        )

    async def answer(self, request: CompletionRequest) -> Answer:
        """Answer in one piece; the answer has a ``leeroo`` object.

        Raises:
            ApiError: the request is refused, or nobody could answer it.
        """
        began = time.monotonic()
        plan = await self._plan(request)
        body = request.for_expert()
        answered = await self._ask(plan, lambda expert, timeout_s: expert.answer(body, timeout_s), began)
        answer = answered.value
        report = self._report(plan, answered, began)
        report["cost_usd"] = self._count(answered, answer.get("usage"), began)
        return answer | {"leeroo": report}

    async def stream(self, request: CompletionRequest) -> tuple[dict[str, Any], AsyncGenerator[Answer, None]]:
        """Begin to answer; returns what is known of it, and its pieces.

        The first piece and the last have a ``leeroo`` object, the last with the cost. A stream that
        breaks off ends with an ``{"error": ...}`` piece.

        Raises:
            ApiError: the request is refused, or nobody could begin to answer it.
        """
        began = time.monotonic()
        plan = await self._plan(request)
        body = request.for_expert()
        answered = await self._ask(plan, lambda expert, timeout_s: expert.open_stream(body, timeout_s), began)
        report = self._report(plan, answered, began)
        return report, self._pieces(answered, report, began, wants_usage=request.wants_usage)

    async def _pieces(
        self, answered: Answered[OpenStream], report: dict[str, Any], began: float, *, wants_usage: bool
    ) -> AsyncGenerator[Answer, None]:
        usage = answered.value.first.get("usage")
        first = answered.value.first
        yield {name: value for name, value in first.items() if name != "usage"} | {"leeroo": report}
        try:
            async for piece in answered.value.rest:
                if isinstance(piece, ExpertFailure):
                    self._note(answered.expert.spec.name, piece)
                    yield ApiError(502, f"the answer broke off: {piece.message}", code="stream_cut").body()
                    return
                usage = piece.get("usage") or usage
                if piece.get("choices"):
                    yield {name: value for name, value in piece.items() if name != "usage"}
        finally:
            cost = self._count(answered, usage, began)
        report = report | {"cost_usd": cost, "latency_s": round(time.monotonic() - began, 4)}
        closing: Answer = {name: first.get(name) for name in ("id", "object", "created", "model")}
        closing |= {"choices": [], "leeroo": report}
        yield closing | ({"usage": usage} if wants_usage else {})

    async def _plan(self, request: CompletionRequest) -> Plan:
        if request.model in self.experts:
            return Plan((request.model,), None)
        name, _, preset = request.model.partition(":")
        if name != ROUTED or (preset and preset not in PRESETS) or request.model.endswith(":"):
            raise ApiError(
                404,
                f"no model {request.model!r}; there are {', '.join((*self.routed_names, *self.experts))}",
                param="model",
                code="model_not_found",
            )
        query = Query(
            request.query,
            preset=preset or None,
            max_cost_usd=request.max_cost_usd,
            min_success=request.min_success,
            allow=self._allowed(request.experts),
            deny=self._resting(request.experts),
        )
        ruling = await self._rule(query)
        return Plan((ruling.decision.expert, *ruling.decision.fallbacks), ruling)

    async def _rule(self, query: Query) -> Ruling:
        try:
            return await self.router.decide(query)
        except InputError as error:
            raise ApiError(400, str(error), code="no_expert_allowed") from None

    def _allowed(self, wanted: list[str] | None) -> tuple[str, ...]:
        """Return the experts among which the router may choose: those we run and the caller wants."""
        for name in wanted or ():
            if name not in self.experts:
                raise ApiError(
                    400,
                    f"no expert {name!r}; there are {', '.join(self.experts)}",
                    param="experts",
                    code="unknown_expert",
                )
        return tuple(wanted or self.experts)

    async def _ask(
        self, plan: Plan, ask: Callable[[ExpertClient, float], Awaitable[T | ExpertFailure]], began: float
    ) -> Answered[T]:
        experts = [self.experts[name] for name in plan.order if name in self.experts]
        return await first_answer(experts, ask, began + self.config.deadline_s, self._note)

    def _resting(self, wanted: list[str] | None) -> tuple[str, ...]:
        """Return the experts to leave alone for now; nobody, when that would leave nobody."""
        resting = self.breaker.resting(self._allowed(wanted))
        return resting if len(resting) < len(self._allowed(wanted)) else ()

    def _count(self, answered: Answered[Any], usage: dict[str, Any] | None, began: float) -> float | None:
        """Add an answer to the figures; return its cost in USD, None when it did not say what it used."""
        name, cost = answered.expert.spec.name, cost_usd(answered.expert, usage)
        self.metrics.count_answer(name, usage or {}, cost or 0.0, time.monotonic() - began)
        return cost

    def _note(self, expert: str, failure: ExpertFailure | None) -> None:
        self.breaker.record(expert, healthy=failure is None or not failure.is_our_fault)
        if failure is not None:
            self.metrics.count_failure(expert, failure.status)
            logger.warning("expert %s failed with %d: %s", expert, failure.status, failure.message)

    def _report(self, plan: Plan, answered: Answered[Any], began: float) -> dict[str, Any]:
        """Return the ``leeroo`` object of an answer, but for the cost."""
        expert = answered.expert.spec.name
        report: dict[str, Any] = {
            "expert": expert,
            "tried": [
                {
                    "expert": attempt.expert,
                    "status": attempt.failure.status,
                    "message": attempt.failure.message,
                }
                for attempt in answered.attempts
            ],
            "latency_s": round(time.monotonic() - began, 4),
        }
        if plan.ruling is None:
            return report | {"reason": "named by the request"}
        decision = plan.ruling.decision
        return report | {
            "reason": decision.reason,
            "router_version": plan.ruling.version,
            "multiplier": decision.multiplier,
            "predicted_success": decision.success[expert],
            "predicted_cost_usd": decision.cost_usd[expert],
            "forecasts": [
                {"expert": name, "success": success, "cost_usd": decision.cost_usd[name]}
                for name, success in decision.success.items()
                if name in self.experts
            ],
        }


def cost_usd(expert: ExpertClient, usage: dict[str, Any] | None) -> float | None:
    """Return what an answer cost by the expert's price list; None when it did not say what it used."""
    if not usage:
        return None
    return expert.spec.price.cost_usd(
        float(usage.get("prompt_tokens") or 0), float(usage.get("completion_tokens") or 0)
    )
