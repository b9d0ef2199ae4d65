"""What a call costs: a price list as vendors write it, or a machine's hourly price at a measured throughput.

:meth:`Price.cost_usd` is the one place that says it: rounds, evaluation and the endpoint all ask it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Tokens = TypeVar("Tokens", float, NDArray[np.float64])
PromptPart = Literal["cached_in", "cache_write", "cache_write_1h", "audio_in", "image_in"]
CompletionPart = Literal["reasoning", "audio_out", "image_out"]

_MTOK = 1e6
_SECONDS_PER_HOUR = 3600.0
_PER_MTOK = "usd_per_mtok_"
#: Tokens of a prompt, and of a completion, that may have a price of their own.
PROMPT_PARTS: tuple[PromptPart, ...] = ("cached_in", "cache_write", "cache_write_1h", "audio_in", "image_in")
COMPLETION_PARTS: tuple[CompletionPart, ...] = ("reasoning", "audio_out", "image_out")
#: Of English text, about; for forecasts and where a recording has no counts. Never for what somebody pays.
CHARACTERS_PER_TOKEN = 4.0
#: Prompt tokens that all well-known APIs cache; of shorter prompts some cache nothing.
CACHED_FROM_TOKENS = 1024


class _Rates(BaseModel):
    """USD per million tokens, by what they are; what is left out costs as prompt or completion do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd_per_mtok_in: Money | None = Field(default=None, description="USD per million prompt tokens")
    usd_per_mtok_out: Money | None = Field(default=None, description="USD per million completion tokens")
    usd_per_mtok_cached_in: Money | None = Field(
        default=None,
        description="USD per million cached prompt tokens; as other prompt tokens if not given",
    )
    usd_per_mtok_cache_write: Money | None = Field(
        default=None, description="USD per million prompt tokens that the API puts into its cache"
    )
    usd_per_mtok_cache_write_1h: Money | None = Field(
        default=None, description="USD per million prompt tokens that the API keeps for an hour"
    )
    usd_per_mtok_audio_in: Money | None = Field(
        default=None, description="USD per million prompt tokens of sound"
    )
    usd_per_mtok_image_in: Money | None = Field(
        default=None, description="USD per million prompt tokens of pictures"
    )
    usd_per_mtok_reasoning: Money | None = Field(
        default=None, description="USD per million completion tokens that are thoughts"
    )
    usd_per_mtok_audio_out: Money | None = Field(
        default=None, description="USD per million completion tokens of sound"
    )
    usd_per_mtok_image_out: Money | None = Field(
        default=None, description="USD per million completion tokens of pictures"
    )

    @model_validator(mode="after")
    def _cached_is_cheaper(self) -> Any:
        if (
            self.usd_per_mtok_cached_in is not None
            and self.usd_per_mtok_in is not None
            and self.usd_per_mtok_cached_in > self.usd_per_mtok_in
        ):
            raise ValueError(
                f"usd_per_mtok_cached_in {self.usd_per_mtok_cached_in:g} exceeds usd_per_mtok_in "
                f"{self.usd_per_mtok_in:g}; cached tokens cost less, so check the two"
            )
        return self

    def given_rates(self) -> dict[str, float]:
        """The rates that are given, by what they are for: ``in``, ``out`` and the parts."""
        names = ("in", "out", *PROMPT_PARTS, *COMPLETION_PARTS)
        found = {name: getattr(self, _PER_MTOK + name) for name in names}
        return {name: rate for name, rate in found.items() if rate is not None}


class ContextTier(_Rates):
    """Other rates for calls with a long prompt; they hold for all tokens of such a call."""

    above_prompt_tokens: int = Field(ge=1, description="prompt tokens above which these rates hold")

    @model_validator(mode="after")
    def _says_something(self) -> ContextTier:
        if not self.given_rates():
            raise ValueError("a tier without a rate; give usd_per_mtok_in or another one that changes there")
        return self


