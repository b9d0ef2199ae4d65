"""A whole reply, judged: an answer in OpenAI's shape, or a failure of a stated kind."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experts.upstream.counting import TokenCounter
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.refusals.error_reply import read_error
from experts.upstream.request import Ask
from experts.upstream.shape.choices import Choice, read_choices
from experts.upstream.shape.json_text import clean, clean_text, read_json
from experts.upstream.shape.vectors import read_dict, read_ranks, read_vectors
from experts.upstream.usage import Usage
from experts.upstream.usage_told import count_usage, read_usage

_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_OWN = frozenset(("id", "object", "created", "model", "choices", "usage", "error"))


@dataclass(frozen=True)
class Answer:
    """What an expert answered: ``body`` is a clean completion in OpenAI's shape; ``usage`` can be."""

    body: dict[str, Any]
    usage: Usage

    @property
    def text(self) -> str:
        """What the first choice says; its ``refusal`` where it declines: that is the model's own word."""
        choice = self.body["choices"][0]
        if "message" not in choice:
            return str(choice["text"])
        return str(choice["message"].get("content") or choice["message"].get("refusal") or "")

    @property
    def finish_reason(self) -> str:
        """Why the first choice ended: ``stop``, ``length``, ``tool_calls``, ``content_filter``."""
        return str(self.body["choices"][0]["finish_reason"])

    @property
    def is_withheld(self) -> bool:
        """Whether a filter cut the answer off: what is there is not what the model says."""
        return self.finish_reason == "content_filter"

    @property
    def is_unfinished(self) -> bool:
        """Whether the limit was spent on thoughts, and no word of the answer came: unscored, never wrong.

        An answer that had begun when it was cut off is one, as far as it goes.
        """
        has_calls = "message" in self.body["choices"][0] and self.body["choices"][0]["message"].get(
            "tool_calls"
        )
        return self.finish_reason == "length" and not has_calls and not _THOUGHT.sub("", self.text).strip()


def read_reply(
    ask: Ask,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    counter: TokenCounter,
    *,
    sent: Mapping[str, Any] | None = None,
    secrets: Sequence[str] = (),
) -> Answer | Failure:
    """Judge a whole reply.

    An answer's body is valid JSON in OpenAI's shape: choices in order, each with a message (or a text), no
    NaN, no half surrogates, ``model`` the expert's name. Everything else is a failure: a status of 300 or
    above, an error anywhere in a reply of 200, no JSON, no choices, nothing in them.

    Args:
        ask: what was asked.
        status: the HTTP status.
        headers: of the reply.
        body: its bytes, decompressed.
        counter: of the expert; learns from bills that can be believed.
        sent: the fields as they were sent, where a dialect words them otherwise.
        secrets: what nothing that is passed on may hold.
    """
    try:
        content = read_json(body)
    except ValueError as error:
        if status >= 300:
            page = body[:24_000].decode("utf-8", "replace")  # cut shorter once no key is in it
            return read_error(ask, status, headers, page, sent=sent, secrets=secrets)
        return _malformed(status, _describe_garbage(body, str(error)))
    if isinstance(content, list) and content and isinstance(content[0], dict) and "error" in content[0]:
        content = content[0]  # Google's way
    if status >= 300:
        return read_error(ask, status, headers, content, sent=sent, secrets=secrets)
    if not isinstance(content, dict):
        return _malformed(status, "the API sent JSON that is no object")
    return _read_content(ask, status, headers, content, counter, sent, secrets)


def _read_content(
    ask: Ask,
    status: int,
    headers: Mapping[str, str],
    content: dict[str, Any],
    counter: TokenCounter,
    sent: Mapping[str, Any] | None,
    secrets: Sequence[str],
) -> Answer | Failure:
    told = content.get("usage")
    if not ask.is_completion:
        return _read_list(ask, status, headers, content, counter, sent, secrets)
    choices = read_choices(content.get("choices"), is_chat=ask.is_chat)
    good = [choice for choice in choices if choice.error is None]
    if content.get("error") or (choices and not good) or (not choices and is_error(content)):
        error = content if not choices or content.get("error") else {"error": choices[0].error}
        usage = read_usage(told, ask, counter, _written(choices)) if isinstance(told, dict) and told else None
        return read_error(ask, status, headers, error, sent=sent, secrets=secrets, usage=usage)
    if not good:
        return _malformed(status, "the API sent no choices" if content else "the API sent an empty object")
    usage = read_usage(told, ask, counter, _written(choices))
    if failure := nothing_in(ask, [c.body["finish_reason"] for c in good], any(c.shows for c in good), usage):
        return failure
    try:
        cleaned = clean(
            frame_of(content, ask)
            | {name: value for name, value in content.items() if name not in _OWN}
            | {"choices": [{"index": index, **choice.body} for index, choice in enumerate(good)]}
            | {"usage": usage.to_openai()},
            hide=tuple(secrets),
        )
    except ValueError as error:
        return _malformed(status, f"the API sent JSON that is {error}", usage)
    return Answer(cleaned, usage)


