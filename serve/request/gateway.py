"""The way of a request: the router decides, experts are asked, and the answer reports both."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from serve.config import ServeConfig
from serve.experts.client import Body, ExpertClient
from serve.ledger.messages import Caller, Settlement
from serve.request.admission import Admission
from serve.request.answer_report import route_reply
from serve.request.asking.answering import Answering
from serve.request.asking.latencies import Latencies
from serve.request.asking.one_expert import OneExpert
from serve.request.background import Background
from serve.request.books import RequestBooks, settle_surely
from serve.request.breaker import Breaker
from serve.request.cache.kept_answers import Hit
from serve.request.cache.response_cache import ResponseCache, figures_of, new_request_id, replayed, reply_from
from serve.request.candidates.door import check_model
from serve.request.candidates.permissions import permitted
from serve.request.candidates.service import ReadAgain, Service
from serve.request.clients import LedgerClient, RouterClient, TraceClient
from serve.request.in_flight import CompletionRequest, InFlight, Visit
from serve.request.overview.expert_gauges import render_gauges
from serve.request.overview.telling import tell_overview
from serve.request.planning import Offered, offered_models
from serve.request.recording.feedback import add_feedback
from serve.request.recording.recorder import Recorder
from serve.request.recording.texts import TextKeeper
from serve.request.tracing.about_request import about_asked, about_settled, operation_of
from serve.request.tracing.notes import UNTRACED, Notes
from serve.request.tracing.request_trace import RequestTrace
from serve.request.turns.at_door import Turn
from serve.request.turns.places import Turns
from serve.request.usable.whole_answer import WholeReply
from serve.request.visitors import Visitors
from serve.wire.api_errors import ApiError
from serve.wire.feedback import FeedbackReply, FeedbackRequest
from serve.wire.overview import ExpertState, OverviewReply
from serve.wire.protocol import RouteReply, RouteRequest
from serve.wire.request_headers import NO_HEADERS, RequestHeaders

logger = logging.getLogger("ray.serve")
_LET_IN_AT_ONCE = 4  # more than one, for the ledger and the router to be asked for several together
_DOOR_PATIENCE_S = 5.0  # a place at the door is a matter of fairness, and no reason to refuse anybody
_ROUTER_PATIENCE_S = 5.0  # of a look at everything: what is known of the rest is told without it
_OWN_SHARE = 8  # keys with less than this part of the requests under way find room when others have taken all


@dataclass
class Gateway:
    """Routes requests, asks the experts and keeps the books; knows nothing of HTTP.

    The work on a request is a task of its own: whoever waits for it may leave at any moment, and its books
    are closed all the same.
    """

    config: ServeConfig
    router: RouterClient
    ledger: LedgerClient
    experts: Mapping[str, ExpertClient]
    keep_text: TextKeeper | None = None
    traces: TraceClient | None = None
    started: int = field(default_factory=lambda: int(time.time()))
    breaker: Breaker = field(default_factory=Breaker)
    background: Background = field(default_factory=Background)
    read_again: ReadAgain | None = None
    latencies: Latencies = field(default_factory=Latencies)
    _in_flight: int = 0
    _in_flight_of: Counter[str] = field(default_factory=Counter)  # by key

    def __post_init__(self) -> None:
        self.service = Service(self.config.home, self.read_again)
        self.one_expert = OneExpert(self.service, self.latencies)
        self._cache = ResponseCache(self.config)
        self._use(self.experts)
        self._visitors = Visitors(self.background, self.ledger.life)
        self._recorder = Recorder(self.config, f"ingress-{uuid.uuid4().hex}", self.keep_text)
        self._answering = Answering(
            config=self.config,
            latencies=self.latencies,
            one_expert=self.one_expert,
            background=self.background,
            open_books=self._books,
            visible=lambda caller: permitted(self.experts, caller),
        )
        self._rng = np.random.default_rng()
        # Another key's request waits for the steps that each request of a crowd takes in the event loop, a
        # dozen times over: beside others one key has one.
        self._door = Turns(_LET_IN_AT_ONCE, self.config.max_in_flight, one_each=True)

    async def follow_orders(self) -> None:
        """Do what an operator has ordered since the last look."""
        if (experts := await self.service.look(self.experts)) is not None:
            self._use(experts)

    def _use(self, experts: Mapping[str, ExpertClient]) -> None:
        """Use these experts for requests to come; those under way keep the ones that they began with."""
        self.one_expert.prepare(experts, self.experts)
        self.breaker.cooldowns = {name: client.spec.cooldown for name, client in experts.items()}
        self.experts = experts
        self._cache.clear()  # it has answers of experts that may have changed

    @property
    def _admission(self) -> Admission:
        return Admission(
            router=self.router,
            ledger=self.ledger,
            experts=self.experts,
            breaker=self.breaker,
            counters=self.one_expert.counters,
            background=self.background,
            service=self.service,
            config=self.config,
            rng=self._rng,
        )

    async def models(self, caller: Caller) -> dict[str, Offered]:
        """Return what a request of this caller may put into ``model``."""
        return offered_models(self.experts, caller, await self.router.presets())

    @contextmanager
    def admit(self, caller: Caller) -> Iterator[None]:
        """Hold a place among the requests under way. A few are kept for callers who hold hardly any.

        Raises:
            ApiError: 429, when all places are taken. Refusing early keeps those inside fast.
        """
        name, most = caller.key_id or "", self.config.max_in_flight
        few = most // _OWN_SHARE
        most += few if self._in_flight_of[name] < few else 0
        if self._in_flight >= most:
            raise ApiError(429, "too many requests at once", code="overloaded", retry_after_s=1)
        self._in_flight += 1
        self._in_flight_of[name] += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._in_flight_of[name] -= 1
            if not self._in_flight_of[name]:
                del self._in_flight_of[name]

    def count_background(self) -> int:
        """Return how much goes on here that nobody waits for; a stop does."""
        return self.background.count() + (0 if self.traces is None else self.traces.pending)

    async def figures(self) -> bytes:
        """Return what was counted, and how the experts are, in Prometheus's text format."""
        counted = await self.ledger.figures()
        states = await self.expert_states()
        counted += render_gauges(states, {name: self.breaker.rests_for_s(name) for name in states})
        return counted if self.traces is None else counted + await self.traces.figures()

    async def drain(self, timeout_s: float) -> int:
        """Wait for all that is under way and its books; returns how much had to be broken off."""
        return await self.background.drain(timeout_s)

    async def route(self, request: RouteRequest, caller: Caller) -> RouteReply:
        """Decide only. Costs nothing, but counts as a request of the key's minute.

        Raises:
            ApiError: the key asks too often, or nobody may answer.
        """
        await self._come_in()
        visible = None if caller.experts is None else permitted(self.experts, caller)
        async with self._turn(caller):
            ruling = await self._admission.rule(request, caller)
        return route_reply(ruling, self.experts, visible)

    async def count_tokens(self, request: CompletionRequest, caller: Caller) -> int:
        """Return the likely tokens of a request, the most of all that may answer; counts as ``route`` does.

        Raises:
            ApiError: the key asks too often, or nobody may answer.
        """
        await self._come_in()
        async with self._turn(caller):
            return await self._admission.count_tokens(request, caller)

    async def answer(
        self, request: CompletionRequest, caller: Caller, headers: RequestHeaders = NO_HEADERS
    ) -> Body:
        """Answer in one piece; the answer has a ``leeroo`` object.

        Args:
            request: what is asked.
            caller: who asks.
            headers: what it says beside its body.

        Raises:
            ApiError: the request is refused, or nobody could answer it.
        """
        visit = Visit(self._notes(request, caller, headers.traceparent), headers)
        return await self._visitors.attend(visit.notes.watch(self._answer(request, caller, visit)), visit)

    async def stream(
        self, request: CompletionRequest, caller: Caller, headers: RequestHeaders = NO_HEADERS
    ) -> tuple[dict[str, Any], AsyncGenerator[Body, None]]:
        """Begin to answer; returns what is known of it, and its pieces, which are to be closed.

        The first piece and the last that has choices have a ``leeroo`` object, the last with the cost.
        A stream that breaks off ends with an ``{"error": ...}`` piece; what came before it is charged.

        Raises:
            ApiError: the request is refused, or nobody could begin to answer it.
        """
        visit = Visit(self._notes(request, caller, headers.traceparent), headers)
        return await self._visitors.attend(visit.notes.watch(self._open(request, caller, visit)), visit)

    async def expert_states(self) -> dict[str, ExpertState]:
        """Return how each expert is, as this process sees it."""
        await self.follow_orders()
        told: dict[str, ExpertState] = {}
        resting, drained = self.breaker.out_of_service(self.experts), self.service.drained
        for name, expert in self.experts.items():
            running: ExpertState = "ok" if await expert.is_running() else "starting"
            told[name] = "drained" if name in drained else "resting" if name in resting else running
        return told

    async def overview(self, caller: Caller, days: int) -> OverviewReply:
        """Return the last days of the endpoint to an operator, and to a key its own."""
        seen = await self.ledger.overview(caller, days)
        states, visible = await self.expert_states(), permitted(self.experts, caller)
        try:
            versions = await asyncio.wait_for(self.router.versions(), _ROUTER_PATIENCE_S)
        except Exception:
            logger.warning("the overview is told without the router, which does not answer", exc_info=True)
            versions = None
        shown = states if seen.sees_all else {name: states[name] for name in visible}
        return tell_overview(seen, days=days, states=shown, versions=versions, in_flight=self._in_flight)

    async def add_feedback(self, request: FeedbackRequest, caller: Caller) -> FeedbackReply:
        """Write down what is said of an answer.

        Raises:
            ApiError: this caller has no such answer, nothing was recorded of it, or all that is said is words
                and no texts are kept of it.
        """
        return await add_feedback(self.ledger, request, caller)

    async def _answer(self, request: CompletionRequest, caller: Caller, visit: Visit) -> Body:
        with self._until_answered(caller, visit):
            found = await self._find_or_let_in(request, caller, visit)
            reply = await self._answering.whole(found) if isinstance(found, InFlight) else found
        return reply.answer.body | {"leeroo": reply.report}

    async def _open(
        self, request: CompletionRequest, caller: Caller, visit: Visit
    ) -> tuple[dict[str, Any], AsyncGenerator[Body, None]]:
        with self._until_answered(caller, visit):
            found = await self._find_or_let_in(request, caller, visit)
            if isinstance(found, InFlight):
                return await self._answering.streamed(found)
        return found.report, replayed(found, wants_usage=request.wants_usage)

    async def _find_or_let_in(
        self, request: CompletionRequest, caller: Caller, visit: Visit
    ) -> WholeReply | InFlight:
        """Return an answer that was given before, or the request let in."""
        arrived = time.monotonic()
        check_model(caller, request.model, request)  # the key may have been limited since
        await self._come_in()  # a catalogue that is read again empties the cache
        wanted, generation = self._cache.read(request, caller, visit.headers), self._cache.generation
        if wanted is None:
            visit.job = await self._let_in(request, caller, visit, arrived)
            return visit.job
        hit = self._cache.find(wanted)
        if hit is not None:
            return await self._give_again(hit, caller, visit, arrived)
        job = visit.job = await self._let_in(request, caller, visit, arrived)
        hit = self._cache.find_near(wanted, job)
        if hit is not None:
            self._books(job).settle(answer=figures_of(hit, job.began))
            return reply_from(hit, job.request_id, job.began)
        job.keep_answer = partial(self._cache.keep, wanted, job, generation)
        return job

    async def _give_again(self, hit: Hit, caller: Caller, visit: Visit, began: float) -> WholeReply:
        """Return an answer that was given before: a request of the key's minute that costs nothing."""
        request_id = new_request_id()
        async with self._turn(caller):
            await self._admission.count_request(caller)
        reply = reply_from(hit, request_id, began)
        visit.notes.ended(lambda: ({"leeroo.request_id": request_id, "leeroo.cost_usd": 0.0}, None, None))
        settlement = Settlement(request_id, caller, 0.0, answer=figures_of(hit, began))
        settling = visit.notes.during("settle", settle_surely(self.ledger, settlement), about_settled)
        self.background.start(settling, is_booking=True).add_done_callback(lambda _: visit.notes.settled())
        return reply

    async def _let_in(
        self, request: CompletionRequest, caller: Caller, visit: Visit, arrived: float
    ) -> InFlight:
        """Decide on a request and set money aside for it, once it is this caller's turn at the door.

        What takes the processor lies behind it: of a crowd of one key's requests a few are inside, and those
        of other keys need not get through all of them.
        """
        longest_s = [one for one in (request.max_latency_s, caller.max_latency_s) if one]
        async with self._turn(caller, min([_DOOR_PATIENCE_S, *longest_s]), goes_on=True):
            job = await self._admission.begin(request, caller, visit)
        job.began = arrived
        return job

    async def _come_in(self) -> None:
        """Follow the orders, and turn away who may not come in now.

        Raises:
            ApiError: 503, the endpoint is closed for maintenance.
        """
        await self.follow_orders()
        self.service.refuse_if_closed()

    def _notes(self, request: CompletionRequest, caller: Caller, traceparent: str | None) -> Notes:
        if self.traces is None or (sampled := self.traces.begin(traceparent)) is None:
            return UNTRACED
        told = about_asked(request, caller, self.experts)
        return RequestTrace(sampled, operation_of(request), told, self.traces.take)

    def _turn(self, caller: Caller, patience_s: float = _DOOR_PATIENCE_S, *, goes_on: bool = False) -> Turn:
        return Turn(self._door, caller.key_id or "", patience_s, goes_on=goes_on)

    @contextmanager
    def _until_answered(self, caller: Caller, visit: Visit) -> Iterator[None]:
        try:
            yield
        finally:
            if visit.job is not None:  # it was let in
                self._door.finish(caller.key_id or "")

    def _books(self, job: InFlight) -> RequestBooks:
        counters = self.one_expert.counters
        return RequestBooks(job, self.ledger, self.breaker, counters, self.background, self._recorder)
