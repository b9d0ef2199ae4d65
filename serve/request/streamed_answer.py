"""A streamed answer from its first piece to its settlement, however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from experts.forms import Said
from experts.upstream.counting import characters_of
from serve.experts.client import Body, OpenStream
from serve.request.answer_report import costs, kept_of
from serve.request.asking.course import Answered
from serve.request.background import Background
from serve.request.books import RequestBooks
from serve.request.charges import is_beyond
from serve.request.in_flight import InFlight
from serve.request.recording.records import Ending
from serve.request.streaming import Incoming, Tally, count_remainder, relay
from serve.request.tracing.request_trace import CLIENT_LEFT
from serve.request.usable.judging import judge_safely
from serve.request.usable.whole_answer import WholeReply
from serve.wire.api_errors import ApiError


class StreamedAnswer:
    """One streamed answer on its way to a client."""

    def __init__(
        self,
        job: InFlight,
        books: RequestBooks,
        answered: Answered[OpenStream],
        report: dict[str, Any],
        background: Background,
    ) -> None:
        self._job, self._books, self._answered, self._report = job, books, answered, report
        self._background = background
        self._name = answered.expert.spec.name
        self._incoming = Incoming(answered.value, background)
        self._tally = Tally()
        self._told: dict[str, Any] = {}  # of its end
        self._cost_usd = 0.0

    async def pieces(self, longest_s: float, *, wants_usage: bool) -> AsyncGenerator[Body, None]:
        """Yield an empty piece at first, to be taken at once, and then those of the answer.

        A generator that has begun runs its end whatever becomes of it; one that has not, does not.
        """
        job, tally, report = self._job, self._tally, self._report
        opening = {"leeroo": report}
        try:
            yield {}
            async for piece in relay(self._incoming, tally, time.monotonic() + longest_s, self._is_beyond):
                yield piece | opening
                opening = {}
        finally:
            await asyncio.shield(self._background.start(self._close()))
        if tally.last is not None:
            told = {"latency_s": round(time.monotonic() - job.began, 4)}
            yield tally.last | {"leeroo": report | self._told | costs(job, self._cost_usd) | told}
        if tally.failure is not None:
            message = f"the answer broke off: {tally.failure.message}"
            yield ApiError(502, message, code="stream_cut").body()
        elif wants_usage and tally.usage is not None:
            yield (tally.frame or {}) | {"choices": [], "usage": tally.usage.to_openai()}

    def _is_beyond(self) -> bool:
        ask, tally = self._job.asks[self._name], self._tally
        return tally.usage is not None and is_beyond(ask, tally.usage, tally.written)

    def _judge(self) -> None:
        """Count whether the answer was usable. It has gone out: nobody else is asked."""
        last = self._tally.last or {"choices": [{}]}
        said = Said(self._tally.text, str(last["choices"][0].get("finish_reason") or ""))
        unusable = judge_safely(self._job.form, said)
        self._books.judged(self._name, unusable)
        self._told["unusable"] = unusable and unusable.reason.value

    def _keep(self) -> None:
        """Keep the answer, which is all text, where answers are cached."""
        job = self._job
        if job.keep_answer is None or job.asks[self._name].body.get("logprobs"):
            return
        if (whole := self._tally.whole()) is not None:
            job.keep_answer(WholeReply(whole, self._report | self._told))

    async def _close(self) -> None:
        """Stop the stream, charge what came of it, and settle."""
        job, books, tally, name = self._job, self._books, self._tally, self._name
        kept: dict[str, Any] = {}
        ending: Ending | None = None
        try:
            if not tally.is_over and not tally.is_cut:
                await count_remainder(self._incoming, tally)
            if tally.failure is not None:
                books.note(name, tally.failure, self._answered.asked_at)
            is_whole = tally.is_over and tally.failure is None
            if is_whole and tally.usage is not None:
                cost_usd = books.charge(name, tally.usage, tally.written)
            else:
                writing_s = time.monotonic() - job.asked_at
                cost_usd = books.charge_cut(name, tally.usage, tally.written, writing_s)
            self._cost_usd = cost_usd
            if is_whole and tally.written == characters_of(tally.text):  # of calls the pieces are not kept
                self._judge()
                self._keep()
            kept = kept_of(job, name, tally.usage, tally.text if is_whole else None)
            ending = self._ending(cost_usd)
        finally:
            await self._incoming.close()
            books.settle(ending, **kept)

    def _ending(self, cost_usd: float) -> Ending:
        tally = self._tally
        last = tally.last or {"choices": [{}]}
        reason = last["choices"][0].get("finish_reason") if tally.is_over and tally.failure is None else None
        cut = None if tally.failure is None else tally.failure.kind.value
        if cut is None and tally.last is None:
            cut = CLIENT_LEFT
        return Ending(self._answered, tally.usage, cost_usd, tally.text, reason, is_stream=True, cut=cut)
