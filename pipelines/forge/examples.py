"""Questions as tokens, exactly as the expert that is tuned will be asked them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from experts import ExpertSpec
from experts.catalogue.prompt_tokens import encode_answer, encode_prompt, question_text
from experts.catalogue.prompts import LETTERS
from pipelines.forge.leaks import answer_text

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Example:
    """A prompt, and the answer that is to follow it; only the answer counts in the loss."""

    prompt: Tokens
    answer: Tokens


@dataclass(frozen=True)
class Choice:
    """A prompt, its options and the place of the right one."""

    prompt: Tokens
    options: tuple[Tokens, ...]
    right: int


def encode_examples(questions: pa.Table, spec: ExpertSpec, tokenizer: Any) -> tuple[Example, ...]:
    """Return what to learn from QUESTIONS rows [n]: the right option's text or letter, or the answer.

    A free-form answer ends with the model's end token, so that it learns to stop; an option does not, as its
    likelihood is read without one.
    """
    examples = []
    for row in questions.to_pylist():
        choices = list(row["choices"] or ()) if row["kind"] == "choice" else []
        prompt, joiner = encode_prompt(
            tokenizer, question_text(spec, row["prompt"], choices, row["source"]), chat=spec.chat
        )
        lettered = choices and spec.scoring != "cloze"
        text = LETTERS[int(row["answer"])] if lettered else answer_text(row)
        end = () if choices else (int(tokenizer.eos_token_id),)
        examples.append(Example(tuple(prompt), encode_answer(tokenizer, joiner, text) + end))
    return tuple(examples)


def encode_choices(questions: pa.Table, spec: ExpertSpec, tokenizer: Any) -> tuple[Choice, ...]:
    """Return the multiple-choice questions among QUESTIONS rows with their options; others are left out."""
    found = []
    for row in questions.to_pylist():
        if row["kind"] != "choice" or not row["choices"]:
            continue
        choices = list(row["choices"])
        prompt, joiner = encode_prompt(
            tokenizer, question_text(spec, row["prompt"], choices, row["source"]), chat=spec.chat
        )
        texts: Sequence[str] = choices if spec.scoring == "cloze" else LETTERS[: len(choices)]
        options = tuple(encode_answer(tokenizer, joiner, text) for text in texts)
        found.append(Choice(tuple(prompt), options, int(row["answer"])))
    return tuple(found)
