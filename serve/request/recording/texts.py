"""The words of a request and of its answer, where they may be kept: what whoever keeps them is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serve.request.in_flight import InFlight
from serve.wire.protocol import ChatRequest


@dataclass(frozen=True)
class SpokenText:
    """The texts of a request and its answer. Nothing logs it, and the ledger never sees it.

    Attributes:
        request_id: names the request.
        key_id: whose request it is; None where the endpoint is open.
        user_hash: keyed hash of the request's user.
        prompt_messages: the conversation, as messages in OpenAI's shape; a text completion's prompt is one of
            the user.
        answer_text: the answer's first choice; what came of it, where a stream broke off.
        expert: who answered.
        response_format: the field of that name, where the request asks for JSON by it.
    """

    request_id: str
    key_id: str | None
    user_hash: str | None
    prompt_messages: list[dict[str, Any]] = field(repr=False)
    answer_text: str = field(repr=False)
    expert: str = ""
    response_format: dict[str, Any] | None = field(default=None, repr=False)


#: Takes the words before the answer is given out. It must not wait: a millisecond is much.
TextKeeper = Callable[[SpokenText], None]


def texts_of(job: InFlight, expert: str, answer_text: str, user_hash: str | None) -> SpokenText:
    """Return the words of a request that was answered."""
    request = job.request
    if isinstance(request, ChatRequest):
        body = request.for_expert()
        messages = [dict(message) for message in body["messages"]]
        wanted = body.get("response_format")
    else:
        messages, wanted = [{"role": "user", "content": request.query}], None
    response_format = wanted if isinstance(wanted, dict) else None
    return SpokenText(
        job.request_id, job.caller.key_id, user_hash, messages, answer_text, expert, response_format
    )
