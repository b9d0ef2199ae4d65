"""Token counts: those that an upstream tells, where they can be believed, else our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experts.catalogue.pricing import Price


@dataclass(frozen=True)
class Usage:
    """The tokens of an answer.

    Attributes:
        prompt_tokens: read, cached ones included.
        completion_tokens: written, reasoning included.
        cached_tokens: those of the prompt that the upstream had kept.
        is_estimated: our own count, because the upstream told none or none that can be.
        claimed: what it told where that was not believed, for the books: raw, as JSON text, cut short.
        claimed_usd: what that comes to by the price list, as far as it is a number; bounded.
        reasoning_tokens: those of the completion that were thoughts, as told.
        tells_cached: whether the upstream says how much it had cached, be it none.
        has_overrun: whether it told of more completion tokens than were allowed.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    is_estimated: bool = False
    claimed: str | None = None
    claimed_usd: float = 0.0
    reasoning_tokens: int = 0
    tells_cached: bool = False
    has_overrun: bool = False

    def cost_usd(self, price: Price) -> float:
        """Return what the tokens cost by a price list."""
        return price.cost_usd(
            float(self.prompt_tokens), float(self.completion_tokens), float(self.cached_tokens)
        )

    def to_openai(self) -> dict[str, Any]:
        """Return the counts as OpenAI words them; ``estimated`` stands beside them where they are ours."""
        told: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        if self.cached_tokens:
            told["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        if self.reasoning_tokens:
            told["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        if self.is_estimated:
            told["estimated"] = True
        return told
