"""What was asked of an upstream, as far as its reply is judged by it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import orjson

from experts.catalogue.pricing import Price
from experts.catalogue.spec import ExpertSpec
from experts.upstream.address import CHAT, EMBEDDINGS, RERANK, TEXT
from experts.upstream.counting import characters_of

_TOKENS_PER_MESSAGE = 32  # what a chat template may put around a message
_TOKENS_OF_HOST = 256  # what a host may put before it all: a system prompt, rules for tools
_CHARACTERS_AROUND = 12  # a message, for the likely count: the marks of a chat template
_CHARACTERS_PER_PICTURE = 4_000  # for the likely count; its address, or its data, says nothing of it
_TEXT_PARTS = frozenset(("text", "refusal", "input_text", "output_text"))
_LONG = 10_000  # characters of a text
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
        price: the one that held when it was asked: by it money is set aside, and the bill is reckoned.
        answers: how many were asked for.
    """

    spec: ExpertSpec
    body: dict[str, Any]
    prompt_characters: int
    most_prompt_tokens: float
    most_completion_tokens: float
    price: Price
    answers: int = 1

    @property
    def is_chat(self) -> bool:
        """Whether it is a conversation, not a text to go on with."""
        return self.path == CHAT

    @property
    def path(self) -> str:
        """The path that it is sent to."""
        return path_of(self.body)

    @property
    def is_completion(self) -> bool:
        """Whether something is to be written; vectors and orders of documents are not."""
        return self.path in (CHAT, TEXT)

    @property
    def repeated_characters(self) -> int:
        """How much of the answers may be the prompt again, which is no completion."""
        return self.prompt_characters * self.answers if self.body.get("echo") else 0

    @property
    def most_usd(self) -> float:
        """The most that an upstream that obeys its limits bills for it; infinite where nothing limits it."""
        if math.isinf(self.most_prompt_tokens) or math.isinf(self.most_completion_tokens):
            return math.inf
        return self.price.most_usd(self.most_prompt_tokens, self.most_completion_tokens)


@dataclass(frozen=True)
class Extent:
    """What a body comes to, whoever is asked; :func:`measure` makes it.

    Attributes:
        bytes: of all of it as JSON, with what a template and a host may put around it.
        characters: of what is to be read, as :func:`~experts.upstream.counting.characters_of` measures.
        is_text: whether there are no pictures, sounds or files.
        prompts: how many requests it is.
        answers: how many were asked for, over all prompts.
        tries: how many are made, the best of which are returned.
        limit: the completion tokens of one answer that it names; 0 for none.
    """

    bytes: int
    characters: int
    is_text: bool
    prompts: int
    answers: int
    tries: int
    limit: int


def path_of(body: dict[str, Any]) -> str:
    """Return the path that a body is for."""
    if "messages" in body:
        return CHAT
    return RERANK if "documents" in body else EMBEDDINGS if "input" in body else TEXT


def measure(body: dict[str, Any]) -> Extent:
    """Return what a body comes to. It is the same for every expert, so a request is measured once."""
    messages = _list_of(body.get("messages"))
    prompts = _count_prompts(body.get("prompt", body.get("input")))
    documents = _list_of(body.get("documents"))
    if documents:  # the query is read with each of them
        prompts = len(documents)
        query = {"query": body.get("query")}
        body = {**body, "documents": [[query, document] for document in documents]}
    answers = _count_of(body.get("n")) * prompts
    limits = [_count_of(body.get(name), 0) for name in ("max_completion_tokens", "max_tokens")]
    return Extent(
        bytes=_body_bytes(body) + _TOKENS_PER_MESSAGE * (1 + len(messages)) + _TOKENS_OF_HOST,
        characters=_characters_to_read(body),
        is_text=not any(map(_is_more_than_text, messages)),
        prompts=prompts,
        answers=answers,
        tries=answers * _count_of(body.get("best_of")),
        limit=max(limits),  # engines differ in which of the two wins
    )


def ask_of(spec: ExpertSpec, body: dict[str, Any], extent: Extent | None = None) -> Ask:
    """Return a request with the most that it can come to; ``extent`` is that of the body, where it is known.

    No tokeniser makes more tokens of a text than it has bytes, and whatever an engine reads (messages, tools,
    schemas) is in the body. An image, a sound or a file may be any number of tokens: it fills the context
    window. Completion tokens are limited by the request, else by the catalogue, and everything by the context
    window where that is known. Some engines bill the prompt once for every answer of ``n``, and a list of
    prompts is as many requests.
    """
    extent = extent or measure(body)
    window = math.inf if spec.context_tokens is None else float(spec.context_tokens)
    size = extent.bytes + (_json_bytes(spec.dialect.body) if spec.dialect.body else 0)
    prompt = float(size) if extent.is_text else math.inf
    longest = float(extent.limit or spec.max_tokens) if spec.dialect.sends_limit else math.inf
    longest = longest if path_of(body) in (CHAT, TEXT) else 0.0
    return Ask(
        spec=spec,
        body=body,
        prompt_characters=extent.characters,
        most_prompt_tokens=min(prompt, window * extent.prompts) * max(1, extent.tries // extent.prompts),
        most_completion_tokens=min(longest, window) * extent.tries,
        price=spec.price,
        answers=extent.answers,
    )


def _body_bytes(body: dict[str, Any]) -> int:
    """Return what :func:`_json_bytes` does, without looking for marks in texts as long as a book."""
    messages, texts = _list_of(body.get("messages")), []
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str) and len(content) > _LONG:
            texts.append(content)
            messages = [*messages[:index], {**message, "content": ""}, *messages[index + 1 :]]
    hollow = {**body, "messages": messages} if texts else body
    return sum(map(_json_bytes, texts)) + _json_bytes(hollow)


def _json_bytes(value: Any) -> int:
    """Return the bytes of a value as JSON with blanks between its parts, as templates write it."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # a number of more than 64 bits, half a character, 254 lists in each other
        return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))
    return len(text) if isinstance(value, str) else len(text) + text.count(b",") + text.count(b":")


def _characters_to_read(body: dict[str, Any]) -> int:
    characters, pictures = 0, 0
    messages = _list_of(body.get("messages"))
    for message in messages:
        if not isinstance(message, dict):
            continue
        for part in _parts(message):
            if str(part.get("type")) in _TEXT_PARTS:
                characters += characters_of(str(part.get("text") or part.get("refusal") or ""))
            else:
                pictures += 1
        characters += _json_bytes(
            {name: value for name, value in message.items() if name != "content" and value}
        )
    rest = {
        k: v for k, v in body.items() if k != "messages" and k not in _NOT_READ and isinstance(v, list | dict)
    }
    characters += _json_bytes(rest) if rest else 0
    texts = (body.get(name) for name in ("prompt", "input", "query"))
    characters += sum(characters_of(text) for text in texts if isinstance(text, str))
    return characters + _CHARACTERS_PER_PICTURE * pictures + _CHARACTERS_AROUND * (1 + len(messages))


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
