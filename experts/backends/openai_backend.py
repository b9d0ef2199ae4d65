"""Answers from any API that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from experts.backends.api_calls import (
    LONGEST_RETRY_AFTER_S,
    MalformedReplyError,
    RateLimit,
    is_garbled,
    is_passing,
    may_be_billed,
    retry_wait_s,
)
from experts.backends.base import BUDGET_SPENT, Keep, RawAnswer, raw_table
from experts.backends.spend_cap import Grant, Purse
from experts.catalogue.prompts import DEFAULT_TEMPLATES, LETTERS, render_prompt
from experts.catalogue.spec import ExpertSpec
from experts.grading.parsing import parse_choice
from warehouse import InputError

_TOP_LOGPROBS = 20

#: Prompt tokens at most that an API adds around a message: roles, and a system prompt of its own.
_CHAT_FRAME_TOKENS = 256


@dataclass
class _Bill:
    """What the replies to one question came to, so far; None where the API does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def add(self, usage: Any) -> None:
        self.prompt_tokens = (self.prompt_tokens or 0) + usage.prompt_tokens
        self.completion_tokens = (self.completion_tokens or 0) + usage.completion_tokens


@dataclass(frozen=True)
class _Question:
    """One question on its way: what is asked, who pays, and what it has come to."""

    question_id: str
    text: str
    choices: list[str]
    purse: Purse | None
    bill: _Bill


class _BudgetSpentError(Exception):
    """The worst case of a request does not fit what is left."""


