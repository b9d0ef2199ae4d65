"""What happens to a request: who should answer is decided, they are asked, and the answer says so."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from serve.config import ServeConfig
from serve.experts.handle import Answer, ExpertClient, OpenStream
from serve.ledger.messages import MOST_USD, Caller, Figures, Grant, Refusal, Reservation, Reserved, Settlement
from serve.request.answer_report import answer_report, costs, decision_rows, route_reply
from serve.request.breaker import Breaker
from serve.request.clients import LedgerClient, RouterClient
from serve.request.conversations import answered_so_far, loses_little, with_answer
from serve.request.cost_bounds import bounds_usd, cost_usd, estimate_usage
from serve.request.dispatch import Answered, first_answer
from serve.request.in_flight import CompletionRequest, Job, Plan
from serve.request.permissions import allowed, permitted, query_of, refuse_limits
from serve.request.streaming import Tally, frame, relay, text_of
from serve.router.messages import Query, Ruling
from serve.wire.api_errors import ApiError, ExpertFailure
from serve.wire.protocol import (
    PRESETS,
    ROUTED,
    ChatRequest,
    FeedbackRequest,
    RouteReply,
    RouteRequest,
)
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
    _in_flight: int = 0

    @property
    def routed_names(self) -> tuple[str, ...]:
        """The model names that route."""
        return (ROUTED, *(f"{ROUTED}:{preset}" for preset in PRESETS))

    def models(self, caller: Caller) -> dict[str, str]:
        """Return what a request of this caller may put into ``model``, and who owns it."""
        names = permitted(self.experts, caller)
        routed = self.routed_names if names else ()
        return dict.fromkeys(routed, ROUTED) | {name: self.experts[name].spec.backend for name in names}

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
        """Decide only. Costs nothing, but counts as a request of the key's minute.

        Raises:
            ApiError: the key asks too often, or nobody may answer.
        """
        reserved = await self.ledger.reserve(Reservation(_new_request_id(), caller, ()))
        if isinstance(reserved.grant, Refusal):
            raise _refused(reserved.grant)
        preset = request.preset or caller.preset
        query = query_of(request, request.text, preset, allowed(self.experts, request.experts, caller))
        query = replace(query, allowance_usd=reserved.allowance_usd)
        return route_reply(await self._rule(query), self.experts)

    async def answer(self, request: CompletionRequest, caller: Caller) -> Answer:
        """Answer in one piece; the answer has a ``leeroo`` object.

        Raises:
            ApiError: the request is refused, or nobody could answer it. Nothing is charged then.
        """
        job = await self._begin(request, caller)
        settlement = Settlement(job.request_id, caller, 0.0)
        try:
            answered = await self._ask(job, lambda client, timeout_s: client.answer(job.body, timeout_s))
            usage = answered.value.get("usage") or estimate_usage(job.body, 0)
            settlement = self._settlement(job, answered, usage, text_of(answered.value, "message"))
        finally:
            await asyncio.shield(self._settle(job, settlement))
        report = answer_report(job, answered, self.experts) | costs(job, settlement)
        return answered.value | {"leeroo": report}

    async def stream(
        self, request: CompletionRequest, caller: Caller
    ) -> tuple[dict[str, Any], AsyncGenerator[Answer, None]]:
        """Begin to answer; returns what is known of it, and its pieces.

        The first piece and the last that has choices have a ``leeroo`` object, the last with the cost.
        A stream that breaks off ends with an ``{"error": ...}`` piece; what came before it is charged.

        Raises:
            ApiError: the request is refused, or nobody could begin to answer it. Nothing is charged then.
        """
        job = await self._begin(request, caller)
        try:
            answered = await self._ask(job, lambda client, timeout_s: client.open_stream(job.body, timeout_s))
        except BaseException:
            await asyncio.shield(self._settle(job, Settlement(job.request_id, caller, 0.0)))
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
        tally = Tally()
        opening = {"leeroo": report}
        try:
            async for piece in relay(answered.value, tally, time.monotonic() + self.config.longest_stream_s):
                yield piece | opening
                opening = {}
            if tally.failure is not None:
                self._note(job, answered.expert.spec.name, tally.failure)
        finally:
            # A client that went away is charged for what was made until then.
            usage = tally.usage or estimate_usage(job.body, tally.pieces)
            settlement = self._settlement(job, answered, usage, None if tally.failure else tally.text)
            await asyncio.shield(self._settle(job, settlement))
        if tally.last is not None:
            report = report | costs(job, settlement) | {"latency_s": round(time.monotonic() - job.began, 4)}
            yield tally.last | {"leeroo": report}
        if tally.failure is not None:
            message = f"the answer broke off: {tally.failure.message}"
            yield ApiError(502, message, code="stream_cut").body()
        elif wants_usage:
            yield frame(answered.value.first) | {"choices": [], "usage": usage}

    async def _begin(self, request: CompletionRequest, caller: Caller) -> Job:
        """Decide who answers and, at the same time (a paced key's before), set aside what that can cost."""
        began = time.monotonic()
        query, names = self._read(request, caller)
        body = request.for_expert()
        bounds = bounds_usd((self.experts[name].spec for name in names), body)
        request_id = _new_request_id()
        turns = request.messages if query is not None and isinstance(request, ChatRequest) else ()
        reservation = Reservation(
            request_id, caller, tuple(bounds.values()), answered_so_far(caller.key_id, turns)
        )
        reserving = asyncio.create_task(self.ledger.reserve(reservation))
        try:
            if query is not None and caller.is_paced:  # what the budget allows is part of the decision
                query = replace(query, allowance_usd=(await asyncio.shield(reserving)).allowance_usd)
            ruling = None if query is None else await self._rule(query)
            reserved = await asyncio.shield(reserving)
            grant = reserved.grant
            if isinstance(grant, Refusal):
                if grant.code == "insufficient_quota" and all(map(math.isinf, bounds.values())):
                    raise ApiError(
                        400,
                        "a key with a budget can send images, sounds or files only to experts whose catalogue"
                        f" entry has context_tokens, which {', '.join(names)} lacks",
                        param="messages",
                        code="unbounded_cost",
                    )
                raise _refused(grant)
            plan = make_plan(names, ruling, reserved.held_by, request.min_success)
            if query is not None and grant.allowance_usd is not None:
                reason = f"{plan.reason}, paced at ${grant.allowance_usd:.3g} a request"
                plan = replace(plan, reason=reason)
            order = [
                name
                for name in plan.order
                if min(bounds.get(name, math.inf), MOST_USD) <= grant.reserved_usd + 1e-12
            ]
            if not order:
                raise ApiError(
                    429, "the budget of this key covers no expert for this", code="insufficient_quota"
                )
        except BaseException:
            await asyncio.shield(self._give_back(reserving, Settlement(request_id, caller, 0.0)))
            raise
        experts = tuple(self.experts[name] for name in order)
        return Job(
            request_id, request, caller, began, body, experts, plan, grant.remaining_usd, grant.reserved_usd
        )

    def _read(self, request: CompletionRequest, caller: Caller) -> tuple[Query | None, tuple[str, ...]]:
        """Return what to decide on (None where the request names the expert), and who may answer."""
        if request.model in self.experts:
            refuse_limits(request)
            return None, allowed(self.experts, [request.model], caller)
        name, colon, preset = request.model.partition(":")
        if name != ROUTED or (colon and preset not in PRESETS):
            raise ApiError(
                404,
                f"no model {request.model!r}; there are {', '.join((*self.routed_names, *self.experts))}",
                param="model",
                code="model_not_found",
            )
        names = allowed(self.experts, request.experts, caller)
        resting = self.breaker.resting(names)
        deny = resting if len(resting) < len(names) else ()
        return query_of(request, request.query, preset or caller.preset, names, deny), names

    async def _rule(self, query: Query) -> Ruling:
        try:
            return await self.router.decide(query)
        except InputError as error:
            raise ApiError(400, str(error), code="no_expert_allowed") from None

    async def _ask(
        self, job: Job, ask: Callable[[ExpertClient, float], Awaitable[T | ExpertFailure]]
    ) -> Answered[T]:
        def note(expert: str, failure: ExpertFailure | None) -> None:
            self._note(job, expert, failure)

        return await first_answer(job.order, ask, job.began + self.config.deadline_s, note)

    def _settlement(
        self, job: Job, answered: Answered[Any], usage: dict[str, Any], text: str | None
    ) -> Settlement:
        """Return what an answer came to; ``text`` is None where it broke off."""
        spec = answered.expert.spec
        cost = cost_usd(spec, usage)
        conversation = None
        ruling = job.plan.ruling
        if text is not None and ruling is not None and isinstance(job.request, ChatRequest):
            conversation = with_answer(job.caller.key_id, job.request.messages, text)
        return Settlement(
            job.request_id,
            job.caller,
            cost,
            answer=Figures(spec.name, usage, time.monotonic() - job.began),
            decisions=decision_rows(job, spec.name, cost),
            conversation=conversation,
            expected_usd=ruling.decision.cost_usd.get(spec.name) if ruling else None,
        )

    async def _settle(self, job: Job, settlement: Settlement) -> None:
        await self.ledger.settle(replace(settlement, failures=tuple(job.failures)))

    async def _give_back(self, reserving: asyncio.Task[Reserved], settlement: Settlement) -> None:
        """Give back what was set aside for a request that came to nothing."""
        with suppress(Exception):
            if isinstance((await reserving).grant, Grant):
                await self.ledger.settle(settlement)

    def _note(self, job: Job, expert: str, failure: ExpertFailure | None) -> None:
        self.breaker.record(expert, healthy=failure is None or not failure.is_our_fault)
        if failure is not None:
            job.failures.append((expert, failure.status))
            logger.warning("expert %s failed with %d: %s", expert, failure.status, failure.message)


def make_plan(
    named: tuple[str, ...], ruling: Ruling | None, held_by: str | None, min_success: float | None
) -> Plan:
    """Say who answers, in which order: as it was decided, unless a conversation may stay where it is."""
    if ruling is None:
        return Plan(named, "named by the request")
    decision = ruling.decision
    order = (decision.expert, *decision.fallbacks)
    if held_by in decision.fallbacks and loses_little(decision, held_by, min_success):
        others = tuple(name for name in order if name != held_by)
        reason = f"the conversation stays with {held_by}: {decision.expert} promises little more"
        return Plan((held_by, *others), reason, ruling)
    return Plan(order, decision.reason, ruling)


def _new_request_id() -> str:
    return f"req-{uuid.uuid4().hex}"


def _refused(refusal: Refusal) -> ApiError:
    status = {"invalid_api_key": 401, "shutting_down": 503}.get(refusal.code, 429)
    return ApiError(status, refusal.message, code=refusal.code, retry_after_s=refusal.retry_after_s)
