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
        cache_write_tokens: those of the prompt that it put into its cache, for minutes.
        cache_write_1h_tokens: those that it put there for an hour.
        audio_in_tokens: those of the prompt that are sound, and were not cached.
        image_in_tokens: those that are pictures, and were not cached.
        audio_out_tokens: those of the completion that are sound.
        image_out_tokens: those that are pictures.
        is_batch: whether it says that the call was one of a batch.
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
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_in_tokens: int = 0
    image_in_tokens: int = 0
    audio_out_tokens: int = 0
    image_out_tokens: int = 0
    is_batch: bool = False

    def cost_usd(self, price: Price) -> float:
        """Return what the tokens cost by a price list."""
        return price.cost_usd(
            float(self.prompt_tokens),
            float(self.completion_tokens),
            is_batch=self.is_batch,
            cached_in=float(self.cached_tokens),
            cache_write=float(self.cache_write_tokens),
            cache_write_1h=float(self.cache_write_1h_tokens),
            audio_in=float(self.audio_in_tokens),
            image_in=float(self.image_in_tokens),
            reasoning=float(self.reasoning_tokens),
            audio_out=float(self.audio_out_tokens),
            image_out=float(self.image_out_tokens),
        )

    def to_openai(self) -> dict[str, Any]:
        """Return the counts as OpenAI words them; ``estimated`` stands beside them where they are ours."""
        told: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        writes = self.cache_write_tokens + self.cache_write_1h_tokens
        read = {
            "cached_tokens": self.cached_tokens,
            "cache_creation_tokens": writes,
            "audio_tokens": self.audio_in_tokens,
            "image_tokens": self.image_in_tokens,
        }
        written = {
            "reasoning_tokens": self.reasoning_tokens,
            "audio_tokens": self.audio_out_tokens,
            "image_tokens": self.image_out_tokens,
        }
        for name, details in (("prompt_tokens_details", read), ("completion_tokens_details", written)):
            if told_of := {part: tokens for part, tokens in details.items() if tokens}:
                told[name] = told_of
        if self.is_estimated:
            told["estimated"] = True
        return told
