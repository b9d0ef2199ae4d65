"""How a prompt and what follows it become tokens: the same in asking and in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experts.catalogue.prompts import choose_template, render_prompt
from experts.catalogue.spec import ExpertSpec


def encode_prompt(tokenizer: Any, text: str, *, chat: bool) -> tuple[list[int], str]:
    """Return the tokens of a filled template, and what goes between it and an answer's text."""
    if chat:
        message = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        return tokenizer.encode(text, add_special_tokens=False), ""
    return tokenizer.encode(text), "" if text[-1:].isspace() else " "


def encode_answer(tokenizer: Any, joiner: str, answer: str) -> tuple[int, ...]:
    """Return the tokens of an answer's text as it follows a prompt."""
    return tuple(tokenizer.encode(joiner + answer, add_special_tokens=False))


def question_text(spec: ExpertSpec, question: str, choices: Sequence[str], source: str | None = None) -> str:
    """Return the filled template by which an expert is asked."""
    kind = spec.scoring if choices else "free"
    return render_prompt(choose_template(spec.prompt, kind, source), question, choices)
