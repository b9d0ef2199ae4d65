"""Answers from any API that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from experts.backends.api_calls import LONGEST_RETRY_AFTER_S, RateLimit, retry_wait_s
from experts.backends.base import BUDGET_SPENT, Keep, RawAnswer, raw_table
from experts.backends.letters import letter_logprobs
from experts.backends.spend_cap import Purse, ReserveOutcome
from experts.catalogue.pricing import Price
from experts.catalogue.prompts import LETTERS, choose_template, render_prompt
from experts.catalogue.spec import ExpertSpec
from experts.eligibility.fit import describe_lacks, estimate_tokens, find_lacks
from experts.eligibility.needs import find_needs
from experts.grading.parsing import parse_choice
from experts.upstream.client import UpstreamClient
from experts.upstream.connection import Post
from experts.upstream.credentials import read_key, scrub
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.reading import Answer
from experts.upstream.request import Ask, ask_of
from experts.upstream.usage import Usage

_TOP_LOGPROBS = 20
_LOGPROBS = re.compile(r"log[ _-]?prob", re.IGNORECASE)
#: What an API may answer to a field that it does not take.
_REFUSING = frozenset((400, 403, 404, 405, 422, 501))

#: Replies in a row that do not know the model, after which an expert is asked no more.
_MOST_GONE = 3
_MOST_THREADS = 64

T = TypeVar("T")


@dataclass
class _Question:
    """One question on its way: what is asked, who pays, and what the replies came to so far."""

    question_id: str
    text: str
    choices: list[str]
    purse: Purse | None
    source: str | None = None
    billed: list[tuple[Usage, Price]] = field(default_factory=list)


class _BudgetSpentError(Exception):
    """The worst case of a request does not fit what is left."""


class _NoAnswerError(Exception):
    """An answer did not come, or is none."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure


