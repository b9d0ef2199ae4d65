"""An answer to a request that was let in, whole or as a stream, with its report; its books are closed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from experts.forms import Unusable
from experts.upstream import Ask, Failure
from serve.config import ServeConfig
from serve.experts.client import Body, ExpertClient, OpenStream
from serve.ledger.messages import Caller
from serve.request.answer_report import answer_report, costs, kept_of
from serve.request.asking.by_plan import asks_several, course_of
from serve.request.asking.course import Answered, Course, InOrder
from serve.request.asking.hedging import hedging_of
from serve.request.asking.latencies import Latencies
from serve.request.asking.one_expert import OneExpert
from serve.request.asking.retrying import open_in_time
from serve.request.background import Background
from serve.request.books import RequestBooks
from serve.request.dispatch import find_answer
from serve.request.in_flight import InFlight
from serve.request.recording.records import Ending
from serve.request.streamed_answer import StreamedAnswer
from serve.request.streaming import finish_of, text_of
from serve.request.usable.held_stream import open_held
from serve.request.usable.judging import is_held, judge_of
from serve.request.usable.whole_answer import WholeReply

T = TypeVar("T")


@dataclass(frozen=True)
class Answering:
    """Asks for the answers to requests.

    Attributes:
        config: for its time limits.
        latencies: of the experts.
        one_expert: how each is asked.
        background: holds the work that nobody waits for.
        open_books: begins the books of a request.
        visible: the experts that a caller may be told of.
    """

    config: ServeConfig
    latencies: Latencies
    one_expert: OneExpert
    background: Background
    open_books: Callable[[InFlight], RequestBooks]
    visible: Callable[[Caller], list[str]]

    async def whole(self, job: InFlight) -> WholeReply:
        """Return an answer in one piece.

        Raises:
            ApiError: nobody could answer it.
        """
        books = self.open_books(job)
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
        report = answer_report(job, answered, self.visible(job.caller))
        reply = WholeReply(value, report | costs(job, answered.cost_usd))
        if job.keep_answer is not None:
            job.keep_answer(reply)
        return reply

    async def streamed(self, job: InFlight) -> tuple[dict[str, Any], AsyncGenerator[Body, None]]:
        """Begin to answer; returns what is known of it, and its pieces, which are to be closed.

        Raises:
            ApiError: nobody could begin to answer it.
        """
        wants_usage = job.request.wants_usage
        if asks_several(job) or is_held(job):
            work = job.notes.watch(self.whole(job))
            return await open_held(job, work, self.background, wants_usage=wants_usage)
        books = self.open_books(job)
        hedging = hedging_of(job, self.latencies, is_stream=True)
        course: InOrder[OpenStream] = InOrder(job.order, job.most_answers, hedging=hedging)
        try:
            answered = await self._ask(
                job,
                books,
                course,
                lambda client, ask, left_s: open_in_time(client, ask, left_s, is_last=course.is_last),
                drop=lambda came: self._drop(books, came),
            )
        except BaseException:
            books.settle()
            raise
        report = answer_report(job, answered, self.visible(job.caller))
        streamed = StreamedAnswer(job, books, answered, report, self.background)
        pieces = streamed.pieces(self.config.longest_stream_s, wants_usage=wants_usage)
        await anext(pieces)  # begun: from here on its end is run whatever becomes of it
        return report, pieces

    async def _ask(
        self,
        job: InFlight,
        books: RequestBooks,
        course: Course[T],
        ask: Callable[[ExpertClient, Ask, float], Awaitable[T | Failure]],
        judge: Callable[[T], Unusable | None] = lambda _: None,
        drop: Callable[[Answered[T]], float] | None = None,
    ) -> Answered[T]:
        async def ask_one(client: ExpertClient, timeout_s: float) -> T | Failure:
            return await self.one_expert.ask(job, client, ask, timeout_s)

        longest_s = min(self.config.deadline_s, job.max_latency_s or self.config.deadline_s)
        return await find_answer(course, ask_one, job.began + longest_s, books, judge=judge, drop=drop)

    def _drop(self, books: RequestBooks, came: Answered[OpenStream]) -> float:
        """Close a stream that began beside the one given back; return what it cost."""
        self.background.start(came.value.rest.aclose())
        return books.dropped(came)
