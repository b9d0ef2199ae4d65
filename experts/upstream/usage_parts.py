"""What vendors say of an answer's tokens, each in words of its own, as one set of numbers.

OpenAI's chat and responses, Anthropic's, Gemini's own, DeepSeek's, and the gateways between them. Here counts
are only read; whether they can be is judged by :mod:`experts.upstream.usage_told`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experts.catalogue.pricing import Price

_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_COMPLETION_DETAILS = ("completion_tokens_details", "output_tokens_details")
#: Where the tokens that were read from a cache stand, beside the details.
_CACHED = (
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cached_tokens",
    "cachedContentTokenCount",
)
_WRITES = ("cache_creation_tokens", "cache_write_tokens")  # in the details, as gateways have them


@dataclass(frozen=True)
class ToldUsage:
    """Counts of tokens as an upstream tells them; None where it says nothing that is a count.

    ``prompt`` includes what was read from a cache or put into one; parts that were told as none are 0.
    """

    prompt: int | None
    completion: int | None
    total: int | None
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_in: int = 0
    image_in: int = 0
    reasoning: int = 0
    audio_out: int = 0
    image_out: int = 0
    is_batch: bool = False
    tells_cached: bool = False

    def cost_usd(self, price: Price, *, is_batch: bool = False) -> float | None:
        """Return what it comes to by a price list, taken at its word; None where it does not say enough."""
        if self.prompt is None or self.completion is None:
            return None
        return price.cost_usd(
            float(self.prompt),
            float(self.completion),
            is_batch=is_batch or self.is_batch,
            cached_in=float(self.cached),
            cache_write=float(self.cache_write),
            cache_write_1h=float(self.cache_write_1h),
            audio_in=float(self.audio_in),
            image_in=float(self.image_in),
            reasoning=float(self.reasoning),
            audio_out=float(self.audio_out),
            image_out=float(self.image_out),
        )


def read_told(told: Any) -> ToldUsage:
    """Return what a reply's ``usage`` (or ``usageMetadata``) says; anything may come."""
    usage = told if isinstance(told, dict) else {}
    cached_told = [_inside(usage, names, "cached_tokens") for names in _PROMPT_DETAILS]
    cached_told += [usage.get(name) for name in _CACHED]
    counts = [count for value in cached_told if (count := count_of(value)) is not None]
    cached = next((count for count in counts if count), 0)
    writes = _first(usage, ("cache_creation_input_tokens",)) or _detail(usage, _PROMPT_DETAILS, *_WRITES)
    hour = count_of(_inside(usage, "cache_creation", "ephemeral_1h_input_tokens")) or 0
    completion = _first(usage, ("completion_tokens", "output_tokens", "candidatesTokenCount"))
    thoughts = count_of(usage.get("thoughtsTokenCount")) or 0
    if thoughts and (completion is None or "candidatesTokenCount" in usage):
        completion = (completion or 0) + thoughts  # told beside the answer's own
    return ToldUsage(
        prompt=_prompt(usage),
        completion=completion,
        total=_first(usage, ("total_tokens", "totalTokenCount")),
        cached=cached,
        cache_write=max(0, writes - hour),
        cache_write_1h=min(hour, writes),
        **_modalities(usage),
        reasoning=_detail(usage, _COMPLETION_DETAILS, "reasoning_tokens")
        or count_of(usage.get("reasoning_tokens"))
        or thoughts,
        is_batch=usage.get("service_tier") == "batch",
        tells_cached=bool(counts),
    )


def count_of(value: Any) -> int | None:
    """Return a count of tokens, or None for what is none: negative, broken, text, a list, a truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 1e18 and value == int(value) else None


def _prompt(usage: Mapping[str, Any]) -> int | None:
    prompt = count_of(usage.get("prompt_tokens"))
    if prompt is not None or "prompt_tokens" in usage:
        return prompt
    if (own := count_of(usage.get("input_tokens"))) is not None:
        # Anthropic's own words leave out of the input what was read from, or put into, the cache.
        apart = (usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens"))
        return own + sum(count_of(value) or 0 for value in apart)
    if (google := count_of(usage.get("promptTokenCount"))) is not None:
        return google + (count_of(usage.get("toolUsePromptTokenCount")) or 0)
    return None


def _modalities(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return the tokens of sounds and pictures; of the prompt, those that were not cached."""
    found = {}
    for kind in ("audio", "image"):
        read = _detail(usage, _PROMPT_DETAILS, f"{kind}_tokens")
        kept = 0
        for name in _PROMPT_DETAILS:
            details = usage.get(name)
            if isinstance(details, dict):
                kept = kept or count_of(_inside(details, "cached_tokens_details", f"{kind}_tokens")) or 0
        read = read or _of_modality(usage.get("promptTokensDetails"), kind)
        kept = kept or _of_modality(usage.get("cacheTokensDetails"), kind)
        found[f"{kind}_in"] = max(0, read - kept)
        found[f"{kind}_out"] = _detail(usage, _COMPLETION_DETAILS, f"{kind}_tokens") or _of_modality(
            usage.get("candidatesTokensDetails"), kind
        )
    return found


def _of_modality(details: Any, kind: str) -> int:
    """Return Google's count of one modality: a list of objects, each with a modality and its tokens."""
    if not isinstance(details, list):
        return 0
    own = [d for d in details if isinstance(d, dict) and str(d.get("modality")).lower() == kind]
    return sum(count_of(d.get("tokenCount")) or 0 for d in own)


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := count_of(usage.get(name))) is not None), None)


def _detail(usage: Mapping[str, Any], places: tuple[str, ...], *names: str) -> int:
    found = (count_of(_inside(usage, place, name)) for place in places for name in names)
    return next((count for count in found if count), 0)


def _inside(usage: Mapping[str, Any], name: str, inner: str) -> Any:
    details = usage.get(name)
    return details.get(inner) if isinstance(details, dict) else None