class OpenAIBackend:
    """An expert behind an OpenAI-compatible API; see :class:`experts.backends.base.Backend`.

    Over all callers together, at most ``concurrency`` requests are in flight, and ``requests_per_min`` and
    ``tokens_per_min`` are kept. What a failure means stands in
    :data:`experts.upstream.failure.CONSEQUENCES`: one that may pass is tried again up to ``max_retries``
    times, after the wait that the server names, else with exponential backoff and full jitter; after one of
    the operator's account (no credit, a key that is refused, a model that is gone) the expert is asked no
    more. All attempts at a request, also those of a later run, carry the same ``Idempotency-Key``, by which
    an API that knows such keys bills it once.

    Tokens are those that the replies tell where they can be believed, else counted: an answer always has a
    cost. What was withheld, or ended before its first word, is an error and never a wrong answer. With
    ``scoring: letter`` the likelihood of the option letters as the first token decides; an API that gives no
    log-probabilities is asked to generate instead. ``latency_s`` is that of the question itself, retries
    included.

    Args:
        spec: the expert.
        post: what sends its requests, where the API speaks another dialect.

    Raises:
        InputError: the key is missing, or holds what no HTTP header can.
    """

    def __init__(self, spec: ExpertSpec, *, post: Post | None = None) -> None:
        self.spec = spec
        self._key = read_key(spec)
        self._client = UpstreamClient(spec, self._key, post=post)
        self._has_logprobs = spec.scoring == "letter"
        self._knows_logprobs = False  # it has told some
        self._ended: Failure | None = None
        self._gone = 0
        self._threads = ThreadPoolExecutor(
            min(spec.concurrency, _MOST_THREADS), thread_name_prefix=f"money-{spec.name}"
        )
        # One event loop in a thread of its own: callers may be threads, or inside an event loop already.
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=f"api-{spec.name}", daemon=True).start()
        weakref.finalize(self, _close, self._loop, self._client, self._threads)
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    async def _open(self) -> None:
        self._turn = asyncio.Semaphore(self.spec.concurrency)
        self._limit = RateLimit(self.spec.requests_per_min, self.spec.tokens_per_min)

    def answer(
        self, questions: pa.Table, *, purse: Purse | None = None, keep: Keep | None = None
    ) -> pa.Table:
        """Answer a batch; see :meth:`experts.backends.base.Backend.answer`."""
        answering = self._answer_all(questions, purse, keep)
        answers = asyncio.run_coroutine_threadsafe(answering, self._loop).result()
        return raw_table(questions["question_id"].to_pylist(), answers)

    async def _answer_all(
        self, questions: pa.Table, purse: Purse | None, keep: Keep | None
    ) -> list[RawAnswer]:
        columns = [
            questions[name].to_pylist() for name in ("question_id", "prompt", "choices", "kind", "source")
        ]
        asked = [
            _Question(name, text, (choices or []) if kind == "choice" else [], purse, source)
            for name, text, choices, kind, source in zip(*columns, strict=True)
        ]
        return list(await asyncio.gather(*(self._answer_one(question, keep) for question in asked)))

    async def _answer_one(self, question: _Question, keep: Keep | None) -> RawAnswer:
        async with self._turn:
            start = time.perf_counter()
            try:
                if self._ended is not None:
                    raise _NoAnswerError(self._ended)
                answer = await self._ask(question)
                self._gone = 0
            except _BudgetSpentError as error:
                answer = RawAnswer(error=f"{BUDGET_SPENT}: {error}")
            except _NoAnswerError as error:
                self._consider_ending(error.failure)
                answer = RawAnswer(error=str(error))
            except Exception as error:  # whatever befalls one question stays with it
                told = f"{type(error).__name__}: {error}"
                answer = RawAnswer(error=scrub(told, [self._key]))
            if question.billed:
                answer.prompt_tokens = sum(usage.prompt_tokens for usage, _ in question.billed)
                answer.completion_tokens = sum(usage.completion_tokens for usage, _ in question.billed)
                answer.cost_usd = sum(usage.cost_usd(price) for usage, price in question.billed)
            answer.latency_s = time.perf_counter() - start
            if keep is not None:
                try:
                    await self._in_thread(lambda: keep(question.question_id, answer))
                except BaseException:
                    # What cannot be kept must not be bought.
                    self._ended = Failure(FailureKind.NOT_RUNNING, "its answers cannot be kept")
                    raise
            return answer

    def _consider_ending(self, failure: Failure) -> None:
        """Ask no more of an expert whose account or model fails: each further call would fail alike."""
        if failure.consequence.blame != "account":
            return
        self._gone += 1
        if failure.consequence.rest == "at_once" or self._gone >= _MOST_GONE:
            self._ended = failure

    async def _ask(self, question: _Question) -> RawAnswer:
        if not question.text.strip():
            raise ValueError("the prompt is empty")
        if len(question.choices) > len(LETTERS):
            raise ValueError(f"{len(question.choices)} options, and {len(LETTERS)} at most have letters")
        if not question.choices or not self._has_logprobs:
            return await self._generate(question)
        try:
            reply = await self._complete(
                question, "generate", max_tokens=1, logprobs=True, top_logprobs=_TOP_LOGPROBS
            )
        except _NoAnswerError as error:
            if not self._may_refuse_logprobs(error.failure):
                raise
            answer = await self._generate(question)
            # It answers without: so it was them that it refused, in whatever words.
            self._has_logprobs = self._knows_logprobs and error.failure.kind is FailureKind.EMPTY
            return answer
        logprobs = letter_logprobs(reply.body["choices"][0].get("logprobs"), len(question.choices))
        self._has_logprobs = logprobs is not None
        if logprobs is None:
            return await self._generate(question)
        self._knows_logprobs = True
        best = max(range(len(logprobs)), key=logprobs.__getitem__)
        if logprobs[best] == -math.inf:  # it begins with something else, and may name a letter later
            return await self._generate(question)
        if reply.is_withheld:
            raise _NoAnswerError(_withheld())
        return RawAnswer(text=reply.text, choice=best, choice_logprobs=logprobs)

    def _may_refuse_logprobs(self, failure: Failure) -> bool:
        """Tell whether a failure may be about log-probabilities: vendors say so in words of their own."""
        if failure.kind in (FailureKind.CONTENT_FILTER, FailureKind.CONTEXT_OVERFLOW):
            return False
        if _LOGPROBS.search(f"{failure.param} {failure.message}") or failure.kind is FailureKind.EMPTY:
            return True
        return not self._knows_logprobs and failure.upstream_status in _REFUSING

    async def _generate(self, question: _Question) -> RawAnswer:
        kind = "generate" if question.choices else "free"
        reply = await self._complete(question, kind, max_tokens=self.spec.max_tokens)
        if reply.is_withheld:
            raise _NoAnswerError(_withheld())
        if reply.is_unfinished:
            limit = f"the limit of {self.spec.max_tokens} tokens went into thoughts; raise `max_tokens:`"
            raise _NoAnswerError(Failure(FailureKind.EMPTY, limit, 200))
        text = reply.text.strip()
        if not text:
            nothing = "the API sent an answer with nothing in it"
            raise _NoAnswerError(Failure(FailureKind.EMPTY, nothing, 200))
        return RawAnswer(text=text, choice=parse_choice(text, question.choices) if question.choices else None)

    async def _complete(self, question: _Question, kind: str, *, max_tokens: int, **options: Any) -> Answer:
        """Send one request, again where that may help; each attempt is reserved, counted and settled."""
        spec = self.spec
        template = choose_template(spec.prompt, kind, question.source)
        prompt = render_prompt(template, question.text, question.choices)
        if spec.stop:
            options["stop"] = list(spec.stop)
        messages = [{"role": "user", "content": prompt}]
        fields = {"messages": messages, "temperature": spec.temperature, "max_tokens": max_tokens}
        ask = ask_of(spec, fields | options)
        needs = find_needs(ask.body, question.text)
        lacks = find_lacks(spec, needs, lambda _, needs: estimate_tokens(self._client.counter, needs))
        if told := [lack for lack in lacks if lack.is_certain]:
            raise _NoAnswerError(Failure(FailureKind.BAD_REQUEST, describe_lacks({spec.name: tuple(told)})))
        key = f"{question.question_id}-{spec.name}-{spec.version}-{kind}-{max_tokens}"
        headers = {"Idempotency-Key": hashlib.sha256(key.encode()).hexdigest()}
        for attempt in range(spec.max_retries + 1):
            reply = await self._attempt(question, ask, headers)
            if isinstance(reply, Answer):
                return reply
            wait_s = retry_wait_s(reply.retry_after_s, attempt)
            if reply.kind is FailureKind.BUSY:
                self._limit.hold_back(min(wait_s, LONGEST_RETRY_AFTER_S))
            most = spec.max_retries
            if reply.kind is FailureKind.EMPTY:  # once is mostly twice, and billed each time
                most = 0 if "logprobs" in options else min(most, 1)
            if not reply.consequence.may_ask_again or attempt >= most or wait_s > LONGEST_RETRY_AFTER_S:
                raise _NoAnswerError(reply)
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, question: _Question, ask: Ask, headers: dict[str, str]) -> Answer | Failure:
        await self._reserve(question.purse, ask.most_usd)
        spent_usd = ask.most_usd  # whatever goes wrong in between, until the bill says less
        try:
            likely = self._client.counter.prompt_tokens(ask.prompt_characters)
            await self._limit.take(likely + int(ask.most_completion_tokens))
            reply = await self._client.answer(ask, self.spec.timeout_s, headers)
            if reply.usage is not None:
                question.billed.append((reply.usage, ask.price))
                spent_usd = min(reply.usage.cost_usd(ask.price), ask.most_usd)
            elif not isinstance(reply, Answer) and not self._may_be_billed(reply):
                spent_usd = 0.0
            return reply
        finally:
            if (purse := question.purse) is not None:
                await self._in_thread(lambda: purse.settle(ask.most_usd, spent_usd))

    def _may_be_billed(self, failure: Failure) -> bool:
        return failure.consequence.may_be_billed and self.spec.bills_failures != "no"

    async def _reserve(self, purse: Purse | None, usd: float) -> None:
        while purse is not None:
            grant = await self._in_thread(lambda: purse.reserve(usd))
            if grant is ReserveOutcome.GRANTED:
                return
            if grant is ReserveOutcome.REFUSED:
                raise _BudgetSpentError(f"at worst it costs {usd:.6f} USD, more than is left")
            await asyncio.sleep(0.02)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _withheld() -> Failure:
    return Failure(FailureKind.CONTENT_FILTER, "the API's content filter cut the answer off", 200)


def _close(loop: asyncio.AbstractEventLoop, client: UpstreamClient, threads: ThreadPoolExecutor) -> None:
    async def close() -> None:
        await client.aclose()
        loop.stop()

    threads.shutdown(wait=False)
    loop.call_soon_threadsafe(lambda: loop.create_task(close()))
