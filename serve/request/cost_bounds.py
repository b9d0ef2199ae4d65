"""The highest possible cost of a request, at each expert that may answer it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from experts import ExpertSpec
from experts.upstream import Ask, ask_of, measure
from experts.upstream.request import Extent


def asks_of(
    specs: Iterable[ExpertSpec], body: dict[str, Any], extent: Extent | None = None
) -> dict[str, Ask]:
    """Return a request as each expert would be asked, by its name: with the most that it can come to.

    ``extent`` is that of the body, where it is known.
    """
    extent = extent or measure(body)
    return {spec.name: ask_of(spec, body, extent) for spec in specs}


def hedged_costs(asks: Mapping[str, Ask], likely_usd: Mapping[str, float]) -> list[tuple[float, float]]:
    """Return what each expert whose requests are hedged can come to together with the dearest other.

    Args:
        asks: by expert.
        likely_usd: by expert, what its answer comes to by an estimate that errs upward.

    Returns:
        The most in USD, and the likely amount, of each pair.
    """
    pairs = []
    for name, ask in asks.items():
        others = [other for other in asks if other != name] if ask.spec.hedge.is_on else []
        if others:
            most_usd = ask.most_usd + max(asks[other].most_usd for other in others)
            pairs.append((most_usd, likely_usd[name] + max(likely_usd[other] for other in others)))
    return pairs