class Price(_Rates):
    """The price of an expert: either USD per million tokens, or USD per hour at a measured throughput.

    >>> Price(usd_per_mtok_in=0.5, usd_per_mtok_out=1.5).cost_usd(1_000_000, 0)
    0.5
    """

    since: date | None = Field(
        default=None, description="the day (UTC) from which it holds, in a list of prices"
    )
    tiers: tuple[ContextTier, ...] = Field(default=(), description="other rates above so many prompt tokens")
    usd_per_call: Money = Field(default=0.0, description="USD for each call, beside its tokens")
    min_usd_per_call: Money = Field(default=0.0, description="USD that a call costs at least")
    batch_factor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="share of the price that a call of a batch costs"
    )
    usd_per_hour: Money | None = Field(
        default=None, description="USD per hour of the hardware one replica holds"
    )
    tokens_per_s_in: Rate | None = Field(
        default=None, description="measured prompt tokens per second of one replica"
    )
    tokens_per_s_out: Rate | None = Field(
        default=None, description="measured completion tokens per second of one replica"
    )

    @model_validator(mode="after")
    def _one_complete_way(self) -> Price:
        per_token = (self.usd_per_mtok_in, self.usd_per_mtok_out)
        per_hour = (self.usd_per_hour, self.tokens_per_s_in, self.tokens_per_s_out)
        complete = [all(v is not None for v in way) for way in (per_token, per_hour)]
        started = [any(v is not None for v in way) for way in (per_token, per_hour)]
        if sum(complete) != 1 or started != complete:
            raise ValueError(
                "the price is incomplete, or given in two ways; "
                "give either usd_per_mtok_in and usd_per_mtok_out, "
                "or usd_per_hour, tokens_per_s_in and tokens_per_s_out"
            )
        if complete[1]:
            given = [_PER_MTOK + name for name in self.given_rates()]
            given += [
                name for name in ("tiers", "usd_per_call", "min_usd_per_call") if getattr(self, name)
            ] + (["batch_factor"] if self.batch_factor != 1 else [])
            if given:
                raise ValueError(
                    f"{given[0]} belongs to a price per token; drop it, or give usd_per_mtok_in and "
                    "usd_per_mtok_out"
                )
        above = [tier.above_prompt_tokens for tier in self.tiers]
        if above != sorted(set(above)):
            raise ValueError("tiers are not in the order of above_prompt_tokens; sort them, each once")
        for _, rates in self._tiers[1:]:
            if rates["cached_in"] > rates["in"]:
                raise ValueError(
                    f"cached tokens cost {rates['cached_in']:g} in a tier and others {rates['in']:g}; "
                    "give the tier its own usd_per_mtok_cached_in"
                )
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a checked copy; what was worked out of the fields is worked out anew."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate(given | dict(update or {}))

    @cached_property
    def _tiers(self) -> tuple[tuple[float, dict[str, float]], ...]:
        """Prompt tokens above which they hold, and all rates in USD per million tokens; the first from 0."""
        if self.usd_per_hour is not None and self.tokens_per_s_in and self.tokens_per_s_out:
            usd_per_s = self.usd_per_hour / _SECONDS_PER_HOUR
            base = {
                "in": usd_per_s / self.tokens_per_s_in * _MTOK,
                "out": usd_per_s / self.tokens_per_s_out * _MTOK,
            }
        else:
            base = self.given_rates()
        named = [(0.0, base)]
        named += [(float(t.above_prompt_tokens), base | t.given_rates()) for t in self.tiers]
        return tuple((above, _complete(rates)) for above, rates in named)

    def cost_usd(
        self,
        prompt_tokens: Tokens,
        completion_tokens: Tokens,
        *,
        is_batch: bool = False,
        **parts: Tokens | float,
    ) -> Tokens:
        """Return the cost of a call in USD; floats, or arrays of one shape (NaN stays NaN).

        Args:
            prompt_tokens: all that were read.
            completion_tokens: all that were written.
            is_batch: whether the call was one of a batch.
            parts: those of the prompt (:data:`PROMPT_PARTS`) and of the completion (:data:`COMPLETION_PARTS`)
                that have prices of their own. Parts beyond the whole are not charged.
        """
        parts = {name: tokens for name, tokens in parts.items() if isinstance(tokens, np.ndarray) or tokens}
        cost: Tokens = self._at_rates(self._tiers[0][1], prompt_tokens, completion_tokens, parts)
        for above, rates in self._tiers[1:]:
            dearer = self._at_rates(rates, prompt_tokens, completion_tokens, parts)
            if isinstance(cost, np.ndarray):
                cost = np.where(np.asarray(prompt_tokens) > above, dearer, cost)
            elif prompt_tokens > above:
                cost = dearer
        return self._of_call(cost, self.batch_factor if is_batch else 1.0)

    def most_usd(self, prompt_tokens: Tokens, completion_tokens: Tokens) -> Tokens:
        """Return the most that a call of so many tokens, or fewer, may cost, whatever they turn out to be.

        Every token at its dearest (cached, written into a cache, sound, picture, thought), at the dearest
        tier that a prompt of so many tokens or fewer may reach.
        """
        most: Tokens = prompt_tokens * 0.0
        for above, rates in self._tiers:
            dearest_in = max(rates["in"], *(rates[name] for name in PROMPT_PARTS))
            dearest_out = max(rates["out"], *(rates[name] for name in COMPLETION_PARTS))
            cost = (prompt_tokens * dearest_in + completion_tokens * dearest_out) / _MTOK
            if isinstance(most, np.ndarray):
                most = np.where(np.asarray(prompt_tokens) > above, np.maximum(most, cost), most)
            elif prompt_tokens > above or not above:
                most = max(most, cost)
        return self._of_call(most, 1.0)

    def saved_by_cache_usd(self, prompt_tokens: float, kept_tokens: float) -> float:
        """Return what a call costs less where the API still has the first ``kept_tokens`` of its prompt.

        For forecasts: nothing where its price says nothing of a cache, or the prefix is too short for one.
        """
        kept = min(kept_tokens, prompt_tokens)
        if kept < CACHED_FROM_TOKENS:
            return 0.0
        return max(0.0, self.cost_usd(prompt_tokens, 0.0) - self.cost_usd(prompt_tokens, 0.0, cached_in=kept))

    def _at_rates(
        self,
        rates: dict[str, float],
        prompt: Tokens,
        completion: Tokens,
        parts: dict[str, Tokens | float],
    ) -> Tokens:
        names: tuple[tuple[Tokens, str, tuple[str, ...]], ...] = (
            (prompt, "in", PROMPT_PARTS),
            (completion, "out", COMPLETION_PARTS),
        )
        cost: Any = 0.0
        for left, rest, sides in names:
            for name in sides:
                if name in parts:
                    part = _least(parts[name], left)
                    cost, left = cost + part * rates[name], left - part
            cost = cost + left * rates[rest]
        total: Tokens = cost / _MTOK
        return total

    def _of_call(self, tokens_usd: Tokens, factor: float) -> Tokens:
        cost: Any = (tokens_usd + self.usd_per_call) * factor
        if isinstance(cost, np.ndarray):
            cost = np.maximum(cost, self.min_usd_per_call)
        elif self.min_usd_per_call > cost:  # never, of a cost that is not known
            cost = self.min_usd_per_call
        found: Tokens = cost
        return found


def price_at(prices: Sequence[Price], when: datetime) -> Price:
    """Return the price that holds at a moment, of a list in the order of ``since``; the first before it."""
    day = when.astimezone(UTC).date()
    return next((p for p in reversed(prices) if p.since is None or p.since <= day), prices[0])


def _complete(rates: dict[str, float]) -> dict[str, float]:
    """Parts without a rate cost as the rest; tokens kept for an hour at least as those kept for minutes."""
    rates = {**rates}
    rates.setdefault("cache_write_1h", rates.get("cache_write", rates["in"]))
    sides = [(name, "in") for name in PROMPT_PARTS] + [(name, "out") for name in COMPLETION_PARTS]
    return {rest: rates[rest] for rest in ("in", "out")} | {n: rates.get(n, rates[rest]) for n, rest in sides}


def _least(part: Any, whole: Any) -> Any:
    if isinstance(part, np.ndarray) or isinstance(whole, np.ndarray):
        return np.minimum(np.maximum(part, 0.0), whole)
    return min(max(part, 0.0), whole)
