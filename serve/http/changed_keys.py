"""A request is judged by what its key may now, also where that was changed since somebody looked.

What an ingress remembers of a key is compared where money is set aside. Only a request that is refused there,
or that what is remembered refuses, costs another look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request

from serve.ledger.messages import Caller
from serve.wire.api_errors import ApiError

Reply = TypeVar("Reply")
_BY_LIMITS = {400, 403, 404, 409}  # statuses of refusals that may come of limits that are no more
_LOOKS = 3  # at a key that is changed again and again


async def answer_by_present_limits(request: Request, answer: Callable[[Caller], Awaitable[Reply]]) -> Reply:
    """Answer a request; one that past limits refuse is answered, or refused, by those that its key has now.

    Args:
        request: let in already.
        answer: answers it for a caller. Where it refuses, nothing is set aside any more.

    Raises:
        ApiError: it is refused by the limits of its key.
    """
    caller: Caller = request.state.caller
    again = getattr(request.state, "let_in_again", None)
    for _ in range(_LOOKS):
        try:
            return await answer(caller)
        except ApiError as refusal:
            if again is None or refusal.status not in _BY_LIMITS:
                raise
            before, caller = caller, await again()
            if caller == before:
                raise
    return await answer(caller)
