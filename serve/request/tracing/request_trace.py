"""The notes of one request that is traced: spans with their times, handed on when the last one has ended."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from experts import Price
from experts.forms import Unusable
from experts.upstream import Failure, Usage
from serve.experts.client import ExpertClient, OpenStream, WholeAnswer
from serve.request.tracing.about_experts import EXPERT, Told, about_answer, about_expert, about_usage
from serve.request.tracing.notes import About, Outcome
from serve.tracing.messages import Attributes, NotedSpan, NotedTrace, Said, Sampled
from serve.wire.api_errors import ApiError

logger = logging.getLogger("ray.serve")

R = TypeVar("R")
P = ParamSpec("P")

CLIENT_LEFT = "client_left"
SHUTTING_DOWN = "shutting_down"


@dataclass
class _Span:
    """A span that is still being noted."""

    name: str
    kind: Literal["server", "client", "internal"]
    began_ns: int
    parent: int | None
    attributes: Told = field(default_factory=dict)
    ended_ns: int | None = None
    error: str | None = None


@dataclass
class _Attempt:
    """An expert that is asked, and the fallback of which it is a part, by their places."""

    price: Price  # that held when it was asked
    place: int
    fallback: int | None
    why_not: str | None = None  # it gave no answer that could be used


def _harmless(
    note: Callable[Concatenate[RequestTrace, P], None],
) -> Callable[Concatenate[RequestTrace, P], None]:
    """Make a note that cannot be taken a matter of the log: the request goes on."""

    @functools.wraps(note)
    def take(self: RequestTrace, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            note(self, *args, **kwargs)
        except Exception as error:  # its message may hold a text
            logger.error("a trace lacks a note (%s: %s)", note.__name__, type(error).__name__)

    return take


class RequestTrace:
    """Takes notes of a request; see :class:`serve.request.tracing.notes.Notes`.

    Args:
        sampled: the trace that it belongs to.
        operation: ``chat`` or ``text_completion``.
        attributes: what is known of it at first.
        hand_on: takes the whole trace when it is complete.
    """

    def __init__(
        self,
        sampled: Sampled,
        operation: str,
        attributes: Attributes,
        hand_on: Callable[[NotedTrace], None],
    ) -> None:
        self._sampled, self._operation, self._hand_on = sampled, operation, hand_on
        self._offset_ns = time.time_ns() - time.monotonic_ns()  # spans do not follow a clock that is set
        name = f"{operation} {attributes.get('gen_ai.request.model', 'unknown')}"
        self._spans = [_Span(name, "server", self._now_ns(), None, dict(attributes))]
        self._attempts: dict[str, _Attempt] = {}
        self._said: Said | None = None
        self._awaits_settlement = self._is_done = False

    async def watch(self, work: Coroutine[Any, Any, R]) -> R:
        """See :class:`Notes`."""
        try:
            return await work
        except BaseException as error:
            self._raised(error)
            raise

    async def during(self, name: str, work: Coroutine[Any, Any, R], about: About[R]) -> R:
        """See :class:`Notes`."""
        place = self._open(name)
        try:
            found = await work
        except BaseException as error:
            self._close(place, _word_of(error))
            raise
        self._tell(place, about, found)
        self._close(place)
        return found

    @_harmless
    def asked(self, expert: ExpertClient, why: str) -> None:
        """See :class:`Notes`. Who is asked because another answered in vain stands below a fallback."""
        name, fallback = expert.spec.name, None
        at_work = [one for one, attempt in self._attempts.items() if self._is_open(attempt.place)]
        last = next(reversed(self._attempts.items()), None)
        if at_work:
            why = f"beside {', '.join(at_work)}, still at work"
        elif last is not None and last[1].why_not is not None:
            why = f"{last[0]} gave no usable answer: {last[1].why_not}"
            told: Told = {"leeroo.fallback.from": last[0], "leeroo.fallback.reason": last[1].why_not}
            fallback = self._open(f"fallback {name}", attributes=told)
        elif last is not None:
            why = "another opinion"
        attributes = about_expert(expert.spec, self._operation)
        attributes |= {"leeroo.why": why, "leeroo.attempt": len(self._attempts) + 1}
        parent = 0 if fallback is None else fallback
        place = self._open(f"{self._operation} {expert.spec.model}", "client", parent, attributes)
        self._attempts[name] = _Attempt(expert.spec.price, place, fallback)

    @_harmless
    def came(self, name: str, value: object) -> None:
        """See :class:`Notes`."""
        span = self._spans[self._attempts[name].place]
        if isinstance(value, WholeAnswer):
            span.attributes |= about_answer(value)
        elif isinstance(value, OpenStream):
            span.attributes["gen_ai.response.time_to_first_chunk"] = (self._now_ns() - span.began_ns) / 1e9

    @_harmless
    def judged(self, name: str, unusable: Unusable) -> None:
        """See :class:`Notes`."""
        attempt = self._attempts[name]
        attempt.why_not = unusable.reason.value
        self._spans[attempt.place].attributes["leeroo.unusable"] = unusable.reason.value

    @_harmless
    def failed(self, name: str, failure: Failure) -> None:
        """See :class:`Notes`. What an API says of a failure may quote the request: it is left out."""
        attempt = self._attempts[name]
        span = self._spans[attempt.place]
        attempt.why_not = span.error = failure.kind.value
        if failure.upstream_status is not None:
            span.attributes["http.response.status_code"] = failure.upstream_status

    @_harmless
    def abandoned(self, name: str, *, was_sent: bool) -> None:
        """See :class:`Notes`."""
        if (attempt := self._attempts.get(name)) is None:
            return
        self._spans[attempt.place].attributes["leeroo.abandoned"] = True
        if not was_sent:
            self._end(attempt)

    @_harmless
    def used(self, name: str, usage: Usage) -> None:
        """See :class:`Notes`."""
        attempt = self._attempts[name]
        self._spans[attempt.place].attributes |= about_usage(usage, attempt.price)

    @_harmless
    def paid(self, name: str, cost_usd: float) -> None:
        """See :class:`Notes`."""
        attempt = self._attempts[name]
        span = self._spans[attempt.place]
        span.attributes["leeroo.cost_usd"] = cost_usd
        self._end(attempt)

    @_harmless
    def ended(self, outcome: Callable[[], Outcome]) -> None:
        """See :class:`Notes`."""
        self._awaits_settlement = True
        attributes, self._said, error = outcome()
        self._spans[0].attributes |= attributes
        self._close(0, error)
        reason, attempt = (
            attributes.get("leeroo.finish_reason"),
            self._attempts.get(str(attributes.get(EXPERT))),
        )
        if reason is not None and attempt is not None:  # of a stream it is known at its end
            told = self._spans[attempt.place].attributes
            told.setdefault("gen_ai.response.finish_reasons", (str(reason),))

    @_harmless
    def settled(self) -> None:
        """See :class:`Notes`."""
        if self._is_done:
            return
        self._is_done = True
        now_ns = self._now_ns()
        spans = tuple(
            NotedSpan(
                one.name,
                one.kind,
                one.began_ns,
                one.ended_ns or now_ns,
                one.parent,
                one.attributes,
                one.error,
            )
            for one in self._spans
        )
        self._hand_on(NotedTrace(self._sampled, spans, self._said))

    @_harmless
    def _raised(self, error: BaseException) -> None:
        """Note why the request failed, unless that is known; nothing follows where it never got in."""
        word, root = _word_of(error), self._spans[0]
        if isinstance(error, asyncio.CancelledError):
            word = SHUTTING_DOWN if self._awaits_settlement else CLIENT_LEFT
        if isinstance(error, ApiError) and root.error is None:
            root.attributes["http.response.status_code"] = error.status
        self._close(0, root.error or word)
        if not self._awaits_settlement:
            self.settled()

    def _open(
        self,
        name: str,
        kind: Literal["client", "internal"] = "internal",
        parent: int = 0,
        attributes: Told | None = None,
    ) -> int:
        self._spans.append(_Span(name, kind, self._now_ns(), parent, attributes or {}))
        return len(self._spans) - 1

    def _close(self, place: int, error: str | None = None) -> None:
        span = self._spans[place]
        span.ended_ns = span.ended_ns or self._now_ns()
        span.error = error

    def _end(self, attempt: _Attempt) -> None:
        self._close(attempt.place, self._spans[attempt.place].error)
        if attempt.fallback is not None:
            self._close(attempt.fallback)

    def _is_open(self, place: int) -> bool:
        return self._spans[place].ended_ns is None

    @_harmless
    def _tell(self, place: int, about: About[Any], found: Any) -> None:
        self._spans[place].attributes |= about(found)

    def _now_ns(self) -> int:
        return time.monotonic_ns() + self._offset_ns


def _word_of(error: BaseException) -> str:
    if isinstance(error, ApiError):
        return error.code or str(error.status)
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