def _read_list(
    ask: Ask,
    status: int,
    headers: Mapping[str, str],
    content: dict[str, Any],
    counter: TokenCounter,
    sent: Mapping[str, Any] | None,
    secrets: Sequence[str],
) -> Answer | Failure:
    """Judge a reply that is no completion: one entry for each text, or for the best documents."""
    if is_error(content):
        return read_error(ask, status, headers, content, sent=sent, secrets=secrets)
    usage = read_usage({"completion_tokens": 0, **read_dict(content.get("usage"))}, ask, counter, 0)
    is_rerank = "documents" in ask.body
    entries = read_ranks(content, ask.body) if is_rerank else read_vectors(content, ask.body)
    if entries is None:
        what = "relevance score for each document" if is_rerank else "vector for each text"
        return _malformed(status, f"the API did not send a {what}", usage)
    frame = {"model": ask.spec.name, "usage": usage.to_openai()}
    if is_rerank:
        return Answer({"id": f"rerank-{uuid.uuid4().hex}", **frame, "results": entries}, usage)
    return Answer({"object": "list", **frame, "data": entries}, usage)


def frame_of(content: Mapping[str, Any], ask: Ask, *, streamed: bool = False) -> dict[str, Any]:
    """Return what every reply begins with: id, object, created, model; made here where they are missing."""
    told_id, created = content.get("id"), content.get("created")
    is_time = isinstance(created, int | float) and not isinstance(created, bool) and 0 <= created < 1e11
    kind = ("chat.completion.chunk" if streamed else "chat.completion") if ask.is_chat else "text_completion"
    return {
        "id": clean_text(told_id[:200])
        if isinstance(told_id, str) and told_id
        else f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(created) if is_time and created is not None else int(time.time()),
        "model": ask.spec.name,
    }


def is_error(content: Mapping[str, Any]) -> bool:
    """Tell whether an object without choices speaks of an error, in the shapes of several vendors."""
    if content.get("error") or content.get("errors") or content.get("object") == "error":
        return True
    if content.get("type") == "error" or content.get("success") is False:
        return True
    if content.get("promptFeedback"):  # Google's own words: what was asked is withheld
        return True
    base = content.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return True
    return any(
        isinstance(content.get(name), str | dict | list) and content[name]
        for name in ("message", "detail", "msg")
    )


def nothing_in(ask: Ask, finishes: Iterable[str | None], shows: bool, usage: Usage) -> Failure | None:
    """Return the failure that a reply without any content is, or None where it is an answer.

    A model may have nothing to say, and may spend its limit before it says anything: that is an answer where
    its upstream tells what it wrote. A filter's withholding is none, and neither is an end without a count.
    """
    if shows:
        return None
    if "content_filter" in finishes:
        message = "the API withheld the answer: its content filter ended it"
        return Failure(FailureKind.CONTENT_FILTER, message, 200, usage=usage)
    if usage.is_estimated or usage.completion_tokens == 0:
        return Failure(FailureKind.EMPTY, "the API sent an answer with nothing in it", 200, usage=usage)
    return None


def usage_of_nothing(ask: Ask, counter: TokenCounter) -> Usage:
    """Return what a request without a readable reply may be billed at: its prompt."""
    return count_usage(ask, counter, 0)


def _written(choices: Iterable[Choice]) -> int:
    return sum(choice.written for choice in choices)


def _malformed(status: int, message: str, usage: Usage | None = None) -> Failure:
    return Failure(FailureKind.MALFORMED, message, status, usage=usage)


def _describe_garbage(body: bytes, error: str) -> str:
    start = body.lstrip()[:200].lower()
    if not start:
        return "the API sent an empty body"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "the API sent a web page, not JSON; look at `base_url:`"
    if start.startswith(b"data:"):
        return "the API sent a stream that was not asked for"
    what = "JSON that breaks off" if start[:1] in (b"{", b"[") else "what is no JSON"
    if "nested" in error:
        what = "JSON that is nested too deep"
    return f"the API sent {what}"


def to_bytes(body: Mapping[str, Any]) -> bytes:
    """Return a body as the bytes of its JSON; what is no JSON in it was cleaned before."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
