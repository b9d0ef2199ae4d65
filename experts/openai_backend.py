"""Answers from any API that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from experts.backend import RawAnswer, raw_table
from experts.catalogue import ExpertSpec
from experts.parsing import parse_choice
from experts.prompts import DEFAULT_TEMPLATES, LETTERS, render_prompt
from warehouse import InputError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_TOP_LOGPROBS = 20


class OpenAIBackend:
    """An expert behind an OpenAI-compatible API; see :class:`experts.backend.Backend`.

    At most ``concurrency`` requests are in flight. A request that meets 408, 409, 429, 5xx, a timeout or a
    broken connection is tried again up to ``max_retries`` times, after the ``Retry-After`` that the server
    names, else with exponential backoff and jitter. Tokens are those of the reply's ``usage``.

    With ``scoring: letter`` the likelihood of the option letters as the first token decides; an API that
    gives no log-probabilities is asked to generate instead. ``latency_s`` is that of the question itself,
    retries included.
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

    def answer(self, questions: pa.Table) -> pa.Table:
        """Answer a batch; see :meth:`experts.backend.Backend.answer`."""
        # In a thread of its own: the caller may be inside an event loop already.
        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(asyncio.run, self._answer_all(questions)).result()
        return raw_table(questions["question_id"].to_pylist(), answers)

    async def _answer_all(self, questions: pa.Table) -> list[RawAnswer]:
        from openai import AsyncOpenAI

        spec = self.spec
        turn = asyncio.Semaphore(spec.concurrency)
        columns = [questions[name].to_pylist() for name in ("prompt", "choices", "kind")]
        async with AsyncOpenAI(
            api_key=self._key, base_url=spec.base_url, timeout=spec.timeout_s, max_retries=spec.max_retries
        ) as client:

            async def answer_one(question: str, choices: list[str] | None, kind: str) -> RawAnswer:
                async with turn:
                    start = time.perf_counter()
                    try:
                        answer = await self._ask(client, question, choices or [] if kind == "choice" else [])
                    except Exception as error:  # whatever befalls one question stays with it
                        answer = RawAnswer(error=_describe(error, self._key))
                    answer.latency_s = time.perf_counter() - start
                    return answer

            return list(await asyncio.gather(*map(answer_one, *columns)))

    async def _ask(self, client: AsyncOpenAI, question: str, choices: Sequence[str]) -> RawAnswer:
        if not question.strip():
            raise ValueError("the prompt is empty")
        if len(choices) > len(LETTERS):
            raise ValueError(f"{len(choices)} options, and {len(LETTERS)} at most have letters")
        if choices and self._has_logprobs:
            from openai import BadRequestError, UnprocessableEntityError

            try:
                scored = await self._score_letters(client, question, choices)
            except (BadRequestError, UnprocessableEntityError) as error:
                if "logprobs" not in str(error):
                    raise
                scored = None
            if scored is not None:
                return scored
            self._has_logprobs = False
        return await self._generate(client, question, choices)

    async def _score_letters(
        self, client: AsyncOpenAI, question: str, choices: Sequence[str]
    ) -> RawAnswer | None:
        """Choose the likeliest letter, or return None when the API gives no log-probabilities."""
        reply = await self._complete(
            client, question, choices, "generate", max_tokens=1, logprobs=True, top_logprobs=_TOP_LOGPROBS
        )
        choice = reply.choices[0]
        if not choice.logprobs or not choice.logprobs.content:
            return None
        top = choice.logprobs.content[0].top_logprobs
        logprobs = [
            _log_sum_exp([t.logprob for t in top if t.token.strip() == letter])
            for letter in LETTERS[: len(choices)]
        ]
        best = max(range(len(choices)), key=logprobs.__getitem__)
        chosen = best if logprobs[best] > -math.inf else None
        return RawAnswer(
            text=choice.message.content,
            choice=chosen,
            choice_logprobs=logprobs if chosen is not None else None,
            prompt_tokens=reply.usage.prompt_tokens if reply.usage else None,
            completion_tokens=reply.usage.completion_tokens if reply.usage else None,
        )

    async def _generate(self, client: AsyncOpenAI, question: str, choices: Sequence[str]) -> RawAnswer:
        kind = "generate" if choices else "free"
        reply = await self._complete(client, question, choices, kind, max_tokens=self.spec.max_tokens)
        text = (reply.choices[0].message.content or "").strip()
        return RawAnswer(
            text=text,
            choice=parse_choice(text, choices) if choices else None,
            prompt_tokens=reply.usage.prompt_tokens if reply.usage else None,
            completion_tokens=reply.usage.completion_tokens if reply.usage else None,
        )

    async def _complete(
        self, client: AsyncOpenAI, question: str, choices: Sequence[str], kind: str, **options: Any
    ) -> Any:
        prompt = render_prompt(self.spec.prompt or DEFAULT_TEMPLATES[kind], question, choices)
        if self.spec.stop:
            options["stop"] = list(self.spec.stop)
        reply = await client.chat.completions.create(
            model=self.spec.model,
            messages=[{"role": "user", "content": prompt}],
            temperature=self.spec.temperature,
            **options,
        )
        if not getattr(reply, "choices", None):
            raise ValueError("the reply holds no choices")
        return reply


def _log_sum_exp(logprobs: list[float]) -> float:
    """Join the log-probabilities of the spellings of one letter ("A", " A"); -inf when there is none."""
    if not logprobs:
        return -math.inf
    top = max(logprobs)
    return top + math.log(sum(math.exp(value - top) for value in logprobs))


def _describe(error: Exception, key: str) -> str:
    """Return "Class: message", without the key, should a server echo it."""
    return f"{type(error).__name__}: {error}".replace(key, "***")[:500]
