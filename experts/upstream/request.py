"""What was asked of an upstream, as far as its reply is judged by it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from experts.catalogue.spec import ExpertSpec
from experts.upstream.counting import characters_of

_TOKENS_PER_MESSAGE = 32  # what a chat template may put around a message
_TOKENS_OF_HOST = 256  # what a host may put before it all: a system prompt, rules for tools
_CHARACTERS_AROUND = 12  # a message, for the likely count: the marks of a chat template
_CHARACTERS_PER_PICTURE = 4_000  # for the likely count; its address, or its data, says nothing of it
_TEXT_PARTS = frozenset(("text", "refusal", "input_text", "output_text"))
_NOT_READ = frozenset(("model", "stream", "stream_options", "user", "n", "best_of", "seed", "metadata"))


@dataclass(frozen=True)
class Ask:
    """A request on its way to an upstream; :func:`ask_of` makes it.

    Attributes:
        spec: the expert.
        body: what its caller wants, in OpenAI's words; the dialect of the expert is applied when it is sent.
        prompt_characters: of all that is to be read (messages, tools, schemas), as
            :func:`~experts.upstream.counting.characters_of` measures; pictures by a guess.
        most_prompt_tokens: no tokeniser makes more of it; infinite for pictures without a known window.
        most_completion_tokens: over all ``n`` answers; infinite where the dialect sends no limit.
        answers: how many were asked for.
    """

    spec: ExpertSpec
    body: dict[str, Any]
    prompt_characters: int
    most_prompt_tokens: float
    most_completion_tokens: float
    answers: int = 1

    @property
    def is_chat(self) -> bool:
        """Whether it is a conversation, not a text to go on with."""
        return "messages" in self.body

    @property
    def repeated_characters(self) -> int:
        """How much of the answers may be the prompt again, which is no completion."""
        return self.prompt_characters * self.answers if self.body.get("echo") else 0

    @property
    def most_usd(self) -> float:
        """The most that an upstream that obeys its limits bills for it; infinite where nothing limits it."""
        if math.isinf(self.most_prompt_tokens) or math.isinf(self.most_completion_tokens):
            return math.inf
        return self.spec.price.cost_usd(self.most_prompt_tokens, self.most_completion_tokens)


def ask_of(spec: ExpertSpec, body: dict[str, Any]) -> Ask:
    """Return a request with the most that it can come to.

    No tokeniser makes more tokens of a text than it has bytes, and whatever an engine reads (messages, tools,
    schemas) is in the body. An image, a sound or a file may be any number of tokens: it fills the context
    window. Completion tokens are limited by the request, else by the catalogue, and everything by the context
    window where that is known. Some engines bill the prompt once for every answer of ``n``, and a list of
    prompts is as many requests.
    """
    window = math.inf if spec.context_tokens is None else float(spec.context_tokens)
    messages = _list_of(body.get("messages"))
    size = len(json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace"))
    size += len(json.dumps(spec.dialect.body, default=str).encode()) if spec.dialect.body else 0
    size += _TOKENS_PER_MESSAGE * (1 + len(messages)) + _TOKENS_OF_HOST
    prompt = math.inf if any(map(_is_more_than_text, messages)) else float(size)
    prompts = _count_prompts(body.get("prompt"))
    answers = _count_of(body.get("n")) * prompts
    tries = answers * _count_of(body.get("best_of"))
    limits = [_count_of(body.get(name), 0) for name in ("max_completion_tokens", "max_tokens")]
    longest = float(max(limits) or spec.max_tokens)  # engines differ in which of the two wins
    if not spec.dialect.sends_limit:
        longest = math.inf
    return Ask(
        spec=spec,
        body=body,
        prompt_characters=_characters_to_read(body),
        most_prompt_tokens=min(prompt, window * prompts) * max(1, tries // prompts),
        most_completion_tokens=min(longest, window) * tries,
        answers=answers,
    )


def _characters_to_read(body: dict[str, Any]) -> int:
    pictures, texts = 0, []
    for message in _list_of(body.get("messages")):
        if not isinstance(message, dict):
            continue
        for part in _parts(message):
            if str(part.get("type")) in _TEXT_PARTS:
                texts.append(str(part.get("text") or part.get("refusal") or ""))
            else:
                pictures += 1
        beside = {name: value for name, value in message.items() if name != "content" and value}
        texts.append(json.dumps(beside, ensure_ascii=False, default=str))
    rest = {
        k: v for k, v in body.items() if k != "messages" and k not in _NOT_READ and isinstance(v, list | dict)
    }
    texts += [json.dumps(rest, ensure_ascii=False, default=str)] if rest else []
    texts.append(str(body["prompt"]) if isinstance(body.get("prompt"), str) else "")
    around = _CHARACTERS_AROUND * (1 + len(_list_of(body.get("messages"))))
    return sum(map(characters_of, texts)) + _CHARACTERS_PER_PICTURE * pictures + around


def _is_more_than_text(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    return bool(message.get("audio")) or any(
        str(part.get("type")) not in _TEXT_PARTS for part in _parts(message)
    )


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, list):
        return [part if isinstance(part, dict) else {"type": "text", "text": part} for part in content]
    return [{"type": "text", "text": content or ""}]


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count_of(value: Any, otherwise: int = 1) -> int:
    return int(value) if isinstance(value, int | float) and 1 <= value < math.inf else otherwise


def _count_prompts(prompt: Any) -> int:
    """Return how many requests a prompt is: a list of texts, or of lists of token ids, is one for each."""
    if isinstance(prompt, list) and prompt and all(isinstance(one, str | list) for one in prompt):
        return len(prompt)
    return 1
