"""The way of a request: the router decides, experts are asked, and the answer reports both."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from experts.forms import Unusable
from experts.upstream import Ask, Failure, FailureKind, TokenCounter
from serve.config import ServeConfig
from serve.experts.client import Body, ExpertClient, OpenStream, WholeAnswer
from serve.ledger.messages import Caller
from serve.request.admission import Admission
from serve.request.answer_report import answer_report, costs, kept_of, route_reply
from serve.request.asking.by_plan import asks_several, course_of
from serve.request.asking.course import Answered, Course, InOrder
from serve.request.asking.latencies import Latencies
from serve.request.asking.retrying import ask_with_retries, open_in_time
from serve.request.background import Background
from serve.request.books import RequestBooks
from serve.request.breaker import Breaker
from serve.request.candidates.permissions import permitted
from serve.request.candidates.service import ReadAgain, Service
from serve.request.clients import LedgerClient, RouterClient, TraceClient
from serve.request.dispatch import find_answer
from serve.request.in_flight import CompletionRequest, InFlight, Visit
from serve.request.overview.telling import tell_overview
from serve.request.planning import Offered, offered_models
from serve.request.recording.feedback import add_feedback
from serve.request.recording.recorder import Recorder
from serve.request.recording.records import Ending
from serve.request.recording.texts import TextKeeper
from serve.request.streamed_answer import StreamedAnswer
from serve.request.streaming import finish_of, text_of
from serve.request.tracing.about_request import about_asked, operation_of
from serve.request.tracing.notes import UNTRACED, Notes
from serve.request.tracing.request_trace import RequestTrace
from serve.request.turns import Turn, Turns, ask_in_turn
from serve.request.usable.held_stream import open_held
from serve.request.usable.judging import is_held, judge_of
from serve.request.usable.whole_answer import WholeReply
from serve.wire.api_errors import ApiError
from serve.wire.feedback import FeedbackReply, FeedbackRequest
from serve.wire.overview import ExpertState, OverviewReply
from serve.wire.protocol import RouteReply, RouteRequest

logger = logging.getLogger("ray.serve")
T = TypeVar("T")

_DRAINED = Failure(FailureKind.BUSY, "it is out of service for maintenance", in_time_of_caller=True)

_MOST_FINISHING = 64  # answers that nobody waits for, run out for their bill
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
    _finishing: int = 0

    def __post_init__(self) -> None:
        self._counters: dict[str, TokenCounter] = {}
        self._turns: dict[str, Turns] = {}
        self._use(self.experts)
        self.service = Service(self.config.home, self.read_again)
        self._recorder = Recorder(self.config, f"ingress-{uuid.uuid4().hex}", self.keep_text)
        self._rng = np.random.default_rng()
        # Another key's request waits for the steps that each request of a crowd takes in the event loop, a
        # dozen times over: beside others one key has one.
        self._door = Turns(_LET_IN_AT_ONCE, self.config.max_in_flight, one_each=True)

    def _use(self, experts: Mapping[str, ExpertClient]) -> None:
        """Use these experts for requests to come; those under way keep the ones that they began with."""
        for name, client in experts.items():
            known = self.experts[name] if name in self._counters else None
            if known is None or known.spec.model != client.spec.model:
                self._counters[name] = TokenCounter(client.spec)
            if client.at_once is not None and (known is None or known.at_once != client.at_once):
                self._turns[name] = Turns(client.at_once)
        self.experts = experts

    async def follow_orders(self) -> None:
        """Do what an operator has ordered since the last look."""
        if (experts := await self.service.look(self.experts)) is not None:
            self._use(experts)

    @property
    def _admission(self) -> Admission:
        return Admission(
            router=self.router,
            ledger=self.ledger,
            experts=self.experts,
            breaker=self.breaker,
            counters=self._counters,
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
        """Return what was counted, in Prometheus's text format."""
        counted = await self.ledger.figures()
        return counted if self.traces is None else counted + await self.traces.figures()

    async def drain(self, timeout_s: float) -> int:
        """Wait for all that is under way and its books; returns how much had to be broken off."""
        return await self.background.drain(timeout_s)

    async def route(self, request: RouteRequest, caller: Caller) -> RouteReply:
        """Decide only. Costs nothing, but counts as a request of the key's minute.

        Raises:
            ApiError: the key asks too often, or nobody may answer.
        """
        await self.follow_orders()
        visible = None if caller.experts is None else permitted(self.experts, caller)
        async with self._turn(caller):
            ruling = await self._admission.rule(request, caller)
        return route_reply(ruling, self.experts, visible)

    async def count_tokens(self, request: CompletionRequest, caller: Caller) -> int:
        """Return the likely tokens of a request, the most of all that may answer; counts as ``route`` does.

        Raises:
            ApiError: the key asks too often, or nobody may answer.
        """
        async with self._turn(caller):
            return await self._admission.count_tokens(request, caller)

    async def answer(
        self, request: CompletionRequest, caller: Caller, traceparent: str | None = None
    ) -> Body:
        """Answer in one piece; the answer has a ``leeroo`` object.

        Args:
            request: what is asked.
            caller: who asks.
            traceparent: the caller's span, as the W3C's header words it.

        Raises:
            ApiError: the request is refused, or nobody could answer it.
        """
        visit = Visit(self._notes(request, caller, traceparent))
        return await self._attend(visit.notes.watch(self._answer(request, caller, visit)), visit)

    async def stream(
        self, request: CompletionRequest, caller: Caller, traceparent: str | None = None
    ) -> tuple[dict[str, Any], AsyncGenerator[Body, None]]:
        """Begin to answer; returns what is known of it, and its pieces, which are to be closed.

        The first piece and the last that has choices have a ``leeroo`` object, the last with the cost.
        A stream that breaks off ends with an ``{"error": ...}`` piece; what came before it is charged.

        Raises:
            ApiError: the request is refused, or nobody could begin to answer it.
        """
        visit = Visit(self._notes(request, caller, traceparent))
        return await self._attend(visit.notes.watch(self._open(request, caller, visit)), visit)

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

    async def _attend(self, work: Coroutine[Any, Any, T], visit: Visit) -> T:
        """Wait for the work on a request; who leaves ends it, or lets it run out for its bill."""
        task = self.background.start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            here = asyncio.current_task()
            if task.cancelled() and here is not None and not here.cancelling():
                raise ApiError(
                    503, "the endpoint is shutting down", code="shutting_down", retry_after_s=5
                ) from None
            self._leave(task, visit)
            raise

    def _leave(self, task: asyncio.Task[Any], visit: Visit) -> None:
        job = visit.job
        if job is not None:
            job.has_left = True
        task.add_done_callback(self._close_unseen)
        self.ledger.life.in_flight += 1  # stopping waits for its books too
        task.add_done_callback(self._left)
        at_work = () if job is None or job.request.stream else job.at_work
        order = () if job is None else job.order
        finishes = any(one.spec.on_leave == "finish" for one in order if one.spec.name in at_work)
        if not finishes or self._finishing >= _MOST_FINISHING:
            task.cancel()
        else:
            self._finishing += 1
            task.add_done_callback(self._finished)

    def _left(self, _task: asyncio.Task[Any]) -> None:
        self.ledger.life.in_flight -= 1

    def _finished(self, _task: asyncio.Task[Any]) -> None:
        self._finishing -= 1

    def _close_unseen(self, task: asyncio.Task[Any]) -> None:
        """Close a stream that was opened for a caller who had just left."""
        if task.cancelled() or task.exception() is not None or not isinstance(task.result(), tuple):
            return
        _, pieces = task.result()
        self.background.start(pieces.aclose())

    async def _answer(self, request: CompletionRequest, caller: Caller, visit: Visit) -> Body:
        job = visit.job = await self._let_in(request, caller, visit.notes)
        reply = await self._answer_whole(job)
        return reply.answer.body | {"leeroo": reply.report}

    async def _answer_whole(self, job: InFlight) -> WholeReply:
        books = self._books(job)
        kept: dict[str, Any] = {}
        ending: Ending | None = None
        try:
            answered = await self._ask(
                job,
                books,
                course_of(job, self.latencies),
                lambda client, ask, timeout_s: client.answer(ask, timeout_s),
                judge_of(job.form),
            )
            name, value = answered.expert.spec.name, answered.value
            text = text_of(value.body, "message")
            kept = kept_of(job, name, value.usage, text)
            reason = finish_of(value.body)
            ending = Ending(answered, value.usage, answered.cost_usd, text, reason)
        finally:
            books.settle(ending, **kept)
        report = answer_report(job, answered, permitted(self.experts, job.caller))
        return WholeReply(value, report | costs(job, answered.cost_usd))

    async def _open(
        self, request: CompletionRequest, caller: Caller, visit: Visit
    ) -> tuple[dict[str, Any], AsyncGenerator[Body, None]]:
        job = visit.job = await self._let_in(request, caller, visit.notes)
        if asks_several(job) or is_held(job):
            work = visit.notes.watch(self._answer_whole(job))
            return await open_held(job, work, self.background, wants_usage=request.wants_usage)
        books = self._books(job)
        course: InOrder[OpenStream] = InOrder(job.order, job.most_answers)
        try:
            answered = await self._ask(
                job,
                books,
                course,
                lambda client, ask, left_s: open_in_time(client, ask, left_s, is_last=course.is_last),
            )
        except BaseException:
            books.settle()
            raise
        report = answer_report(job, answered, permitted(self.experts, caller))
        streamed = StreamedAnswer(job, books, answered, report, self.background)
        pieces = streamed.pieces(self.config.longest_stream_s, wants_usage=request.wants_usage)
        await anext(pieces)  # begun: from here on its end is run whatever becomes of it
        return report, pieces

    async def _let_in(self, request: CompletionRequest, caller: Caller, notes: Notes) -> InFlight:
        """Decide on a request and set money aside for it, once it is this caller's turn at the door.

        What takes the processor lies behind it: of a crowd of one key's requests a few are inside, and those
        of other keys need not get through all of them.
        """
        arrived = time.monotonic()
        await self.follow_orders()
        longest_s = [one for one in (request.max_latency_s, caller.max_latency_s) if one]
        async with self._turn(caller, min([_DOOR_PATIENCE_S, *longest_s])):
            job = await self._admission.begin(request, caller, notes)
        job.began = arrived
        return job

    def _notes(self, request: CompletionRequest, caller: Caller, traceparent: str | None) -> Notes:
        if self.traces is None or (sampled := self.traces.begin(traceparent)) is None:
            return UNTRACED
        told = about_asked(request, caller, self.experts)
        return RequestTrace(sampled, operation_of(request), told, self.traces.take)

    def _turn(self, caller: Caller, patience_s: float = _DOOR_PATIENCE_S) -> Turn:
        return Turn(self._door, caller.key_id or "", patience_s)

    def _books(self, job: InFlight) -> RequestBooks:
        return RequestBooks(job, self.ledger, self.breaker, self._counters, self.background, self._recorder)

    async def _ask(
        self,
        job: InFlight,
        books: RequestBooks,
        course: Course[T],
        ask: Callable[[ExpertClient, Ask, float], Awaitable[T | Failure]],
        judge: Callable[[T], Unusable | None] = lambda _: None,
    ) -> Answered[T]:
        async def ask_one(client: ExpertClient, timeout_s: float) -> T | Failure:
            name, asked_at = client.spec.name, time.monotonic()
            if name in self.service.drained:  # since the request was planned
                return _DRAINED

            async def ask_once(left_s: float) -> T | Failure:
                turns = self._turns.get(name)
                return await ask_in_turn(turns, job, name, lambda s: ask(client, job.asks[name], s), left_s)

            value = await ask_with_retries(job, client.spec, self._counters[name], ask_once, timeout_s)
            if isinstance(value, WholeAnswer):
                self.latencies.note(name, time.monotonic() - asked_at)
            return value

        longest_s = min(self.config.deadline_s, job.max_latency_s or self.config.deadline_s)
        return await find_answer(course, ask_one, job.began + longest_s, books, judge=judge)
