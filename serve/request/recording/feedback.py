"""Writing down what people say of an answer."""

from __future__ import annotations

import uuid

from serve.ledger.messages import Caller, Feedback
from serve.request.clients import LedgerClient
from serve.wire.api_errors import ApiError
from serve.wire.feedback import FeedbackReply, FeedbackRequest


async def add_feedback(ledger: LedgerClient, request: FeedbackRequest, caller: Caller) -> FeedbackReply:
    """Write down what is said of an answer.

    Raises:
        ApiError: this caller has no such answer, nothing was recorded of it, or all that is said is words
            and no texts are kept of it.
    """
    said = Feedback(
        request.request_id,
        f"fb-{uuid.uuid4().hex}",
        request.level,
        request.kind,
        request.value,
        request.comment,
        request.demonstration,
        request.source,
    )
    taken = await ledger.add_feedback(caller, said)
    if taken == "unknown":
        raise ApiError(
            404,
            f"no answer {request.request_id!r} of this key is recorded",
            param="request_id",
            code="unknown_request",
        )
    if taken == "texts are not kept":
        raise ApiError(
            400,
            "no texts are kept of this request: give a score or a thumb, with or without words",
            param=request.kind,
            code="texts_not_kept",
        )
    has_texts = request.comment is not None or request.demonstration is not None
    return FeedbackReply(texts_kept=taken == "kept" if has_texts else None)