class OpenAIBackend:
    """An expert behind an OpenAI-compatible API; see :class:`experts.backends.base.Backend`.

    Over all callers together, at most ``concurrency`` requests are in flight, and ``requests_per_min`` and
    ``tokens_per_min`` are kept. A request that meets 408, 409, 425, 429, 5xx, a timeout, a broken connection
    or a garbled reply is tried again up to ``max_retries`` times, after the ``Retry-After`` that the server
    names, else with exponential backoff and full jitter. All attempts at a request, also those of a later
    run, carry the same ``Idempotency-Key``, by which an API that knows such keys bills it once.

    Tokens are those of the replies' ``usage``. With ``scoring: letter`` the likelihood of the option letters
    as the first token decides; an API that gives no log-probabilities is asked to generate instead.
    ``latency_s`` is that of the question itself, retries included.
    """

    def __init__(self, spec: ExpertSpec) -> None:
        self.spec = spec
        if spec.api_key_env is None:
            self._key = "none"  # a server of one's own; the client insists on some key
        elif not (key := os.environ.get(spec.api_key_env)):
            raise InputError(
                f"expert {spec.name!r} needs a key, and {spec.api_key_env} is not set",
                fix=f"export {spec.api_key_env}=...",
            )
        else:
            self._key = key
        self._has_logprobs = spec.scoring == "letter"
        # One event loop in a thread of its own: callers may be threads, or inside an event loop already.
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=f"api-{spec.name}", daemon=True).start()
        weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    async def _open(self) -> None:
        from openai import AsyncOpenAI

        spec = self.spec
        self._turn = asyncio.Semaphore(spec.concurrency)
        self._limit = RateLimit(spec.requests_per_min, spec.tokens_per_min)
        self._client = AsyncOpenAI(
            api_key=self._key, base_url=spec.base_url, timeout=spec.timeout_s, max_retries=0
        )

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
        columns = [questions[name].to_pylist() for name in ("question_id", "prompt", "choices", "kind")]
        asked = [
            _Question(name, text, (choices or []) if kind == "choice" else [], purse, _Bill())
            for name, text, choices, kind in zip(*columns, strict=True)
        ]
        return list(await asyncio.gather(*(self._answer_one(question, keep) for question in asked)))

    async def _answer_one(self, question: _Question, keep: Keep | None) -> RawAnswer:
        async with self._turn:
            start = time.perf_counter()
            try:
                answer = await self._ask(question)
            except _BudgetSpentError as error:
                answer = RawAnswer(error=f"{BUDGET_SPENT}: {error}")
            except Exception as error:  # whatever befalls one question stays with it
                answer = RawAnswer(error=_describe(error, self._key))
            answer.prompt_tokens = question.bill.prompt_tokens
            answer.completion_tokens = question.bill.completion_tokens
            answer.latency_s = time.perf_counter() - start
            if keep is not None:
                await asyncio.to_thread(keep, question.question_id, answer)
            return answer

    async def _ask(self, question: _Question) -> RawAnswer:
        if not question.text.strip():
            raise ValueError("the prompt is empty")
        if len(question.choices) > len(LETTERS):
            raise ValueError(f"{len(question.choices)} options, and {len(LETTERS)} at most have letters")
        if question.choices and self._has_logprobs:
            from openai import BadRequestError, UnprocessableEntityError

            try:
                scored = await self._score_letters(question)
            except (BadRequestError, UnprocessableEntityError) as error:
                if "logprobs" not in str(error):
                    raise
                scored = None
            if scored is not None:
                return scored
            self._has_logprobs = False
        return await self._generate(question)

    async def _score_letters(self, question: _Question) -> RawAnswer | None:
        """Choose the likeliest letter, or return None when the API gives no log-probabilities."""
        reply = await self._complete(
            question, "generate", max_tokens=1, logprobs=True, top_logprobs=_TOP_LOGPROBS
        )
        choice = reply.choices[0]
        if not choice.logprobs or not choice.logprobs.content:
            return None
        top = choice.logprobs.content[0].top_logprobs
        logprobs = [
            _log_sum_exp([t.logprob for t in top if t.token.strip() == letter])
            for letter in LETTERS[: len(question.choices)]
        ]
        best = max(range(len(logprobs)), key=logprobs.__getitem__)
        chosen = best if logprobs[best] > -math.inf else None
        return RawAnswer(
            text=choice.message.content,
            choice=chosen,
            choice_logprobs=logprobs if chosen is not None else None,
        )

    async def _generate(self, question: _Question) -> RawAnswer:
        kind = "generate" if question.choices else "free"
        reply = await self._complete(question, kind, max_tokens=self.spec.max_tokens)
        text = (reply.choices[0].message.content or "").strip()
        return RawAnswer(text=text, choice=parse_choice(text, question.choices) if question.choices else None)

    async def _complete(self, question: _Question, kind: str, *, max_tokens: int, **options: Any) -> Any:
        """Send one request, again where that may help; each attempt is reserved, counted and settled."""
        spec = self.spec
        prompt = render_prompt(spec.prompt or DEFAULT_TEMPLATES[kind], question.text, question.choices)
        if spec.stop:
            options["stop"] = list(spec.stop)
        # A token is one byte of text or more.
        most_tokens = len(prompt.encode()) + _CHAT_FRAME_TOKENS
        worst_usd = spec.price.cost_usd(most_tokens, max_tokens)
        key = f"{question.question_id}-{spec.name}-{spec.version}-{kind}-{max_tokens}"
        headers = {"Idempotency-Key": hashlib.sha256(key.encode()).hexdigest()}
        for attempt in range(spec.max_retries + 1):
            await self._reserve(question.purse, worst_usd)
            spent_usd = worst_usd  # whatever goes wrong in between, until the bill says less
            try:
                await self._limit.take(len(prompt) // 4 + max_tokens)
                reply = await self._send(
                    model=spec.model,
                    messages=[{"role": "user", "content": prompt}],
                    temperature=spec.temperature,
                    max_tokens=max_tokens,
                    extra_headers=headers,
                    **options,
                )
                if usage := getattr(reply, "usage", None):
                    question.bill.add(usage)
                    spent_usd = spec.price.cost_usd(usage.prompt_tokens, usage.completion_tokens)
                if not getattr(reply, "choices", None):
                    raise MalformedReplyError("the reply holds no choices")
                return reply
            except Exception as error:
                if not may_be_billed(error):
                    spent_usd = 0.0
                wait_s = retry_wait_s(error, attempt)
                if attempt == spec.max_retries or not is_passing(error) or wait_s > LONGEST_RETRY_AFTER_S:
                    raise
            finally:
                if question.purse is not None:
                    await asyncio.to_thread(question.purse.settle, worst_usd, spent_usd)
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, **request: Any) -> Any:
        from openai import APITimeoutError

        try:
            # The client's own limit is on each read; a server that drips is cut off by this one.
            async with asyncio.timeout(self.spec.timeout_s):
                return await self._client.chat.completions.create(**request)
        except TimeoutError as error:
            no_request: Any = None  # the error's type is of whichever HTTP library the client stands on
            raise APITimeoutError(no_request) from error
        except Exception as error:
            if is_garbled(error):
                raise MalformedReplyError(f"{type(error).__name__}: {error}") from error
            if getattr(error, "status_code", None) == 429:
                self._limit.hold_back(min(retry_wait_s(error, 0), LONGEST_RETRY_AFTER_S))
            raise

    async def _reserve(self, purse: Purse | None, usd: float) -> None:
        while purse is not None:
            grant = await asyncio.to_thread(purse.reserve, usd)
            if grant is Grant.GRANTED:
                return
            if grant is Grant.REFUSED:
                raise _BudgetSpentError(f"at worst it costs {usd:.6f} USD, more than is left")
            await asyncio.sleep(0.02)


def _log_sum_exp(logprobs: list[float]) -> float:
    """Join the log-probabilities of the spellings of one letter ("A", " A"); -inf when there is none."""
    if not logprobs:
        return -math.inf
    top = max(logprobs)
    return top + math.log(sum(math.exp(value - top) for value in logprobs))


def _describe(error: Exception, key: str) -> str:
    """Return "Class: message", without the key, should a server echo it."""
    return f"{type(error).__name__}: {error}".replace(key, "***")[:500]
