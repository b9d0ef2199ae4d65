"""What a list of prices would change in a catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urlsplit

from experts.backends.registry import is_api, speaks_openai
from experts.catalogue.pricing import Price
from experts.catalogue.spec import ExpertSpec
from experts.catalogue_file import Catalogue
from experts.price_map import PriceMap
from experts.upstream.address import url_of
from warehouse import InputError

#: Whose API answers at a host, in the words of litellm's list. Azure's models have names of their owners.
_PROVIDERS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "xai",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together_ai",
    "api.fireworks.ai": "fireworks_ai",
    "api.perplexity.ai": "perplexity",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.cerebras.ai": "cerebras",
    "api.deepinfra.com": "deepinfra",
}
#: What a source that says nothing of it leaves as it is; rates and tiers are the source's, all of them.
_KEPT = ("usd_per_call", "min_usd_per_call", "batch_factor")


@dataclass(frozen=True)
class Difference:
    """One figure of a price; None where it is not given."""

    field: str
    was: float | None
    becomes: float | None


@dataclass(frozen=True)
class PriceChange:
    """A new price of an expert, by an entry of a price map."""

    expert: str
    key: str
    becomes: Price
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class PriceReview:
    """What a price map says of a catalogue's experts."""

    changes: tuple[PriceChange, ...] = ()
    same: tuple[str, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)  # by expert: why it has no price there
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # prices that ours has no word for


def review_prices(
    catalogue: Catalogue, prices: PriceMap, *, since: date, named: Mapping[str, str] | None = None
) -> PriceReview:
    """Compare the prices of a catalogue's experts with those of a price map.

    An expert's entry is the one that ``named`` says, or that has the expert's own name, or that of its model
    at the API that its ``base_url`` names. Experts that run here are passed over.

    Args:
        catalogue: whose experts.
        prices: the map.
        since: the day from which new prices hold.
        named: keys of the map by experts' names.

    Raises:
        InputError: ``named`` has an unknown expert or key; an entry is no price; a later price is there.
    """
    named = named or {}
    for name, key in named.items():
        catalogue.get(name)
        if key not in prices.entries:
            raise InputError(f"no model {key!r}", where=prices.origin, fix="give one of its keys")
    changes, same, unknown, left_out = [], [], dict[str, str](), dict[str, tuple[str, ...]]()
    for spec in catalogue.experts:
        found = named.get(spec.name) or _find_key(spec, prices)
        if found is None:
            if is_api(spec) and spec.price.usd_per_hour is None:
                unknown[spec.name] = _why_unknown(spec)
            continue
        price, missed = prices.price(found)
        if missed:
            left_out[spec.name] = missed
        if (last := spec.prices[-1].since) is not None and last > since:
            raise InputError(
                f"expert {spec.name!r} has a price since {last}, which is later than {since}",
                where=str(catalogue.path),
                fix="give a later day with --since",
            )
        was = spec.price_at(datetime.combine(since, time(), UTC))
        becomes = _with_day(price, was, since)
        differences = tuple(_differences(_figures(was), _figures(becomes)))
        if differences:
            changes.append(PriceChange(spec.name, found, becomes, differences))
        else:
            same.append(spec.name)
    return PriceReview(tuple(changes), tuple(same), unknown, left_out)


def _find_key(spec: ExpertSpec, prices: PriceMap) -> str | None:
    if not is_api(spec):
        return None
    if spec.name in prices.entries and prices.provider(spec.name) is None:
        return spec.name
    provider = _provider_of(spec)
    if provider is None:
        return None
    model = spec.model if speaks_openai(spec) else spec.model.removeprefix(f"{provider}/")
    for key in (f"{provider}/{model}", model):
        if key in prices.entries and _is_of(prices.provider(key), provider):
            return key
    return None


def _is_of(told: str | None, provider: str) -> bool:
    """Tell whether an entry is about a provider's model; some are divided: bedrock, bedrock_converse."""
    return told is None or told == provider or told.startswith((f"{provider}_", f"{provider}-"))


def _provider_of(spec: ExpertSpec) -> str | None:
    if not speaks_openai(spec):
        return spec.model.partition("/")[0]
    return _PROVIDERS.get((urlsplit(url_of(spec)).hostname or "").lower())


def _why_unknown(spec: ExpertSpec) -> str:
    host = urlsplit(url_of(spec)).hostname if speaks_openai(spec) else ""
    if (provider := _provider_of(spec)) is None:
        return f"whose prices {host} has is not known"
    return f"no entry for {spec.model} of {provider}"


def _with_day(price: Price, was: Price, since: date) -> Price:
    kept = {
        name: getattr(was, name)
        for name in _KEPT
        if name in was.model_fields_set and name not in price.model_fields_set
    }
    return price.model_copy(update={**kept, "since": since})


def _figures(price: Price) -> dict[str, float]:
    """Return a price as figures by name; those of tiers have the tier before their name."""
    told: dict[str, Any] = price.model_dump(exclude_defaults=True, exclude={"since", "tiers"})
    for tier in price.tiers:
        rates = tier.model_dump(exclude_none=True, exclude={"above_prompt_tokens"})
        told |= {f"above {tier.above_prompt_tokens:,} tokens: {name}": usd for name, usd in rates.items()}
    return told


def _differences(was: dict[str, float], becomes: dict[str, float]) -> list[Difference]:
    names = [*was, *(name for name in becomes if name not in was)]
    return [
        Difference(name, was.get(name), becomes.get(name))
        for name in names
        if was.get(name) != becomes.get(name)
    ]
