"""What happens to a request: who should answer is decided, they are asked, and the answer says so."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from experts.upstream import Ask, Failure, TokenCounter, Usage
from serve.config import ServeConfig
from serve.experts.client import Body, ExpertClient, OpenStream
from serve.ledger.messages import (
    MOST_USD,
    Caller,
    Figures,
    Grant,
    Refusal,
    Reservation,
    Reserved,
    Settlement,
)
from serve.request.answer_report import answer_report, costs, decision_rows, route_reply
from serve.request.background import Background
from serve.request.books import RequestBooks, settle_surely
from serve.request.breaker import Breaker
from serve.request.charges import Purse, is_beyond, likely_usd
from serve.request.clients import LedgerClient, RouterClient
from serve.request.conversations import answered_so_far, with_answer
from serve.request.cost_bounds import asks_of
from serve.request.dispatch import Answered, first_answer
from serve.request.in_flight import CompletionRequest, InFlight, Visit
from serve.request.permissions import allowed, permitted, query_of
from serve.request.planning import ROUTED_NAMES, make_plan, read_request, rule
from serve.request.streaming import Incoming, Tally, count_remainder, relay, text_of, written_in
from serve.wire.api_errors import ApiError
from serve.wire.protocol import ROUTED, ChatRequest, FeedbackRequest, RouteReply, RouteRequest

T = TypeVar("T")

_MOST_FINISHING = 64  # answers that nobody waits for, run out for their bill


@dataclass
class Gateway:
    """Routes requests, asks the experts and keeps the books; knows nothing of HTTP.

    The work on a request is a task of its own: whoever waits for it may leave at any moment, and its books are
    closed all the same.
    """

    config: ServeConfig
    router: RouterClient
    ledger: LedgerClient
    experts: Mapping[str, ExpertClient]
    owner: str = field(default_factory=lambda: f"ingress-{uuid.uuid4().hex}")
    started: int = field(default_factory=lambda: int(time.time()))
    breaker: Breaker = field(default_factory=Breaker)
    background: Background = field(default_factory=Background)
    _in_flight: int = 0
    _finishing: int = 0

    def __post_init__(self) -> None:
        self._counters = {name: TokenCounter(client.spec) for name, client in self.experts.items()}

    def models(self, caller: Caller) -> dict[str, str]:
        """Return what a request of this caller may put into ``model``, and who owns it."""
        names = permitted(self.experts, caller)
        routed = ROUTED_NAMES if names else ()
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

    async def drain(self, timeout_s: float) -> int:
        """Wait for all that is under way and its books; returns how much had to be broken off."""
        return await self.background.drain(timeout_s)

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
        visible = None if caller.experts is None else permitted(self.experts, caller)
        return route_reply(await rule(self.router, query, caller), self.experts, visible)

    async def answer(self, request: CompletionRequest, caller: Caller) -> Body:
        """Answer in one piece; the answer has a ``leeroo`` object.

        Raises:
            ApiError: the request is refused, or nobody could answer it.
        """
        visit = Visit()
        return await self._attend(self._answer(request, caller, visit), visit)

    async def stream(
        self, request: CompletionRequest, caller: Caller
    ) -> tuple[dict[str, Any], AsyncGenerator[Body, None]]:
        """Begin to answer; returns what is known of it, and its pieces, which are to be closed.

        The first piece and the last that has choices have a ``leeroo`` object, the last with the cost.
        A stream that breaks off ends with an ``{"error": ...}`` piece; what came before it is charged.

        Raises:
            ApiError: the request is refused, or nobody could begin to answer it.
        """
        visit = Visit()
        return await self._attend(self._open(request, caller, visit), visit)

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

    async def _attend(self, work: Coroutine[Any, Any, T], visit: Visit) -> T:
        """Wait for the work on a request; who leaves ends it, or lets it run out for its bill."""
        task = self.background.start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            here = asyncio.current_task()
            if task.cancelled() and here is not None and not here.cancelling():
                raise ApiError(503, "the endpoint is stopping", code="stopping", retry_after_s=5) from None
            self._leave(task, visit)
            raise

    def _leave(self, task: asyncio.Task[Any], visit: Visit) -> None:
        job = visit.job
        if job is not None:
            job.has_left = True
        task.add_done_callback(self._close_unseen)
        asked = None if job is None or job.asked is None or job.request.stream else job.asked
        if asked is None or self.experts[asked].spec.on_leave == "cancel":
            task.cancel()
        elif self._finishing >= _MOST_FINISHING:
            task.cancel()
        else:
            self._finishing += 1
            task.add_done_callback(self._finished)

    def _finished(self, _task: asyncio.Task[Any]) -> None:
        self._finishing -= 1

    def _close_unseen(self, task: asyncio.Task[Any]) -> None:
        """Close a stream that was opened for a caller who had just left."""
        if task.cancelled() or task.exception() is not None or not isinstance(task.result(), tuple):
            return
        _, pieces = task.result()
        self.background.start(pieces.aclose())

    async def _answer(self, request: CompletionRequest, caller: Caller, visit: Visit) -> Body:
        job = visit.job = await self._begin(request, caller)
        books = self._books(job)
        kept: dict[str, Any] = {}
        try:
            answered = await self._ask(
                job, books, lambda client, timeout_s: client.answer(job.body, timeout_s)
            )
            name, usage = answered.expert.spec.name, answered.value.usage
            cost_usd = books.charge(name, usage, written_in(answered.value.body, "message"))
            kept = self._kept(job, name, usage, cost_usd, text_of(answered.value.body, "message"))
        finally:
            await books.settle(**kept)
        report = answer_report(job, answered, permitted(self.experts, caller)) | costs(job)
        return answered.value.body | {"leeroo": report}

    async def _open(
        self, request: CompletionRequest, caller: Caller, visit: Visit
    ) -> tuple[dict[str, Any], AsyncGenerator[Body, None]]:
        job = visit.job = await self._begin(request, caller)
        books = self._books(job)
        try:
            answered = await self._ask(
                job, books, lambda client, timeout_s: client.open_stream(job.body, timeout_s)
            )
        except BaseException:
            await books.settle()
            raise
        report = answer_report(job, answered, permitted(self.experts, caller))
        pieces = self._pieces(job, books, answered, report, wants_usage=request.wants_usage)
        await anext(pieces)  # begun: from here on its end is run whatever becomes of it
        return report, pieces

    async def _pieces(
        self,
        job: InFlight,
        books: RequestBooks,
        answered: Answered[OpenStream],
        report: dict[str, Any],
        *,
        wants_usage: bool,
    ) -> AsyncGenerator[Body, None]:
        """Yield nothing at first, and then the pieces of an answer."""
        tally, incoming = Tally(), Incoming(answered.value, self.background)
        ask = job.asks[answered.expert.spec.name]
        opening = {"leeroo": report}
        ends_at = time.monotonic() + self.config.longest_stream_s

        def is_spent(tally: Tally) -> bool:
            return tally.usage is not None and is_beyond(ask, tally.usage, tally.written)

        try:
            yield {}
            async for piece in relay(incoming, tally, ends_at, is_spent):
                yield piece | opening
                opening = {}
        finally:
            closing = self.background.start(self._close(job, books, answered, incoming, tally))
            await asyncio.shield(closing)
        if tally.last is not None:
            told = {"latency_s": round(time.monotonic() - job.began, 4)}
            yield tally.last | {"leeroo": report | costs(job) | told}
        if tally.failure is not None:
            message = f"the answer broke off: {tally.failure.message}"
            yield ApiError(502, message, code="stream_cut").body()
        elif wants_usage and tally.usage is not None:
            yield (tally.frame or {}) | {"choices": [], "usage": tally.usage.to_openai()}

    async def _close(
        self,
        job: InFlight,
        books: RequestBooks,
        answered: Answered[OpenStream],
        incoming: Incoming,
        tally: Tally,
    ) -> None:
        """Stop a stream, charge what came of it, and settle."""
        name, kept = answered.expert.spec.name, {}
        try:
            if not tally.is_over and not tally.is_cut:
                await count_remainder(incoming, tally)
            if tally.failure is not None:
                books.note(name, tally.failure, answered.asked_at)
            if tally.is_over and tally.failure is None and tally.usage is not None:
                cost_usd = books.charge(name, tally.usage, tally.written)
            else:
                writing_s = time.monotonic() - answered.asked_at
                cost_usd = books.charge_cut(name, tally.usage, tally.written, writing_s)
            text = tally.text if tally.is_over and tally.failure is None else None
            kept = self._kept(job, name, tally.usage, cost_usd, text)
        finally:
            await incoming.close()
            await books.settle(**kept)

    async def _begin(self, request: CompletionRequest, caller: Caller) -> InFlight:
        """Decide who answers and, at the same time (a paced key's before), set aside what that can cost."""
        began = time.monotonic()
        query, names = read_request(request, caller, self.experts, self.breaker)
        body = request.for_expert()
        asks = asks_of((self.experts[name].spec for name in names), body)
        reservation = self._reservation(request, caller, asks, is_routed=query is not None)
        reserving = self.background.start(self.ledger.reserve(reservation))
        try:
            if query is not None and caller.is_paced:  # what the budget allows is part of the decision
                query = replace(query, allowance_usd=(await asyncio.shield(reserving)).allowance_usd)
            ruling = None if query is None else await rule(self.router, query, caller)
            reserved = await asyncio.shield(reserving)
            grant = reserved.grant
            if isinstance(grant, Refusal):
                if grant.code == "insufficient_quota":
                    _refuse_unbounded(asks)
                raise _refused(grant)
            plan = make_plan(names, ruling, reserved.held_by, request.min_success, grant)
            order = tuple(
                self.experts[name]
                for name in plan.order
                if name in asks and min(asks[name].most_usd, MOST_USD) <= grant.reserved_usd + 1e-12
            )
            if not order:
                raise ApiError(
                    429, "the budget of this key covers no expert for this", code="insufficient_quota"
                )
        except BaseException:
            giving_back = self._give_back(reserving, Settlement(reservation.request_id, caller, 0.0))
            await asyncio.shield(self.background.start(giving_back))
            raise
        left_usd = grant.remaining_usd
        budget_usd = None if left_usd is None else left_usd + grant.reserved_usd
        return InFlight(
            request_id=reservation.request_id,
            request=request,
            caller=caller,
            began=began,
            body=body,
            asks=asks,
            order=order,
            plan=plan,
            budget_usd=budget_usd,
            purse=Purse(grant.reserved_usd),
        )

    def _reservation(
        self, request: CompletionRequest, caller: Caller, asks: Mapping[str, Ask], *, is_routed: bool
    ) -> Reservation:
        turns = request.messages if is_routed and isinstance(request, ChatRequest) else ()
        return Reservation(
            _new_request_id(),
            caller,
            tuple(ask.most_usd for ask in asks.values()),
            answered_so_far(caller.key_id, turns),
            owner=self.owner,
            likely_usd=tuple(likely_usd(ask, self._counters[name]) for name, ask in asks.items()),
        )

    async def _give_back(self, reserving: asyncio.Task[Reserved], settlement: Settlement) -> None:
        """Give back what was set aside, or may have been, for a request that came to nothing."""
        await asyncio.wait({reserving})
        if reserving.cancelled() or reserving.exception() or isinstance(reserving.result().grant, Grant):
            await settle_surely(self.ledger, settlement)

    def _books(self, job: InFlight) -> RequestBooks:
        return RequestBooks(job, self.ledger, self.breaker, self._counters, self.background)

    async def _ask(
        self,
        job: InFlight,
        books: RequestBooks,
        ask: Callable[[ExpertClient, float], Awaitable[T | Failure]],
    ) -> Answered[T]:
        return await first_answer(job.order, ask, job.began + self.config.deadline_s, books)

    def _kept(
        self, job: InFlight, name: str, usage: Usage | None, cost_usd: float, text: str | None
    ) -> dict[str, Any]:
        """Return what a settlement keeps of an answer; ``text`` is None where it broke off."""
        ruling, conversation = job.plan.ruling, None
        if text is not None and ruling is not None and isinstance(job.request, ChatRequest):
            conversation = with_answer(job.caller.key_id, job.request.messages, text)
        told = {} if usage is None else usage.to_openai()
        return {
            "answer": Figures(name, told, time.monotonic() - job.began),
            "decisions": decision_rows(job, name, cost_usd),
            "conversation": conversation,
            "expected_usd": ruling.decision.cost_usd.get(name) if ruling else None,
        }


def _new_request_id() -> str:
    return f"req-{uuid.uuid4().hex}"


def _refuse_unbounded(asks: Mapping[str, Ask]) -> None:
    if not all(math.isinf(ask.most_usd) for ask in asks.values()):
        return
    raise ApiError(
        400,
        "a key with a budget can send images, sounds or files only to experts whose catalogue"
        f" entry has context_tokens, which {', '.join(asks)} lacks",
        param="messages",
        code="unbounded_cost",
    )


def _refused(refusal: Refusal) -> ApiError:
    status = 401 if refusal.code == "invalid_api_key" else 429
    return ApiError(status, refusal.message, code=refusal.code, retry_after_s=refusal.retry_after_s)
