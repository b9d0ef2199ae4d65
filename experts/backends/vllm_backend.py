"""Answers with a model that vLLM runs, in batches, on a GPU or a CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from experts.backends.base import BUDGET_SPENT, Keep, RawAnswer, raw_table
from experts.backends.likelihood import (
    MAX_OPTIONS,
    ScoringRequest,
    plan_requests,
    read_logprobs,
    sum_logprobs,
)
from experts.backends.spend_cap import Purse, reserve_batch
from experts.backends.vllm_engine import SharedEngine
from experts.catalogue.pricing import Price
from experts.catalogue.prompt_tokens import encode_answer, encode_prompt, question_text
from experts.catalogue.prompts import LETTERS
from experts.catalogue.spec import ExpertSpec
from experts.grading.parsing import parse_choice


@dataclass(frozen=True)
class _Prepared:
    """A question as the engine sees it: its prompt's tokens, and its options' tokens if they are scored."""

    row: int
    prompt: list[int]
    options: list[tuple[int, ...]] | None
    choices: list[str]


class VllmBackend:
    """One expert on an engine of its own or a shared one; see :class:`experts.backends.base.Backend`.

    Batches of several callers run side by side in the engine. ``latency_s`` of a row is its batch's share of
    the engine's time, over the questions in it: batching makes the time of one question alone meaningless.
    ``prompt_tokens`` are those of the question's prompt, once, and ``completion_tokens`` those of the answer
    given (the chosen option or the text): what an API would bill.
    """

    def __init__(
        self, spec: ExpertSpec, engine: SharedEngine | None = None, *, cache_dir: str | Path | None = None
    ) -> None:
        self.spec = spec
        self._engine = engine or SharedEngine([spec], cache_dir=cache_dir)
        self._tokenizer = self._engine.tokenizer
        self._context_tokens = self._engine.context_tokens
        self._lora = self._lora_request()

    def answer(
        self, questions: pa.Table, *, purse: Purse | None = None, keep: Keep | None = None
    ) -> pa.Table:
        """Answer a batch; see :meth:`experts.backends.base.Backend.answer`."""
        start = time.perf_counter()
        answers = [RawAnswer() for _ in range(questions.num_rows)]
        with self._engine.encoding:
            prepared = list(self._prepare(questions, answers))
        reserved_usd, price = 0.0, self.spec.price
        if purse is not None:
            count, reserved_usd = reserve_batch(purse, [self._worst_usd(p, price) for p in prepared])
            for unpaid in prepared[count:]:
                answers[unpaid.row].error = f"{BUDGET_SPENT}: no money is left for this question"
            prepared = prepared[:count]
        spent_usd = reserved_usd  # should the engine die, until the tokens say less
        try:
            self._answer_safely([p for p in prepared if p.options is not None], self._score, answers)
            self._answer_safely([p for p in prepared if p.options is None], self._generate, answers)
            tokens = [(a.prompt_tokens or 0, a.completion_tokens or 0) for a in answers]
            spent_usd = sum(price.cost_usd(*pair) for pair in tokens if any(pair))
        finally:
            if purse is not None:
                purse.settle(reserved_usd, spent_usd)
        share_s = self._engine.clock.share_since(start) / max(1, questions.num_rows)
        for answer in answers:
            answer.latency_s = share_s
        return raw_table(questions["question_id"].to_pylist(), answers)

    def _worst_usd(self, prepared: _Prepared, price: Price) -> float:
        completion = max(map(len, prepared.options)) if prepared.options else self.spec.max_tokens
        return price.most_usd(len(prepared.prompt), completion)

    def _prepare(self, questions: pa.Table, answers: list[RawAnswer]) -> Iterator[_Prepared]:
        """Yield what can be asked; write the error of what cannot into ``answers``."""
        columns = [questions[name].to_pylist() for name in ("prompt", "choices", "kind", "source")]
        for row, (question, choices, kind, source) in enumerate(zip(*columns, strict=True)):
            choices = choices if kind == "choice" and choices else []
            try:
                yield self._encode(row, question, choices, source)
            except ValueError as error:
                answers[row].error = f"UnanswerableQuestion: {error}"

    def _encode(self, row: int, question: str, choices: list[str], source: str | None = None) -> _Prepared:
        if not question.strip():
            raise ValueError("the prompt is empty")
        kind = self.spec.scoring if choices else "free"
        scored = kind in {"letter", "cloze"}
        limit = MAX_OPTIONS if kind == "cloze" else len(LETTERS)
        if len(choices) > limit:
            raise ValueError(f"{len(choices)} options, and scoring {kind} takes at most {limit}")
        if kind == "cloze" and not all(choice.strip() for choice in choices):
            raise ValueError("an option is empty")
        text = question_text(self.spec, question, choices, source)
        # A text far over the context is refused before the tokeniser spends seconds on it: no tokeniser
        # in use makes fewer than one token of 64 characters on average.
        if len(text) > 64 * self._context_tokens:
            raise ValueError(f"{len(text)} characters exceed the context of {self._context_tokens} tokens")
        prompt, joiner = encode_prompt(self._tokenizer, text, chat=self.spec.chat)
        options = None
        if scored:
            texts = LETTERS[: len(choices)] if kind == "letter" else choices
            options = [encode_answer(self._tokenizer, joiner, option) for option in texts]
            if not all(options):
                raise ValueError("an option has no tokens")
        room = max(map(len, options)) if options else 1
        if len(prompt) + room > self._context_tokens:
            raise ValueError(
                f"{len(prompt)} prompt tokens and {room} of the answer exceed the context of "
                f"{self._context_tokens} tokens"
            )
        return _Prepared(row, prompt, options, choices)

    def _answer_safely(self, batch: list[_Prepared], ask: Any, answers: list[RawAnswer]) -> None:
        """Ask for a batch; if the engine refuses it, halve it until the refused question stands alone."""
        from vllm.v1.engine.exceptions import EngineDeadError

        if not batch:
            return
        try:
            for prepared, answer in zip(batch, ask(batch), strict=True):
                answers[prepared.row] = answer
        except EngineDeadError:
            raise
        except Exception as error:
            if len(batch) == 1:
                # Of a step that failed, the question need not be the cause. By name, since releases of
                # vLLM differ in what a refusal descends from.
                kinds = {kind.__name__ for kind in type(error).__mro__}
                refused = not kinds.isdisjoint(("ValueError", "VLLMClientError"))
                kind = "RefusedByEngine" if refused else type(error).__name__
                answers[batch[0].row].error = f"{kind}: {error}"
                return
            middle = len(batch) // 2
            self._answer_safely(batch[:middle], ask, answers)
            self._answer_safely(batch[middle:], ask, answers)

    def _score(self, batch: Sequence[_Prepared]) -> list[RawAnswer]:
        """Choose the likeliest option of each question."""
        plans = [plan_requests(p.options or []) for p in batch]
        jobs = [(p.prompt, request) for p, plan in zip(batch, plans, strict=True) for request in plan]
        outputs = self._run_scoring(jobs, from_cache=True)
        # A prompt's log-probabilities exist only where it was computed, not where it came from the cache.
        again = [
            i
            for i, ((prompt, request), output) in enumerate(zip(jobs, outputs, strict=True))
            if request.needs_prompt_logprobs and (output.num_cached_tokens or 0) > len(prompt)
        ]
        for i, output in zip(
            again, self._run_scoring([jobs[i] for i in again], from_cache=False), strict=True
        ):
            outputs[i] = output
        answers, position = [], 0
        for prepared, plan in zip(batch, plans, strict=True):
            options = prepared.options or []
            logprobs = sum_logprobs(options, read_logprobs(plan, outputs[position : position + len(plan)]))
            position += len(plan)
            choice = max(range(len(options)), key=logprobs.__getitem__)
            answers.append(
                RawAnswer(
                    text=prepared.choices[choice],
                    choice=choice,
                    choice_logprobs=logprobs,
                    prompt_tokens=len(prepared.prompt),
                    completion_tokens=len(options[choice]),
                )
            )
        return answers

    def _run_scoring(
        self, jobs: Sequence[tuple[list[int], ScoringRequest]], *, from_cache: bool
    ) -> list[Any]:
        from vllm import SamplingParams

        if not jobs:
            return []
        sampling = [
            SamplingParams(
                max_tokens=1,
                temperature=0.0,
                logprob_token_ids=list(request.following),
                prompt_logprobs=0 if request.needs_prompt_logprobs else None,
                skip_reading_prefix_cache=not from_cache,
                detokenize=False,
            )
            for _, request in jobs
        ]
        prompts = [prompt + list(request.prefix) for prompt, request in jobs]
        return self._engine.loop.generate(list(zip(prompts, sampling, strict=True)), self._lora)

    def _generate(self, batch: Sequence[_Prepared]) -> list[RawAnswer]:
        """Generate a text for each question, and read the option it names where there are options."""
        from vllm import SamplingParams

        spec = self.spec
        sampling = [
            SamplingParams(
                max_tokens=min(spec.max_tokens, self._context_tokens - len(prepared.prompt)),
                temperature=spec.temperature,
                stop=list(spec.stop) or None,
                seed=0,
            )
            for prepared in batch
        ]
        prompts = [prepared.prompt for prepared in batch]
        outputs = self._engine.loop.generate(list(zip(prompts, sampling, strict=True)), self._lora)
        answers = []
        for prepared, output in zip(batch, outputs, strict=True):
            text = output.outputs[0].text.strip()
            answers.append(
                RawAnswer(
                    text=text,
                    choice=parse_choice(text, prepared.choices) if prepared.choices else None,
                    prompt_tokens=len(prepared.prompt),
                    completion_tokens=len(output.outputs[0].token_ids),
                )
            )
        return answers

    def _lora_request(self) -> Any:
        if self.spec.lora is None:
            return None
        from vllm.lora.request import LoRARequest

        number = 1 + self._engine.adapters.index(self.spec.lora)
        return LoRARequest(self.spec.lora, number, self.spec.lora)
