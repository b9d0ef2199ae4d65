"""Who can serve a request, of those that may: the others are neither asked first nor as a fallback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from experts import ExpertSpec
from experts.backends.registry import count_tokens
from experts.eligibility.fit import PromptTokens, describe_lacks, estimate_tokens, find_eligible
from experts.eligibility.needs import Needs, find_needs
from experts.upstream import TokenCounter
from experts.upstream.request import Extent
from serve.wire.api_errors import ApiError

#: What a chat template puts around a message, as far as tokens are counted for the window.
_TOKENS_PER_MESSAGE = 8
#: Characters above which tokens are counted beside the event loop.
_LONG = 20_000


async def eligible(
    specs: Iterable[ExpertSpec],
    body: dict[str, Any],
    text: str,
    extent: Extent,
    counters: Mapping[str, TokenCounter],
) -> tuple[str, ...]:
    """Return the names of the experts that can serve a request, in their order.

    Raises:
        ApiError: none can; its message says what each lacks.
    """
    specs, needs = list(specs), find_needs(body, text, extent)

    def count(spec: ExpertSpec, needs: Needs) -> PromptTokens:
        exact = count_tokens(spec, needs.texts()) if needs.extent.is_text else None
        if exact is None:
            return estimate_tokens(counters[spec.name], needs)
        messages = needs.body.get("messages") or ()
        return PromptTokens(exact + _TOKENS_PER_MESSAGE * (1 + len(messages)), is_exact=True)

    if extent.characters > _LONG:
        found = await asyncio.to_thread(find_eligible, specs, needs, count)
    else:
        found = find_eligible(specs, needs, count)
    if found.names:
        return found.names
    lacks = [lack for every in found.lacks.values() for lack in every]
    fields = {lack.field for lack in lacks}
    is_length = all(any(lack.what == "context_tokens" for lack in every) for every in found.lacks.values())
    raise ApiError(
        400,
        f"no expert that may answer can serve this: {describe_lacks(found.lacks)}",
        param=fields.pop() if len(fields) == 1 else None,
        code="context_length_exceeded" if is_length else "no_capable_expert",
    )
